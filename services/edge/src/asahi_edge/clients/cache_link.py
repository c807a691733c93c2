"""One standing connection of the edge to one replica of the cache service, from its opening to its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import count
from typing import Any

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.clock import Clock
from asahi_core.errors import DeadlineExceeded, ServiceUnavailable
from asahi_core.rpc.status import error_from_bytes

_NO_LIMIT_S = 30 * 24 * 3600.0
_MAX_QUEUED = 10_000
_TOGETHER_BYTES = 256 * 1024


class CacheLink:
    """Calls and flights of one connection. Whoever uses it hears what else comes, and when all that came was told."""

    def __init__(
        self,
        edge_id: str,
        clock: Clock,
        log: FilteringBoundLogger,
        hear: Callable[[pb.AttachResponse], None],
        turn: Callable[["CacheLink"], None],
    ) -> None:
        """The connection of an edge takes the place of an older one with the same `edge_id` at the same replica."""
        self.edge_id = edge_id
        self.running: asyncio.Task[None]
        """What runs `run`; set by who opens the connection."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once something was heard or the connection has ended."""
        self.ended = False
        """Whether nothing more can be said."""
        self.opened_at = 0.0
        """Monotonic time, seconds, at which something was heard first."""
        self.heard_at = 0.0
        """When it was heard last."""
        self.replied_at = 0.0
        """When a call was answered last."""
        self.settled = False
        """Whether nothing that came over it waits for what it may yet withdraw; an answer unsettles it."""
        self.shares = False
        """Whether the replica is one of several that share what they have."""
        self.degraded: tuple[str, ...] = ()
        """Stores that the replica does without at the moment."""
        self.wanted: set[str] = set()
        """Flights led here that are followed."""
        self._led: set[str] = set()
        self._saturated = False
        self._clock = clock
        self._log = log
        self._hear = hear
        self._turn = turn
        self._call_ids = count(1)
        self._calls: dict[int, asyncio.Future[pb.AttachedReply]] = {}
        self._outbox: asyncio.Queue[pb.AttachRequest | None] = asyncio.Queue(_MAX_QUEUED)
        self._outbox.put_nowait(pb.AttachRequest(hello=pb.AttachRequest.Hello(edge_id=edge_id)))

    @property
    def idle(self) -> bool:
        """Whether no flight is led here and no reply awaited."""
        return not (self._led or self.wanted or self._calls)

    def leads(self, flight_id: str) -> bool:
        """Whether the flight is led here."""
        return flight_id in self._led or flight_id in self.wanted

    def let_go(self, flight_id: str) -> None:
        """Nothing more will be said of the flight."""
        self._led.discard(flight_id)
        self.wanted.discard(flight_id)

    def send(self, message: pb.AttachRequest) -> None:
        """Sends `message` in order; dropped once the connection has ended, for the flights died with it."""
        if self.ended:
            return
        if message.HasField("end"):
            self.let_go(message.end.flight_id)
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._log.warning("cache_attachment_saturated", queued=_MAX_QUEUED)
            self.ended = self._saturated = True

    async def call(self, call: pb.AttachedCall, timeout_s: float) -> pb.AttachedReply:
        """The reply to a look-up or a store.

        Raises:
            AsahiError: as the method would; ServiceUnavailable when the connection is down or breaks.
            DeadlineExceeded: no reply came in time; a flight that a late one gives the lead of is ended.
        """
        if self.ended:
            raise unavailable()
        call.call_id = next(self._call_ids)
        if call.lookup.flight_key:
            call.lookup.edge_id = self.edge_id
        replied: asyncio.Future[pb.AttachedReply] = asyncio.get_running_loop().create_future()
        self._calls[call.call_id] = replied
        timer = asyncio.get_running_loop().call_later(timeout_s, _expire, replied)
        try:
            self.send(pb.AttachRequest(call=call))
            return await replied
        finally:
            timer.cancel()
            self._calls.pop(call.call_id, None)

    def leave(self) -> None:
        """Says that nothing more will be said; the service ends the connection."""
        self.ended = True
        self._outbox.put_nowait(None)

    async def run(self, stub: CacheServiceStub) -> None:
        """Attaches, and listens until the connection ends.

        Raises:
            AsahiError: what it ended with, unless it ended well.
        """
        responses: Any = stub.Attach(_drain(self._outbox), timeout=_NO_LIMIT_S)
        try:
            async with aclosing(responses):
                async for response in responses:
                    if self._saturated:
                        return
                    self._take(response)
        finally:
            self.ended = True
            if not self.opened.done():
                self.opened.set_result(None)
            for replied in self._calls.values():
                if not replied.done():
                    replied.set_exception(unavailable())

    def _take(self, response: pb.AttachResponse) -> None:
        self.heard_at = self._clock.monotonic()
        for one in response.several or (response,):
            match one.WhichOneof("message"):
                case "heartbeat":
                    self.degraded, self.shares = tuple(one.heartbeat.degraded), one.heartbeat.shared
                case "reply":
                    self._take_reply(one.reply)
                case "wanted_flight_id":
                    self.wanted.add(one.wanted_flight_id)
                case "unwanted_flight_id":
                    self.wanted.discard(one.unwanted_flight_id)
            self._hear(one)
        if not self.opened.done():
            self.opened_at = self.heard_at
            self.opened.set_result(None)
        self._turn(self)

    def _take_reply(self, reply: pb.AttachedReply) -> None:
        self.replied_at, self.settled = self.heard_at, False
        replied, lead_flight_id = self._calls.get(reply.call_id), reply.lookup.lead_flight_id
        if replied is None or replied.done():
            if lead_flight_id:
                self.send(pb.AttachRequest(end=pb.FlightEnd(flight_id=lead_flight_id)))
        elif reply.failed_status:
            replied.set_exception(error_from_bytes(reply.failed_status))
        else:
            if lead_flight_id:
                self._led.add(lead_flight_id)
            replied.set_result(reply)


def unavailable() -> ServiceUnavailable:
    """What whoever calls without a connection hears."""
    return ServiceUnavailable("The cache service does not answer; try again shortly.", retry_after_s=1.0)


def _expire(replied: "asyncio.Future[pb.AttachedReply]") -> None:
    if not replied.done():
        replied.set_exception(DeadlineExceeded("The cache service did not answer within the call's deadline."))


async def _drain(outbox: "asyncio.Queue[pb.AttachRequest | None]") -> AsyncIterator[pb.AttachRequest]:
    """What is to be sent; what is there together travels together, for a message costs as much as what is in it."""
    while (first := await outbox.get()) is not None:
        said, size = [first], first.ByteSize()
        while size < _TOGETHER_BYTES and not outbox.empty():
            more = outbox.get_nowait()
            if more is None:
                yield pb.AttachRequest(several=said)
                return
            said.append(more)
            size += more.ByteSize()
        yield pb.AttachRequest(several=said) if len(said) > 1 else said[0]
