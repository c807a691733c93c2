"""The edge's standing connection to the cache service: heartbeats, withdrawals, flights that cross edges, and calls.

Calls over it cost a third of calls of their own, and meet the cache replica that has this edge's flights.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import count
from typing import Any

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, DeadlineExceeded, ServiceUnavailable
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import error_from_bytes

_STANDS_FOR_S = 1.0
_PAUSE_S = 0.1
_NO_LIMIT_S = 30 * 24 * 3600.0
_MAX_QUEUED = 10_000
_TOGETHER_BYTES = 256 * 1024


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
        self._degraded: tuple[str, ...] = ()
        self._call_ids = count(1)
        self._calls: dict[int, asyncio.Future[pb.AttachedReply]] = {}
        self.on_withdrawn: Callable[[str, bytes], Any] = lambda _organization_id, _fingerprint: None
        """Called with an organisation and a fingerprint; empty: all of the organisation, without one all there is."""
        self.on_missed: Callable[[], Any] = lambda: None
        """Called when withdrawals may have been missed."""
        self.on_wanted: Callable[[str], Any] = lambda _flight_id: None
        self.on_unwanted: Callable[[str], Any] = lambda _flight_id: None

    @property
    def stands(self) -> bool:
        """Whether something was heard within the last second."""
        return self._heard_at is not None and self._clock.monotonic() - self._heard_at < _STANDS_FOR_S

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stores that the cache service does without at the moment, as far as it was heard."""
        return self._degraded if self.stands else ()

    def send(self, message: pb.AttachRequest) -> None:
        """Sends `message` in order; dropped while the connection is down, for the flights died with it."""
        if self._outbox is None:
            return
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._log.warning("cache_attachment_saturated", queued=_MAX_QUEUED)
            self._outbox = None

    async def call(self, call: pb.AttachedCall, timeout_s: float) -> pb.AttachedReply:
        """The reply to a look-up or a store.

        Raises:
            AsahiError: as the method would; ServiceUnavailable when the connection is down or breaks.
            DeadlineExceeded: no reply came in time; a flight that a late one gives the lead of is ended.
        """
        if self._outbox is None:
            raise _unavailable()
        call.call_id = next(self._call_ids)
        replied: asyncio.Future[pb.AttachedReply] = asyncio.get_running_loop().create_future()
        self._calls[call.call_id] = replied
        timer = asyncio.get_running_loop().call_later(timeout_s, _expire, replied)
        try:
            self.send(pb.AttachRequest(call=call))
            return await replied
        finally:
            timer.cancel()
            self._calls.pop(call.call_id, None)

    async def run(self) -> None:
        """Attaches, and again whenever the connection breaks, until cancelled."""
        told = False
        while True:
            try:
                await self._attach_once()
                told = False
            except AsahiError as error:
                if not told:
                    self._log.warning("cache_unattached", error=error.message)
                told = True
            finally:
                self._heard_at = None
                self._outbox = None
                for replied in self._calls.values():
                    if not replied.done():
                        replied.set_exception(_unavailable())
                self.on_missed()
            if told:
                await asyncio.sleep(_PAUSE_S)

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
                for one in response.several or (response,):
                    self._handle(one)

    def _handle(self, response: pb.AttachResponse) -> None:
        match response.WhichOneof("message"):
            case "heartbeat":
                self._degraded = tuple(response.heartbeat.degraded)
            case "reply":
                self._take_reply(response.reply)
            case "invalidation":
                self.on_withdrawn(response.invalidation.organization_id, response.invalidation.fingerprint)
            case "wanted_flight_id":
                self.on_wanted(response.wanted_flight_id)
            case "unwanted_flight_id":
                self.on_unwanted(response.unwanted_flight_id)

    def _take_reply(self, reply: pb.AttachedReply) -> None:
        replied = self._calls.get(reply.call_id)
        if replied is None or replied.done():
            if reply.lookup.lead_flight_id:
                self.send(pb.AttachRequest(end=pb.FlightEnd(flight_id=reply.lookup.lead_flight_id)))
        elif reply.failed_status:
            replied.set_exception(error_from_bytes(reply.failed_status))
        else:
            replied.set_result(reply)


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("The cache service does not answer; try again shortly.", retry_after_s=1.0)


def _expire(replied: "asyncio.Future[pb.AttachedReply]") -> None:
    if not replied.done():
        replied.set_exception(DeadlineExceeded("The cache service did not answer within the call's deadline."))


async def _drain(outbox: "asyncio.Queue[pb.AttachRequest]") -> AsyncIterator[pb.AttachRequest]:
    """What is to be sent; what is there together travels together, for a message costs as much as what is in it."""
    while True:
        said = [await outbox.get()]
        size = said[0].ByteSize()
        while size < _TOGETHER_BYTES and not outbox.empty():
            said.append(outbox.get_nowait())
            size += said[-1].ByteSize()
        yield pb.AttachRequest(several=said) if len(said) > 1 else said[0]
