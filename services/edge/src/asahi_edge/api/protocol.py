"""HTTP/1.1 as uvicorn reads it, with a bound on what may come before a body, and refusals in the contract's shape.

Only what never becomes a request is answered here; all else is the application's.
"""

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from asahi_core.errors import AsahiError, HeadersTooLarge, InvalidRequest
from asahi_core.ids import Ids
from asahi_edge.api.errors import error_body
from asahi_edge.api.json import encode

_MOST_BEFORE_BODY = 1024 * 1024
"""Bytes at which reading stops; that a request has fewer is checked exactly by `RequestScope`."""
_LINGER_S = 1.0
"""How long a refused client may go on sending, so that it reads the answer rather than a reset."""


class EdgeProtocol(HttpToolsProtocol):
    """A connection."""

    ids: Ids

    _in_head = True
    _head_bytes = 0
    _refused = False

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
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(InvalidRequest("This is not an HTTP/1.1 request that can be read."))

    def _refuse(self, error: AsahiError) -> None:
        self._refused = True
        request_id = self.ids.request_id()
        body = encode(error_body(error, request_id))
        status = HTTPStatus(error.http_status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\nx-request-id: {request_id}\r\n"
            f"request-id: {request_id}\r\nx-asahi-request-id: {request_id}\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.loop.call_later(_LINGER_S, self.transport.close)


def protocol_with(request_ids: Ids) -> type[EdgeProtocol]:
    """The protocol class for uvicorn, which makes the instances."""

    class _Protocol(EdgeProtocol):
        ids = request_ids

    return _Protocol
