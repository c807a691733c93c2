"""HTTP/1.1 as uvicorn reads it, with bounds on what may come before a body and on a connection's age.

Only what never becomes a request is answered here, in the contract's shape; all else is the application's. Whom the
door does not let in costs a tenth of who is refused by the application, so that an edge can refuse many more than it
can answer.
"""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from asahi_core.errors import AsahiError, HeadersTooLarge, InvalidRequest, Overloaded
from asahi_core.ids import Ids
from asahi_edge.api.door import PLACE, Door
from asahi_edge.api.errors import anthropic_error_body, error_body, error_headers, error_status, is_anthropic
from asahi_edge.api.json import encode
from asahi_edge.api.scope import label_of

_MOST_BEFORE_BODY = 1024 * 1024
"""Bytes at which reading stops; that a request has fewer is checked exactly by `RequestScope`."""
_PASSED_OVER = 64 * 1024
"""Bytes of a body that is passed over for the sake of its connection; a larger one ends it."""
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LINGER_S = 1.0
"""How long a refused client may go on sending, so that it reads the answer rather than a reset."""


class EdgeProtocol(HttpToolsProtocol):
    """A connection."""

    ids: Ids
    door: Door
    connection_s: float
    """Age at which the next answer says that the connection ends; 0: never."""

    _opened_at = 0.0
    _in_head = True
    _head_bytes = 0
    _refused = False
    """Whether the connection ends with what was answered."""
    _passing_over = False
    """Whether what comes is the body of a request that was not let in."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It begins."""
        self._opened_at = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Reads; refuses a head that does not end."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_BEFORE_BODY:
                self._refuse(HeadersTooLarge(f"The headers have more than {_MOST_BEFORE_BODY} bytes; send fewer."))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head has come."""
        self._in_head = False
        if self._refused:
            return
        if self.cycle is None or self.cycle.response_complete:
            found = self.door.enter(self.parser.get_method(), self.url, self.headers)
            if isinstance(found, Overloaded):
                self._turn_away(found)
                return
            if found is not None:
                self.scope[PLACE] = found  # type: ignore[literal-required]
        super().on_headers_complete()
        # Only the answer can tell the caller: a connection that is closed while nothing is asked may lose a question.
        if self._is_old:
            self.cycle.keep_alive = False

    @property
    def _is_old(self) -> bool:
        return self.connection_s > 0 and self.loop.time() - self._opened_at >= self.connection_s

    def on_body(self, body: bytes) -> None:
        """A part of its body has come."""
        if not self._passing_over and not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it has come."""
        if self._passing_over:
            self._passing_over = False
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(InvalidRequest("This is not an HTTP/1.1 request that can be read."))

    def _turn_away(self, error: AsahiError) -> None:
        """Answers who is not let in, and goes on with the connection unless much is still to come."""
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        self._passing_over = length.isdigit() and int(length) <= _PASSED_OVER and not self.expect_100_continue
        request_id = self.ids.request_id().encode("ascii")
        label = label_of(headers.get(b"x-request-id"), request_id)
        path = self.url.partition(b"?")[0].decode("ascii")
        stays = self._passing_over and self.parser.should_keep_alive() and not self._is_old
        self._answer(error, request_id, label, path, closes=not stays)

    def _refuse(self, error: AsahiError) -> None:
        request_id = self.ids.request_id().encode("ascii")
        self._answer(error, request_id, request_id, "", closes=True)

    def _answer(self, error: AsahiError, request_id: bytes, label: bytes, path: str, *, closes: bool) -> None:
        anthropic, ours = is_anthropic(path), request_id.decode("ascii")
        body = encode(anthropic_error_body(error, ours) if anthropic else error_body(error, ours))
        status = error_status(error, anthropic=anthropic)
        headers = {**error_headers(error), "content-type": "application/json", "content-length": str(len(body))}
        if closes:
            headers["connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        told = b"x-request-id: %b\r\nrequest-id: %b\r\nx-asahi-request-id: %b\r\n\r\n" % (label, label, request_id)
        line = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Overloaded')}\r\n"
        self.transport.write((line + head).encode("ascii") + told + body)
        if closes:
            self._refused = True
            self.loop.call_later(_LINGER_S, self.transport.close)


def protocol_with(request_ids: Ids, front_door: Door, age_s: float = 0.0) -> type[EdgeProtocol]:
    """The protocol class for uvicorn, which makes the instances. `age_s`: `EdgeProtocol.connection_s`."""

    class _Protocol(EdgeProtocol):
        ids = request_ids
        door = front_door
        connection_s = age_s

    return _Protocol
