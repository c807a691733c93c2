"""Standing connections: heartbeats, withdrawals, bounds, and the end of the service."""

import asyncio
import gc
import json
import os
import signal
import sys
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeVar

import pytest

from asahi.cache.v1.cache_pb2 import AttachResponse, FlightDelta
from asahi_cache.domain.attachments import Attachment, Attachments
from asahi_cache.domain.flight import PIECE_OVERHEAD_BYTES
from asahi_cache.domain.flights import FlightLimits, Flights
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest, ServiceUnavailable, UpstreamInterrupted
from services.cache.tests.builders import GUARD_S, digest, entry, serving, text_piece
from services.cache.tests.edges import edges

_T = TypeVar("_T")


async def test_an_attached_edge_hears_heartbeats() -> None:
    async with serving() as cache, edges(cache.address, 1) as (edge,):
        async with asyncio.timeout(GUARD_S):
            await edge.hear_beats(3)


async def test_every_edge_is_told_of_dropped_entries_before_the_answer() -> None:
    async with serving() as cache, edges(cache.address, 3) as attached:
        await attached[0].store(number=7, request_id="r-7")
        await attached[0].store(number=8, request_id="r-8")
        assert await attached[0].invalidate(request_id="r-7") == 1
        told = [await edge.hear("invalidation") for edge in attached]
        assert {(one.organization_id, one.fingerprint) for one in told} == {("org-1", digest(7))}
        assert not (await attached[1].ask(7)).HasField("hit")
        assert (await attached[1].ask(8)).HasField("hit")
        assert await attached[0].invalidate() == 1
        told = [await edge.hear("invalidation") for edge in attached]
        assert {(one.organization_id, one.fingerprint) for one in told} == {("org-1", b"")}
        assert not (await attached[1].ask(8)).HasField("hit")


async def test_answers_given_before_a_moment_can_be_dropped() -> None:
    async with serving() as cache, edges(cache.address, 1) as (edge,):
        await edge.store()
        moment = entry().created_at
        assert await edge.invalidate(given_before=moment) == 0
        moment.nanos += 1
        assert await edge.invalidate(given_before=moment) == 1


async def test_stats_say_how_much_is_kept() -> None:
    async with serving() as cache, edges(cache.address, 1) as (edge,):
        await edge.store()
        stats = await edge.stats("org-1")
        assert stats.entries == 1
        assert stats.bytes > entry().ByteSize()
        assert (await edge.stats("org-2")).entries == 0


async def test_a_kept_answer_says_how_long_it_will_be_served() -> None:
    async with serving() as cache, edges(cache.address, 1) as (edge,):
        assert (await edge.store()).ttl.ToSeconds() == 86_400


async def test_a_flight_key_must_be_a_digest() -> None:
    async with serving() as cache, edges(cache.address, 1) as (edge,):
        with pytest.raises(InvalidRequest) as refusal:
            await edge.ask(flight_key=b"short")
        assert refusal.value.param == "flight_key"


async def test_an_edge_that_falls_behind_loses_its_connection_and_its_flights() -> None:
    flights = Flights(attachments := Attachments(max_queued=3), ManualClock(), "p", FlightLimits())
    slow = flights.attach("slow")
    boarding = flights.board("org-1", digest(1), "slow")
    assert boarding is not None
    flight = flights.join("org-1", boarding.flight_id)  # one message: wanted
    for _ in range(3):
        slow.send(AttachResponse(unwanted_flight_id="x"))
    assert slow.ended
    assert (len(attachments), len(flights)) == (0, 0)
    with pytest.raises(UpstreamInterrupted):
        await anext(flight.events())
    assert [message.WhichOneof("message") async for message in slow.messages()] == ["heartbeat"]


async def test_withdrawing_waits_until_a_message_is_on_its_way() -> None:
    attachments = Attachments(max_queued=10)
    edge = attachments.attach("edge-1")
    messages = edge.messages()
    await anext(messages)
    withdrawing = asyncio.create_task(attachments.withdraw("org-1"))
    assert (await anext(messages)).invalidation.organization_id == "org-1"
    await asyncio.sleep(0)
    assert not withdrawing.done(), "transport has not asked for the next message yet"
    asking = asyncio.create_task(_next(messages))
    await asyncio.wait_for(withdrawing, GUARD_S)
    assert not edge.ended
    assert (await asking).HasField("heartbeat")


async def test_what_is_there_together_travels_together_up_to_a_size() -> None:
    attachments = Attachments(max_queued=100)
    edge = attachments.attach("edge-1")
    messages = edge.messages()
    await anext(messages)
    long = "x" * 100_000
    for flight_id in ("1", "2", long, long, long, "3"):
        edge.send(AttachResponse(wanted_flight_id=flight_id))
    first, second = await anext(messages), await anext(messages)
    assert [one.wanted_flight_id for one in first.several] == ["1", "2", long, long, long]
    assert (second.wanted_flight_id, len(second.several)) == ("3", 0)
    edge.end()


async def test_withdrawing_does_not_wait_for_an_edge_that_takes_nothing() -> None:
    attachments = Attachments(max_queued=10)
    stalled = attachments.attach("stalled")
    await asyncio.wait_for(attachments.withdraw("org-1"), GUARD_S)
    assert stalled.ended
    await attachments.withdraw("org-1")


async def test_a_flight_that_never_ends_is_ended_for_its_followers() -> None:
    clock = ManualClock()
    flights = Flights(Attachments(10), clock, "p", FlightLimits(lifetime_s=900))
    for edge_id in ("edge-1", "edge-2"):
        flights.attach(edge_id)
    first = flights.board("org-1", digest(1), "edge-1")
    assert first is not None
    flight = flights.join("org-1", first.flight_id)
    clock.advance(899)
    flights.sweep()
    assert not flight.ended
    clock.advance(1)
    second = flights.board("org-1", digest(1), "edge-2")
    assert second is not None
    assert second.leads
    assert second.flight_id != first.flight_id
    with pytest.raises(UpstreamInterrupted):
        await anext(flight.events())


async def test_a_lead_that_stores_without_a_last_word_keeps_nobody_waiting() -> None:
    flights = Flights(Attachments(10), ManualClock(), "p", FlightLimits(last_pieces_s=0.01))
    lead = flights.attach("edge-1")
    boarding = flights.board("org-1", digest(1), "edge-1")
    assert boarding is not None
    told_nothing, told_something = (flights.join("org-1", boarding.flight_id) for _ in range(2))
    silent, begun = told_nothing.events(), told_something.events()
    waiting = asyncio.create_task(_next(silent))
    await asyncio.sleep(0)
    flights.land("org-1", boarding.flight_id, entry())
    assert (await asyncio.wait_for(waiting, GUARD_S)).finished == entry()
    flights.publish(lead, FlightDelta(flight_id=boarding.flight_id, delta=text_piece("4")))
    assert (await anext(begun)).delta == text_piece("4")
    with pytest.raises(UpstreamInterrupted):
        await asyncio.wait_for(_next(begun), GUARD_S)


async def test_an_edge_can_lead_only_so_many_flights() -> None:
    flights = Flights(Attachments(10), ManualClock(), "p", FlightLimits(max_led_by_edge=2))
    flights.attach("edge-1")
    boardings = [flights.board("org-1", digest(number), "edge-1") for number in range(3)]
    assert boardings[1] is not None
    assert boardings[2] is None
    flights.land("org-1", boardings[1].flight_id, entry())
    assert flights.board("org-1", digest(2), "edge-1") is not None


async def test_a_piece_takes_no_more_memory_than_is_counted() -> None:
    flights = Flights(Attachments(10), ManualClock(), "p", FlightLimits())
    lead = flights.attach("edge-1")
    boarding = flights.board("org-1", digest(1), "edge-1")
    assert boarding is not None
    gc.collect()
    tracemalloc.start()
    for number in range(1000):
        flights.publish(lead, FlightDelta(flight_id=boarding.flight_id, delta=text_piece(f"{number}")))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= flights.bytes
    assert flights.bytes >= 1000 * PIECE_OVERHEAD_BYTES


async def test_at_the_end_idle_connections_close_at_once_and_others_with_their_flights() -> None:
    async with serving() as cache, edges(cache.address, 3) as (one, two, idle):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        cache.stop.set()
        for edge in (idle, two):
            assert edge.attached is not None
            await asyncio.wait_for(edge.attached, GUARD_S)
        assert one.attached is not None
        assert not one.attached.done()
        one.publish(flight_id, text_piece("42"))
        one.end(flight_id, finished=entry())
        await follower.end()
        assert follower.heard[-1].finished == entry()
        await asyncio.wait_for(one.attached, GUARD_S)
        await asyncio.wait_for(cache.running, GUARD_S)


async def test_at_the_end_a_flight_that_goes_on_does_not_hold_the_service_up() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        follower = two.follow((await one.ask()).lead_flight_id)
        await one.hear("wanted_flight_id")
        cache.stop.set()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        await asyncio.wait_for(cache.running, GUARD_S)


async def test_a_stopping_service_opens_no_flights_and_attaches_nobody() -> None:
    flights = Flights(Attachments(10), ManualClock(), "p", FlightLimits())
    attachment: Attachment = flights.attach("edge-1")
    flights.board("org-1", digest(1), "edge-1")
    draining = asyncio.create_task(flights.drain(GUARD_S))
    await asyncio.sleep(0)
    assert flights.board("org-1", digest(1), "edge-1") is None
    assert flights.board("org-1", digest(2), "edge-1") is None
    with pytest.raises(ServiceUnavailable):
        flights.attach("edge-2")
    attachment.end()
    await asyncio.wait_for(draining, GUARD_S)


async def test_the_process_ends_at_sigterm_although_edges_are_attached(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "ASAHI_GRPC_ADDRESS": "127.0.0.1:0",
        "ASAHI_DATA_DIR": str(tmp_path),
        "ASAHI_SHUTDOWN_GRACE_SECONDS": "600",
        "ASAHI_LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "asahi_cache",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        address = await asyncio.wait_for(_announced(process), GUARD_S)
        async with edges(address) as (one, _two):
            assert (await one.ask()).lead_flight_id
            process.send_signal(signal.SIGTERM)
            output, _ = await asyncio.wait_for(process.communicate(), GUARD_S)
            assert process.returncode == 0, output.decode()
            assert b"rror" not in output
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _announced(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if '"serving"' in line:
            return str(json.loads(line)["address"])
    raise AssertionError("the service ended before it served")


async def _next(events: AsyncGenerator[_T, None]) -> _T:
    return await anext(events)
