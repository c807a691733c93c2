"""One HTTP request and its answer, as plain ASGI: reading, sending, noticing that the caller left, breaking off."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

Header = tuple[bytes, bytes]
_JSON: Header = (b"content-type", b"application/json")
_EVENTS: tuple[Header, ...] = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
TRANSPORT = "asahi.simulator.transport"
"""The key in the scope's `extensions` under which the server hands over the connection."""


class CallerLeft(Exception):
    """The caller closed the connection."""


class Exchange:
    """Wraps the three things that ASGI hands to an application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._scope = scope
        self._receive = receive
        self._send = send
        self._leaving: asyncio.Future[Message] | None = None

    def header(self, name: bytes) -> str:
        """The header's value; empty if it was not sent."""
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """The whole body; raises CallerLeft."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return bytes(message["body"])
        body = bytearray()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body)
            message = await self._receive()
        raise CallerLeft

    async def answer(self, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Sends a whole JSON answer."""
        await self._send(_start(status, [*headers, _JSON, (b"content-length", str(len(body)).encode())]))
        await self._send({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: Any) -> None:
        """Sends `value` as JSON."""
        await self.answer(status, msgspec.json.encode(value))

    async def answer_half(self, body: bytes, headers: Iterable[Header]) -> None:
        """Promises all of `body`, sends its first half and closes the connection."""
        await self._send(_start(200, [*headers, _JSON, (b"content-length", str(len(body)).encode())]))
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self.break_off()

    async def begin_stream(self, headers: Iterable[Header]) -> None:
        """Sends the head of a stream of server-sent events."""
        await self._send(_start(200, [*headers, *_EVENTS]))

    async def send_event(self, event: bytes) -> None:
        """Sends a piece of the stream."""
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def end_stream(self) -> None:
        """Ends the stream as agreed."""
        await self._send({"type": "http.response.body", "body": b""})

    async def break_off(self) -> None:
        """Closes the connection after what was sent, in the midst of the answer, and waits until it is closed."""
        self._scope["extensions"][TRANSPORT].close()
        await self.until_left()

    async def until_left(self) -> None:
        """Waits until the connection is closed."""
        self.watch()
        if self._leaving is not None:
            await self._leaving

    def watch(self) -> None:
        """From here on `wait` notices that the caller leaves."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._receive())

    async def wait(self, seconds: float) -> None:
        """Lets time pass, or at least gives way for a moment; raises CallerLeft as soon as it is so."""
        if seconds <= 0 or self._leaving is None:
            await asyncio.sleep(0)
        else:
            await asyncio.wait({self._leaving}, timeout=seconds)
        if self._leaving is not None and self._leaving.done():
            raise CallerLeft

    def close(self) -> None:
        """Ends the watch."""
        if self._leaving is not None:
            self._leaving.cancel()


def _start(status: int, headers: list[Header]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}
