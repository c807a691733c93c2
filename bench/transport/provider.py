"""A mock provider: POST /v1/chat/completions, plain and as fifty paced server-sent events, and its CPU time."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

CHUNKS = 50
_CONTENT = "The quick brown fox jumps over the lazy dog. " * 12
_BASE = {"id": "chatcmpl-0123456789", "created": 1_700_000_000, "model": "gpt-4o-mini"}
_USAGE = {"prompt_tokens": 180, "completion_tokens": 140, "total_tokens": 320}
_PLAIN = json.dumps(
    {
        **_BASE,
        "object": "chat.completion",
        "usage": _USAGE,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _CONTENT}}],
    }
).encode()
_EVENT = (
    b"data: "
    + json.dumps(
        {
            **_BASE,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "finish_reason": None, "delta": {"content": "some token text"}}],
        }
    ).encode()
    + b"\n\n"
)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """Answer one request."""
    if scope["path"] == "/cpu":
        await _answer(send, str(time.process_time_ns()).encode())
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    if not json.loads(body).get("stream"):
        await _answer(send, _PLAIN)
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/event-stream")],
        }
    )
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
        await asyncio.sleep(0.005)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            access_log=False,
            log_level="warning",
        )
        uvicorn.Server(config).run(sockets=[listener])
