"""A reference that is no candidate: length, call id and reply size, then bytes, on an asyncio protocol, no gRPC."""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import cast

_HEAD = Struct("!IQI")


class _Framed(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = bytearray()
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def send(self, call_id: int, reply_bytes: int, payload: bytes) -> None:
        self.transport.write(_HEAD.pack(len(payload), call_id, reply_bytes) + payload)

    def received(self, call_id: int, reply_bytes: int, payload: bytes) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            length, call_id, reply_bytes = _HEAD.unpack_from(self._buffer, at)
            if len(self._buffer) - at - _HEAD.size < length:
                break
            at += _HEAD.size
            self.received(call_id, reply_bytes, bytes(self._buffer[at : at + length]))
            at += length
        del self._buffer[:at]


class _FramedServer(_Framed):
    def __init__(self, body: Callable[[int], bytes]) -> None:
        super().__init__()
        self._body = body

    def received(self, call_id: int, reply_bytes: int, payload: bytes) -> None:
        del payload
        self.send(call_id, 0, self._body(reply_bytes))


class FramedClient(_Framed):
    """Calls by id over one connection."""

    def __init__(self) -> None:
        super().__init__()
        self._replies: dict[int, asyncio.Future[bytes]] = {}
        self._last_id = 0

    def received(self, call_id: int, reply_bytes: int, payload: bytes) -> None:
        """Wake the caller."""
        del reply_bytes
        self._replies.pop(call_id).set_result(payload)

    def call(self, payload: bytes, reply_bytes: int) -> asyncio.Future[bytes]:
        """Send at once, resolve with the reply."""
        self._last_id += 1
        reply = self._replies[self._last_id] = asyncio.get_running_loop().create_future()
        self.send(self._last_id, reply_bytes, payload)
        return reply


async def serve_frames(body: Callable[[int], bytes]) -> int:
    """Listen on a free port and say which."""
    server = await asyncio.get_running_loop().create_server(lambda: _FramedServer(body), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return port
