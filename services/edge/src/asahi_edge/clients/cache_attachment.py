"""The edge's standing connection to the cache service: heartbeats, withdrawals, and flights that cross edges."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel

_STANDS_FOR_S = 1.0
_PAUSE_S = 0.1
_NO_LIMIT_S = 30 * 24 * 3600.0
_MAX_QUEUED = 10_000


class CacheAttachment:
    """Keeps the connection up; `run` must be running. Nothing is sent while it is down."""

    def __init__(self, channel: ServiceChannel, edge_id: str, clock: Clock, log: FilteringBoundLogger) -> None:
        """`edge_id` is unique to this process."""
        self.edge_id = edge_id
        self._stub = CacheServiceStub(channel)
        self._clock = clock
        self._log = log
        self._heard_at: float | None = None
        self._outbox: asyncio.Queue[pb.AttachRequest] | None = None
        self.on_withdrawn: Callable[[str, bytes], Any] = lambda _organization_id, _fingerprint: None
        """Called with an organisation and a fingerprint; empty: all of the organisation."""
        self.on_missed: Callable[[], Any] = lambda: None
        """Called when withdrawals may have been missed."""
        self.on_wanted: Callable[[str], Any] = lambda _flight_id: None
        self.on_unwanted: Callable[[str], Any] = lambda _flight_id: None

    @property
    def stands(self) -> bool:
        """Whether something was heard within the last second."""
        return self._heard_at is not None and self._clock.monotonic() - self._heard_at < _STANDS_FOR_S

    def send(self, message: pb.AttachRequest) -> None:
        """Sends `message` in order; dropped while the connection is down, for the flights died with it."""
        if self._outbox is None:
            return
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._log.warning("cache_attachment_saturated", queued=_MAX_QUEUED)
            self._outbox = None

    async def run(self) -> None:
        """Attaches, and again whenever the connection breaks, until cancelled."""
        told = False
        while True:
            try:
                await self._attach_once()
            except AsahiError as error:
                if not told:
                    self._log.warning("cache_unattached", error=error.message)
                told = True
                await asyncio.sleep(_PAUSE_S)
            else:
                told = False
            finally:
                self._heard_at = None
                self._outbox = None
                self.on_missed()

    async def _attach_once(self) -> None:
        outbox: asyncio.Queue[pb.AttachRequest] = asyncio.Queue(_MAX_QUEUED)
        outbox.put_nowait(pb.AttachRequest(hello=pb.AttachRequest.Hello(edge_id=self.edge_id)))
        responses: Any = self._stub.Attach(_drain(outbox), timeout=_NO_LIMIT_S)
        async with aclosing(responses):
            async for response in responses:
                if self._heard_at is None:
                    self._outbox = outbox
                    self._log.info("cache_attached")
                elif self._outbox is None:
                    return
                self._heard_at = self._clock.monotonic()
                self._handle(response)

    def _handle(self, response: pb.AttachResponse) -> None:
        match response.WhichOneof("message"):
            case "invalidation":
                self.on_withdrawn(response.invalidation.organization_id, response.invalidation.fingerprint)
            case "wanted_flight_id":
                self.on_wanted(response.wanted_flight_id)
            case "unwanted_flight_id":
                self.on_unwanted(response.unwanted_flight_id)


async def _drain(outbox: "asyncio.Queue[pb.AttachRequest]") -> AsyncIterator[pb.AttachRequest]:
    while True:
        yield await outbox.get()
