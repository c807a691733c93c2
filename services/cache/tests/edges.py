"""An edge as the cache service sees it, over a real channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel
from services.cache.tests.builders import GUARD_S, digest, entry

_SERVICE = pb.DESCRIPTOR.services_by_name["CacheService"]


class Edge:
    """One attached edge, its messages waiting to be taken."""

    def __init__(self, address: str, edge_id: str) -> None:
        self.edge_id = edge_id
        self.channel = ServiceChannel("cache", address, _SERVICE, timeout_s=GUARD_S)
        self.stub = CacheServiceStub(self.channel)
        self.heard: asyncio.Queue[pb.AttachResponse] = asyncio.Queue()
        self.heartbeats = 0
        self.degraded: tuple[str, ...] = ()
        self._beats = asyncio.Event()
        self._outbox: asyncio.Queue[pb.AttachRequest | None] = asyncio.Queue()
        self.attached: asyncio.Task[None] | None = None

    async def attach(self) -> None:
        self.say(hello=pb.AttachRequest.Hello(edge_id=self.edge_id))
        self.attached = asyncio.create_task(self._attach())
        beating = asyncio.create_task(self._beats.wait())
        await asyncio.wait((beating, self.attached), timeout=GUARD_S, return_when=asyncio.FIRST_COMPLETED)
        beating.cancel()

    async def hear(self, kind: str) -> Any:
        """The next message, which must be of this kind."""
        message = await asyncio.wait_for(self.heard.get(), GUARD_S)
        assert message.WhichOneof("message") == kind
        return getattr(message, kind)

    def say(self, **message: Any) -> None:
        self._outbox.put_nowait(pb.AttachRequest(**message))

    def publish(self, flight_id: str, *pieces: AnswerDelta) -> None:
        for piece in pieces:
            self.say(delta=pb.FlightDelta(flight_id=flight_id, delta=piece))

    def end(self, flight_id: str, **result: Any) -> None:
        self.say(end=pb.FlightEnd(flight_id=flight_id, **result))

    def hang_up(self) -> None:
        """Says that nothing more will be said."""
        self._outbox.put_nowait(None)

    async def hear_beats(self, count: int) -> None:
        """Returns when `count` more heartbeats have come."""
        for _ in range(count):
            self._beats.clear()
            await self._beats.wait()

    async def stats(self, organization_id: str) -> pb.GetStatsResponse:
        response: pb.GetStatsResponse = await self.stub.GetStats(pb.GetStatsRequest(organization_id=organization_id))
        return response

    async def ask(
        self, number: int = 1, organization_id: str = "org-1", *, flight_key: bytes = b"", lost: str = ""
    ) -> pb.LookupResponse:
        """Looks an answer up, and wants a flight."""
        request = pb.LookupRequest(
            organization_id=organization_id,
            fingerprint=digest(number),
            flight_key=flight_key or digest(number),
            edge_id=self.edge_id,
            lost_flight_id=lost,
        )
        response: pb.LookupResponse = await self.stub.Lookup(request)
        return response

    async def store(self, number: int = 1, flight_id: str = "", *, request_id: str = "r-1") -> pb.StoreResponse:
        request = pb.StoreRequest(organization_id="org-1", fingerprint=digest(number), flight_id=flight_id)
        request.entry.CopyFrom(entry(request_id=request_id))
        response: pb.StoreResponse = await self.stub.Store(request)
        return response

    async def invalidate(self, **selection: Any) -> int:
        response = await self.stub.Invalidate(pb.InvalidateRequest(organization_id="org-1", **selection))
        return int(response.dropped)

    def follow(self, flight_id: str, organization_id: str = "org-1") -> "Following":
        request = pb.FollowFlightRequest(organization_id=organization_id, flight_id=flight_id)
        return Following(self.stub.FollowFlight(request))

    async def vanish(self) -> None:
        await self.channel.close()
        if self.attached is not None:
            self.attached.cancel()
            await asyncio.wait((self.attached,))

    async def _attach(self) -> None:
        responses: Any = self.stub.Attach(self._requests(), timeout=GUARD_S)
        async with aclosing(responses):
            async for response in responses:
                for one in response.several or (response,):
                    if one.HasField("heartbeat"):
                        self.heartbeats += 1
                        self.degraded = tuple(one.heartbeat.degraded)
                        self._beats.set()
                    else:
                        self.heard.put_nowait(one)

    async def _requests(self) -> AsyncIterator[pb.AttachRequest]:
        while (request := await self._outbox.get()) is not None:
            yield request


class Following:
    """One who follows a flight: what they hear, in order, and the error that it ends with."""

    def __init__(self, events: Any) -> None:
        self._events = events
        self.heard: list[pb.FollowFlightResponse] = []
        self.error: AsahiError | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._listen())

    @property
    def pieces(self) -> list[AnswerDelta]:
        return [event.delta for event in self.heard if event.HasField("delta")]

    async def hear(self, count: int) -> None:
        """Returns when `count` events have come."""
        async with asyncio.timeout(GUARD_S):
            while len(self.heard) < count:
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> pb.FollowFlightResponse | AsahiError:
        """What came last."""
        await asyncio.wait_for(self.task, GUARD_S)
        return self.error or self.heard[-1]

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))

    async def _listen(self) -> None:
        try:
            async with aclosing(self._events):
                async for event in self._events:
                    self.heard.append(event)
                    self._changed.set()
        except AsahiError as error:
            self.error = error


@asynccontextmanager
async def edges(address: str, count: int = 2) -> AsyncIterator[list[Edge]]:
    """Attached edges, gone when the block ends."""
    attached = [Edge(address, f"edge-{number}") for number in range(1, count + 1)]
    try:
        for edge in attached:
            await edge.attach()
        yield attached
    finally:
        for edge in attached:
            await edge.vanish()
