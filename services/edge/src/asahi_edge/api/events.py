"""Server-sent events: an answer that is sent as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from asahi_core.errors import AsahiError
from asahi_edge.api.callers import HttpCaller, first_of, unless_left
from asahi_edge.api.errors import error_body
from asahi_edge.api.json import encode

_SILENCE_S = 15.0
"""After so long without an event a comment is sent, so that nothing in between takes the connection for dead."""
_KEEP_ALIVE = b": keep-alive\n\n"


def event(data: bytes, name: str = "") -> bytes:
    """An event with a JSON document."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), data) if name else b"data: %b\n\n" % data


def error_event(request: Request, error: AsahiError, name: str = "") -> bytes:
    """The last event of an answer that had begun when `error` ended it."""
    request.scope["asahi"]["error"] = error.code
    return event(encode(error_body(error)), name)


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
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send_events(send))
        keeping_alive = asyncio.ensure_future(self._keep_alive(send))
        leaving = asyncio.ensure_future(self._caller.left())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, keeping_alive, leaving):
                task.cancel()
            await asyncio.wait({sending, keeping_alive, leaving})
            await self._events.aclose()
        if not sending.cancelled():
            sending.result()

    async def _send_events(self, send: Send) -> None:
        try:
            await self._send(send, await self._first)
            async for data in self._events:
                await self._send(send, data)
        except AsahiError as error:
            await self._send(send, self._error_event_of(error))
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, data: bytes) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _keep_alive(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while True:
            silent_s = loop.time() - self._sent_at
            if silent_s >= _SILENCE_S:
                await self._send(send, _KEEP_ALIVE)
            else:
                await asyncio.sleep(_SILENCE_S - silent_s)
