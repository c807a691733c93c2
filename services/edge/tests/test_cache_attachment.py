"""The edge's standing connection to the cache service, over a real one: calls, withdrawals, breaks, late replies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import grpc
import pytest
import structlog

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server
from asahi_core.clock import ManualClock
from asahi_core.errors import DeadlineExceeded, InvalidRequest, NotFound, ServiceUnavailable
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import status_from_error, to_rpc_status
from asahi_edge.clients import cache_attachment
from asahi_edge.clients.cache import SERVICE, CacheClient
from asahi_edge.clients.cache_attachment import CacheAttachment
from services.edge.tests.flying import GUARD_S, soon, until

_HEARTBEAT = pb.AttachResponse(heartbeat=pb.Heartbeat())


class _Servicer(CacheServiceServicer):
    """A cache service that says what the test says, over the connection that stands."""

    def __init__(self) -> None:
        self.hellos: list[str] = []
        self.heard: list[pb.AttachRequest] = []
        self.messages = 0
        self.saying: asyncio.Queue[pb.AttachResponse | None] = asyncio.Queue()
        self.heartbeat = _HEARTBEAT
        """What connections begin with."""
        self.fails = False
        """Whether the connection ends with an error when it is broken off."""
        self.followed: list[pb.FollowFlightResponse] | None = None

    async def Attach(  # noqa: N802
        self, requests: AsyncIterator[pb.AttachRequest], context: Any
    ) -> AsyncIterator[pb.AttachResponse]:
        self.hellos.append((await anext(aiter(requests))).hello.edge_id)
        listening = asyncio.create_task(self._listen(requests))
        yield self.heartbeat
        try:
            while (message := await self.saying.get()) is not None:
                yield message
            if self.fails:
                await context.abort_with_status(to_rpc_status(ServiceUnavailable("It is gone.", retry_after_s=1.0)))
        finally:
            listening.cancel()

    async def FollowFlight(  # noqa: N802
        self, request: pb.FollowFlightRequest, context: Any
    ) -> AsyncIterator[pb.FollowFlightResponse]:
        if self.followed is None:
            await context.abort_with_status(to_rpc_status(NotFound("No such flight.")))
        for event in self.followed or ():
            yield event

    async def _listen(self, requests: AsyncIterator[pb.AttachRequest]) -> None:
        async for request in requests:
            self.heard += request.several or (request,)
            self.messages += 1

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:  # noqa: N802
        raise NotImplementedError

    async def Store(self, request: pb.StoreRequest, context: Any) -> pb.StoreResponse:  # noqa: N802
        raise NotImplementedError

    async def Invalidate(self, request: pb.InvalidateRequest, context: Any) -> pb.InvalidateResponse:  # noqa: N802
        raise NotImplementedError

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:  # noqa: N802
        raise NotImplementedError

    async def BeginReplay(self, request: pb.BeginReplayRequest, context: Any) -> pb.BeginReplayResponse:  # noqa: N802
        raise NotImplementedError

    async def EndReplay(self, request: pb.EndReplayRequest, context: Any) -> pb.EndReplayResponse:  # noqa: N802
        raise NotImplementedError

    async def EraseReplays(self, request: pb.EraseReplaysRequest, context: Any) -> pb.EraseReplaysResponse:  # noqa: N802
        raise NotImplementedError

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:  # noqa: N802
        raise NotImplementedError

    async def CompareAnswers(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ReportHit(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetSemanticReport(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def EraseEvidence(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetCondition(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def calls(self) -> list[pb.AttachedCall]:
        return [request.call for request in self.heard if request.HasField("call")]

    def reply(self, reply: pb.AttachedReply) -> None:
        self.saying.put_nowait(pb.AttachResponse(reply=reply))

    def break_off(self) -> None:
        self.saying.put_nowait(None)


class _Attached:
    def __init__(
        self, servicer: _Servicer, attachment: CacheAttachment, client: CacheClient, clock: ManualClock, address: str
    ) -> None:
        self.address = address
        self.servicer = servicer
        self.attachment = attachment
        self.client = client
        self.clock = clock

    def look_up(self) -> "asyncio.Task[pb.LookupResponse]":
        return asyncio.create_task(self.client.lookup("org-1", b"f" * 32, 60.0, b"k" * 32))

    async def call(self, number: int = 1) -> pb.AttachedCall:
        await until(lambda: len(self.servicer.calls()) >= number)
        return self.servicer.calls()[number - 1]


@asynccontextmanager
async def _attached(*, timeout_s: float = GUARD_S) -> AsyncIterator[_Attached]:
    servicer, clock, server = _Servicer(), ManualClock(), grpc.aio.server()
    add_CacheServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with ServiceChannel("cache", f"127.0.0.1:{port}", SERVICE, timeout_s=GUARD_S) as channel:
            attachment = CacheAttachment(channel, "edge-1", clock, structlog.get_logger(), Random(1))
            client = CacheClient(channel, attachment, timeout_s, _replica)
            running = asyncio.create_task(attachment.run())
            await until(lambda: attachment.stands)
            yield _Attached(servicer, attachment, client, clock, f"127.0.0.1:{port}")
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    finally:
        await server.stop(0)


async def test_the_connection_stands_while_something_is_heard_every_second() -> None:
    async with _attached() as edge:
        assert edge.client.attached
        edge.clock.advance(1.0)
        assert not edge.client.attached
        edge.servicer.saying.put_nowait(_HEARTBEAT)
        await until(lambda: edge.client.attached)
    assert edge.servicer.hellos == ["edge-1"]


async def test_an_edge_stays_at_a_replica_that_shares_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_attachment, "_STAYS_S", 0.01)
    async with _attached() as edge:
        for number in range(10):
            edge.servicer.saying.put_nowait(pb.AttachResponse(wanted_flight_id=str(number)))
            await asyncio.sleep(0.02)
        assert edge.client.attached
    assert edge.servicer.hellos == ["edge-1"]


async def test_a_replica_that_falls_silent_is_moved_from_and_what_came_over_it_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_attachment, "_STAYS_S", 0.5)
    async with _attached() as edge:
        missed: list[int] = []
        edge.attachment.on_missed = lambda: missed.append(len(edge.servicer.hellos))
        edge.servicer.saying.put_nowait(pb.AttachResponse(heartbeat=pb.Heartbeat(shared=True, degraded=["redis"])))
        await until(lambda: edge.client.degraded == ("redis",))
        await asyncio.sleep(1.0)
        assert edge.servicer.hellos == ["edge-1"]  # nobody moves where replicas do not hear each other
        edge.servicer.heartbeat = pb.AttachResponse(heartbeat=pb.Heartbeat(shared=True))
        edge.servicer.saying.put_nowait(edge.servicer.heartbeat)
        await until(lambda: not edge.client.degraded)
        edge.clock.advance(1.0)
        assert not edge.client.attached
        await until(lambda: edge.client.attached)
        assert missed == [2]
        assert len(set(edge.servicer.hellos)) == len(edge.servicer.hellos)


async def test_replies_find_their_calls_in_any_order() -> None:
    async with _attached() as edge:
        first, second = edge.look_up(), edge.look_up()
        calls = [await edge.call(1), await edge.call(2)]
        for call in reversed(calls):
            lookup = pb.LookupResponse(follow_flight_id=f"flight of {call.call_id}")
            edge.servicer.reply(pb.AttachedReply(call_id=call.call_id, lookup=lookup))
        answers = await soon(asyncio.gather(first, second))
    assert [answer.follow_flight_id for answer in answers] == [f"flight of {call.call_id}" for call in calls]
    assert (calls[0].lookup.organization_id, calls[0].lookup.edge_id) == ("org-1", "edge-1")
    assert calls[0].lookup.max_age.seconds == 60


async def test_what_is_there_together_travels_together_and_in_order() -> None:
    async with _attached() as edge:
        ends = [pb.AttachRequest(end=pb.FlightEnd(flight_id=str(n))) for n in range(50)]
        for end in ends:
            edge.attachment.send(end)
        await until(lambda: len(edge.servicer.heard) == len(ends))
        wanted = list[str]()
        edge.attachment.on_wanted = wanted.append
        replies = [pb.AttachResponse(wanted_flight_id=str(n)) for n in range(50)]
        edge.servicer.saying.put_nowait(pb.AttachResponse(several=replies))
        await until(lambda: len(wanted) == len(replies))
    assert edge.servicer.heard == ends
    assert edge.servicer.messages < len(ends)
    assert wanted == [reply.wanted_flight_id for reply in replies]


async def test_what_the_service_refuses_is_raised() -> None:
    async with _attached() as edge:
        looking = edge.look_up()
        call = await edge.call()
        status = status_from_error(InvalidRequest("Too short.", param="fingerprint")).SerializeToString()
        edge.servicer.reply(pb.AttachedReply(call_id=call.call_id, failed_status=status))
        with pytest.raises(InvalidRequest) as caught:
            await soon(looking)
    assert caught.value.param == "fingerprint"


async def test_a_reply_that_comes_too_late_and_gives_a_lead_has_its_flight_ended() -> None:
    async with _attached(timeout_s=0.05) as edge:
        with pytest.raises(DeadlineExceeded):
            await soon(edge.look_up())
        call = await edge.call()
        lead = pb.LookupResponse(lead_flight_id="f-1")
        edge.servicer.reply(pb.AttachedReply(call_id=call.call_id, lookup=lead))
        await until(lambda: any(request.end.flight_id == "f-1" for request in edge.servicer.heard))


async def test_what_is_withdrawn_wanted_and_unwanted_is_heard_in_order() -> None:
    async with _attached() as edge:
        heard: list[Any] = []
        edge.attachment.on_withdrawn = lambda *withdrawn: heard.append(withdrawn)
        edge.attachment.on_wanted = heard.append
        edge.attachment.on_unwanted = lambda flight_id: heard.append(("unwanted", flight_id))
        for message in (
            pb.AttachResponse(invalidation=pb.Invalidation(organization_id="org-1", fingerprint=b"f")),
            pb.AttachResponse(wanted_flight_id="f-1"),
            pb.AttachResponse(unwanted_flight_id="f-1"),
        ):
            edge.servicer.saying.put_nowait(message)
        await until(lambda: len(heard) == 3)
    assert heard == [("org-1", b"f"), "f-1", ("unwanted", "f-1")]


async def test_when_the_connection_breaks_calls_fail_copies_are_dropped_and_it_is_made_anew() -> None:
    async with _attached() as edge:
        missed: list[int] = []
        edge.attachment.on_missed = lambda: missed.append(len(edge.servicer.hellos))
        looking = edge.look_up()
        await edge.call()
        edge.servicer.break_off()
        with pytest.raises(ServiceUnavailable):
            await soon(looking)
        await until(lambda: edge.client.attached)
        assert missed == [1]
        assert edge.servicer.hellos == ["edge-1", "edge-1"]
        again = edge.look_up()
        call = await edge.call(2)
        edge.servicer.reply(pb.AttachedReply(call_id=call.call_id, lookup=pb.LookupResponse()))
        await soon(again)


async def test_who_calls_over_a_connection_that_failed_does_not_wait_for_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_attachment, "_PAUSE_S", 3600.0)
    async with _attached() as edge:
        edge.servicer.fails = True
        looking = edge.look_up()
        await edge.call()
        edge.servicer.break_off()
        with pytest.raises(ServiceUnavailable):
            await soon(looking)
        assert not edge.client.attached


async def test_without_a_connection_a_call_fails_at_once() -> None:
    async with ServiceChannel("cache", "127.0.0.1:1", SERVICE, timeout_s=GUARD_S) as channel:
        attachment = CacheAttachment(channel, "edge-1", ManualClock(), structlog.get_logger(), Random(1))
        client = CacheClient(channel, attachment, GUARD_S, _replica)
        assert not client.attached
        with pytest.raises(ServiceUnavailable):
            await soon(client.lookup("org-1", b"f" * 32, None, b""))
        client.publish("f-1", pb.FlightDelta().delta)


async def test_following_brings_events_and_raises_what_the_lead_failed_with() -> None:
    failed = status_from_error(ServiceUnavailable("All are down.", retry_after_s=2.0)).SerializeToString()
    async with _attached() as edge:
        edge.servicer.followed = [
            pb.FollowFlightResponse(delta=pb.FlightDelta().delta),
            pb.FollowFlightResponse(failed_status=failed),
        ]
        kinds: list[str | None] = []
        with pytest.raises(ServiceUnavailable) as caught:
            await soon(_follow(edge.client, "f-1", kinds))
        assert (kinds, caught.value.retry_after_s) == (["delta"], 2.0)
        edge.servicer.followed = None
        with pytest.raises(NotFound):
            await soon(_follow(edge.client, "f-2", kinds))


async def test_a_flight_is_followed_at_the_replica_that_the_lookup_named() -> None:
    async with _attached() as edge, _attached() as elsewhere:
        elsewhere.servicer.followed = [pb.FollowFlightResponse(delta=pb.FlightDelta().delta)]
        kinds: list[str | None] = []
        await soon(_follow(edge.client, "f-1", kinds, elsewhere.address))
        await soon(_follow(edge.client, "f-1", kinds, elsewhere.address))
        assert kinds == ["delta", "delta"]
        with pytest.raises(ServiceUnavailable):
            await soon(_follow(edge.client, "f-1", kinds, "127.0.0.1:1"))
        await edge.client.close()


def _replica(address: str) -> ServiceChannel:
    return ServiceChannel("cache", address, SERVICE, timeout_s=GUARD_S)


async def _follow(client: CacheClient, flight_id: str, kinds: list[str | None], address: str = "") -> None:
    async with client.follow("org-1", flight_id, address) as events:
        async for event in events:
            kinds.append(event.WhichOneof("event"))  # noqa: PERF401 - it is left by an error
