"""`python -m bench.relay`: how long Asahi holds the first byte of a stream, from the provider's hand to the caller's.

A provider of this rig writes into each piece when it sent it, by the clock that all processes of a machine share; the
caller reads the same clock. What is measured so includes two passages over loopback.
"""

import asyncio
import json
import re
import tempfile
import time
from pathlib import Path

from bench.machine import conditions, load_average
from bench.report import quantile
from tests.installation import running_installation

_MODEL = "gpt-6-luna"
_REQUESTS = 400
_WARM = 50
_PIECES = 8
_PAUSE_S = 0.005
_STAMP = re.compile(rb"<([0-9]+)>")


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request of a connection with a stream whose pieces carry the time of their sending."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            await asyncio.sleep(_PAUSE_S)
            for number in range(_PIECES):
                delta = {"role": "assistant", "content": f"<{time.monotonic_ns()}>"}
                _write(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None})
                await writer.drain()
                if number < _PIECES - 1:
                    await asyncio.sleep(_PAUSE_S)
            _write(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
            _write(writer, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}})
            _send(writer, b"data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        writer.close()


def _write(writer: asyncio.StreamWriter, fields: dict[str, object]) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": _MODEL, **fields}
    _send(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _held_us(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, number: int) -> list[float]:
    """Microseconds that Asahi held each piece of one answer, read off the socket."""
    body = {"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": f"Question {number}"}]}
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
    writer.write(head.encode() + sent)
    answered = await reader.readuntil(b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200"), answered
    held: list[float] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        now = time.monotonic_ns()
        chunk = (await reader.readexactly(size + 2))[:-2]
        held += [(now - int(stamp)) / 1000 for stamp in _STAMP.findall(chunk)]
    await reader.readexactly(2)
    assert len(held) == _PIECES, f"{len(held)} of {_PIECES} pieces came"
    return held


async def _measure(provider_port: int, folder: Path) -> list[list[float]]:
    environment = {"router": {"OPENAI_API_KEY": "sk-bench", "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1"}}
    with running_installation(folder, simulator=False, environment=environment) as installation:
        organization = await asyncio.to_thread(installation.signup)
        reader, writer = await asyncio.open_connection("127.0.0.1", installation["edge"].http_port)
        try:
            return [await _held_us(reader, writer, organization.key, number) for number in range(_REQUESTS)][_WARM:]
        finally:
            writer.close()


async def _run() -> str:
    load_before = load_average()
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="asahi-bench-") as folder:
        # The installation starts with blocking calls: the provider answers from the same loop only afterwards.
        held = await _measure(port, Path(folder))
        await asyncio.sleep(_PAUSE_S)  # lets the provider see that its caller has gone
    server.close()
    first = sorted(one[0] for one in held)
    later = sorted(us for one in held for us in one[1:])
    lines = [conditions("python -m bench.relay", load_before), "", "| piece | p50 µs | p99 µs |", "|---|--:|--:|"]
    lines += [
        f"| {name} | {quantile(figures, 0.5):.0f} | {quantile(figures, 0.99):.0f} |"
        for name, figures in (("first", first), ("later", later))
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(asyncio.run(_run()))
