"""Server-sent events: an answer that is sent as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from asahi_core.errors import AsahiError
from asahi_edge.api.callers import HttpCaller, first_of, unless_left
from asahi_edge.api.errors import anthropic_error_body, error_body, wants_anthropic_shape
from asahi_edge.api.json import encode

_SILENCE_S = 15.0
"""After so long without an event a comment is sent, so that nothing in between takes the connection for dead."""
_KEEP_ALIVE = b": keep-alive\n\n"
_MOST_WAITING_BYTES = 64 * 1024
"""Events that wait for a slow client before no more are taken from the flight."""


def event(data: bytes, name: str = "") -> bytes:
    """An event with a JSON document."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), data) if name else b"data: %b\n\n" % data


def error_event(request: Request, error: AsahiError, name: str = "") -> bytes:
    """The last event of an answer that had begun when `error` ended it."""
    request.scope["asahi"]["error"] = error.code
    body = anthropic_error_body(error) if wants_anthropic_shape(request) else error_body(error)
    return event(encode(body), name)


async def open_stream(
    request: Request, events: AsyncGenerator[bytes, None], headers: Mapping[str, str], *, error_name: str = ""
) -> "EventStream":
    """The response that sends `events`; `headers` is read when the first event is there.

    An error before the first event is raised here, so that it is answered with its own status. After a long silence
    the answer begins all the same, and errors become events called `error_name`.

    Raises:
        AsahiError: what `events` raised before the first event.
        Cancelled: the caller left before.
    """
    caller = HttpCaller(request)
    first = asyncio.ensure_future(first_of(anext(events)))
    try:
        came = await unless_left(caller, first, _SILENCE_S)
        if came:
            first.result()
    except BaseException:
        await events.aclose()
        raise
    return EventStream(caller, first, events, headers, lambda error: error_event(request, error, error_name))


class EventStream(Response):
    """Sends events; when the client hangs up, the generator is closed at once."""

    media_type = "text/event-stream"

    def __init__(
        self,
        caller: HttpCaller,
        first: "asyncio.Future[bytes]",
        events: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        error_event_of: Callable[[AsahiError], bytes],
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._caller = caller
        self._first = first
        self._events = events
        self._error_event_of = error_event_of
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._moved: asyncio.Future[bool] | None = None
        self._room: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gathering = asyncio.ensure_future(self._gather())
        gathering.add_done_callback(lambda _: self._wake())
        sending = asyncio.ensure_future(self._send(send, gathering))
        leaving = asyncio.ensure_future(self._caller.left())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gathering, sending, leaving):
                task.cancel()
            await asyncio.wait({gathering, sending, leaving})
            await self._events.aclose()
        if not sending.cancelled():
            sending.result()

    async def _gather(self) -> None:
        """Takes the events as they come; waits while the client takes fewer."""
        try:
            self._add(await self._first)
            async for data in self._events:
                self._add(data)
                while self._waiting_bytes >= _MOST_WAITING_BYTES:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except AsahiError as error:
            self._add(self._error_event_of(error))

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._wake()

    async def _send(self, send: Send, gathering: "asyncio.Task[None]") -> None:
        """Sends what is there: events that came together go together."""
        while True:
            if self._waiting:
                data = self._take()
            elif gathering.done():
                gathering.result()
                break
            elif await self._moves_within(_SILENCE_S):
                continue
            else:
                data = _KEEP_ALIVE
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return data

    async def _moves_within(self, seconds: float) -> bool:
        """Whether an event comes, or the end, in that time."""
        loop = asyncio.get_running_loop()
        self._moved = loop.create_future()
        timer = loop.call_later(seconds, self._wake, False)
        try:
            return await self._moved
        finally:
            timer.cancel()

    def _wake(self, moved: bool = True) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(moved)
