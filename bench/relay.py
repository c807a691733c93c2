"""`python -m bench.relay`: how long Asahi holds the first byte of a stream, from the provider's hand to the caller's.

A provider of this rig writes into each piece when it sent it, by the clock that all processes of a machine share; the
caller reads the same clock. What is measured so includes two passages over loopback.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

import httpx2

from bench.machine import conditions, load_average
from bench.report import quantile
from tests.installation import running_installation

_MODEL = "gpt-6-luna"
_REQUESTS = 400
_WARM = 50
_PIECES = 8
_PAUSE_S = 0.005


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
                delta = {"role": "assistant", "content": f"{time.monotonic_ns()}\n"}
                _write(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None})
                await writer.drain()
                if number < _PIECES - 1:
                    await asyncio.sleep(_PAUSE_S)
            _write(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
            _write(writer, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}})
            _send(writer, b"data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


def _write(writer: asyncio.StreamWriter, fields: dict[str, object]) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": _MODEL, **fields}
    _send(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _held_us(client: httpx2.AsyncClient, number: int) -> list[float]:
    """Microseconds that Asahi held each piece of one answer."""
    body = {"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": f"Question {number}"}]}
    held = []
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            now = time.monotonic_ns()
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                sent = choices[0]["delta"].get("content") if choices else None
                if sent:
                    held.append((now - int(sent)) / 1000)
    return held


async def _measure(provider_port: int, folder: Path) -> list[list[float]]:
    environment = {"router": {"OPENAI_API_KEY": "sk-bench", "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1"}}
    with running_installation(folder, simulator=False, environment=environment) as installation:
        organization = await asyncio.to_thread(installation.signup)
        async with organization.async_client() as client:
            return [await _held_us(client, number) for number in range(_REQUESTS)][_WARM:]


async def _run() -> str:
    load_before = load_average()
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="asahi-bench-") as folder:
        # The installation starts with blocking calls: the provider answers from the same loop only afterwards.
        held = await _measure(port, Path(folder))
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
