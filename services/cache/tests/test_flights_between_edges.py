"""Flights over a real server with attached edges."""

import asyncio
import sys

import pytest
from google.rpc.status_pb2 import Status

from asahi_core.errors import InvalidRequest, NotFound, Overloaded, UpstreamInterrupted
from services.cache.tests.builders import GUARD_S, entry, opening, serving, settings, text_piece
from services.cache.tests.edges import Edge, Following, edges

PIECES = [opening(), text_piece("4"), text_piece("2")]


async def test_the_first_to_ask_leads_and_the_others_follow() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        led = (await one.ask()).lead_flight_id
        assert led
        assert (await two.ask()).follow_flight_id == led
        assert (await one.ask()).follow_flight_id == led


async def test_one_who_is_not_attached_gets_a_plain_miss() -> None:
    async with serving() as cache, edges(cache.address, 1) as (attached,):
        stranger = Edge(cache.address, "stranger")
        assert (await stranger.ask()).WhichOneof("outcome") is None
        await attached.ask()
        assert (await stranger.ask()).WhichOneof("outcome") is None
        await stranger.vanish()


async def test_a_kept_answer_is_a_hit_and_no_flight() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        await one.store()
        found = await two.ask()
        assert found.hit.entry == entry()
        assert found.hit.tier == 1
        assert 0 < found.hit.ttl.ToNanoseconds() <= 86_400e9


async def test_a_flight_that_an_invalidation_overtook_is_followed_by_nobody_else() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        led = (await one.ask()).lead_flight_id
        follower = two.follow(led)
        assert await one.hear("wanted_flight_id") == led
        await two.invalidate(document_id="contract")
        anew = (await two.ask()).lead_flight_id
        assert anew
        assert anew != led
        one.publish(led, *PIECES)
        await follower.hear(3)


async def test_a_follower_gets_every_piece_and_then_the_whole_answer() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        assert await one.hear("wanted_flight_id") == flight_id
        one.publish(flight_id, *PIECES)
        await follower.hear(3)
        await one.store(flight_id=flight_id)
        one.end(flight_id)
        await follower.end()
        assert follower.pieces == PIECES
        assert follower.heard[-1].finished == entry()
        assert (await two.ask()).HasField("hit")


async def test_pieces_that_the_stored_answer_has_overtaken_still_come_first() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES[:1])
        await follower.hear(1)
        await one.store(flight_id=flight_id)
        one.publish(flight_id, *PIECES[1:])
        one.end(flight_id)
        await follower.end()
        assert follower.pieces == PIECES
        assert follower.heard[-1].finished == entry()


async def test_a_late_follower_gets_all_pieces_from_the_first_on() -> None:
    async with serving() as cache, edges(cache.address, 3) as (one, two, three):
        flight_id = (await one.ask()).lead_flight_id
        early = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES[:2])
        await early.hear(2)
        late = three.follow(flight_id)
        await late.hear(2)
        one.publish(flight_id, *PIECES[2:])
        one.end(flight_id, finished=entry())
        for follower in (early, late):
            await follower.end()
            assert follower.pieces == PIECES
            assert follower.heard[-1].finished == entry()
        assert one.heard.empty()


async def test_an_answer_that_nobody_keeps_still_reaches_its_followers() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.end(flight_id, finished=entry("not to be stored"))
        await follower.end()
        assert follower.heard[-1].finished == entry("not to be stored")
        assert (await two.ask()).lead_flight_id not in ("", flight_id)


async def test_followers_hear_the_error_that_ended_their_flight() -> None:
    status = Status(code=14, message="Every provider is down.").SerializeToString()
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES)
        one.end(flight_id, failed_status=status)
        await follower.end()
        assert follower.pieces == PIECES
        assert follower.heard[-1].failed_status == status


async def test_when_the_last_follower_leaves_the_lead_is_told_and_can_be_asked_again() -> None:
    async with serving() as cache, edges(cache.address, 3) as (one, two, three):
        flight_id = (await one.ask()).lead_flight_id
        first, second = two.follow(flight_id), three.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES[:2])
        await first.hear(2)
        await second.hear(2)
        await first.leave()
        await second.leave()
        assert await one.hear("unwanted_flight_id") == flight_id
        again = two.follow(flight_id)
        assert await one.hear("wanted_flight_id") == flight_id
        one.publish(flight_id, *PIECES)
        one.end(flight_id, finished=entry())
        await again.end()
        assert again.pieces == PIECES
        assert again.heard[-1].finished == entry()


async def test_pieces_that_fell_between_two_followers_are_never_passed_over_in_silence() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        first = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES[:2])
        await first.hear(2)
        await first.leave()
        await one.hear("unwanted_flight_id")
        second = two.follow(flight_id)
        await second.hear(2)
        await one.store(flight_id=flight_id)
        one.end(flight_id)  # before it has heard that it is wanted again: the last piece was sent to nobody
        assert isinstance(await second.end(), UpstreamInterrupted)
        assert second.pieces == PIECES[:2]


@pytest.mark.parametrize("told", [0, 2])
async def test_followers_of_a_lead_that_vanishes_are_interrupted_and_the_next_to_ask_leads(told: int) -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, *PIECES[:told])
        await follower.hear(told)
        await one.vanish()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        assert (await two.ask()).lead_flight_id not in ("", flight_id)


async def test_a_killed_lead_takes_its_flights_with_it() -> None:
    async with serving() as cache, edges(cache.address, 1) as (two,):
        killed = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.cache.tests.lead_and_wait", cache.address, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert killed.stdout is not None
            flight_id = (await asyncio.wait_for(killed.stdout.readline(), GUARD_S)).decode().strip()
            assert (await two.ask()).follow_flight_id == flight_id
            follower = two.follow(flight_id)
            await follower.hear(1)
        finally:
            killed.kill()
            await killed.communicate()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        assert follower.pieces == PIECES[:1]
        assert (await two.ask()).lead_flight_id not in ("", flight_id)


async def test_an_answer_stored_before_its_lead_vanished_reaches_whoever_has_heard_nothing_yet() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        await one.store(flight_id=flight_id)
        await one.vanish()
        await follower.end()
        assert [event.finished for event in follower.heard] == [entry()]


async def test_a_flight_that_has_ended_cannot_be_followed() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        await one.store(flight_id=flight_id)
        assert isinstance(await two.follow(flight_id).end(), NotFound)


async def test_a_foreign_flight_cannot_be_found_followed_or_ended() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask(organization_id="org-2")).lead_flight_id
        assert (await two.ask(organization_id="org-1")).lead_flight_id not in ("", flight_id)
        foreign, unknown = await two.follow(flight_id).end(), await two.follow("no-such-flight").end()
        assert isinstance(foreign, NotFound)
        assert isinstance(unknown, NotFound)
        assert foreign.message == unknown.message
        await two.store(number=9, flight_id=flight_id)
        two.end(flight_id)
        two.publish(flight_id, *PIECES)
        assert (await one.ask(organization_id="org-2")).follow_flight_id == flight_id


async def test_an_answer_too_long_to_be_shared_fails_its_followers_alone() -> None:
    async with serving(settings(cache_flight_bytes=1024 * 1024)) as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, opening(), *[text_piece("x" * 10_000)] * 14)
        assert isinstance(await follower.end(), Overloaded)
        assert await one.hear("unwanted_flight_id") == flight_id
        assert cache.service.flights.bytes == 0
        assert (await two.ask()).lead_flight_id not in ("", flight_id)
        await one.store(flight_id=flight_id)
        assert (await two.ask()).HasField("hit")


async def test_an_edge_that_attaches_anew_loses_the_flights_of_its_older_connection() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        again = Edge(cache.address, one.edge_id)
        await again.attach()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        assert one.attached is not None
        await asyncio.wait_for(one.attached, GUARD_S)
        assert (await again.ask()).lead_flight_id
        await again.vanish()


async def test_an_edge_that_says_goodbye_ends_its_connection_and_flights() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        flight_id = (await one.ask()).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.hang_up()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        assert one.attached is not None
        await asyncio.wait_for(one.attached, GUARD_S)


async def test_an_edge_that_speaks_out_of_turn_is_told_so() -> None:
    async with serving() as cache:
        nameless = Edge(cache.address, "")
        await nameless.attach()
        twice = Edge(cache.address, "edge-1")
        await twice.attach()
        twice.say(hello={"edge_id": "edge-2"})
        for edge in (nameless, twice):
            assert edge.attached is not None
            with pytest.raises(InvalidRequest):
                await asyncio.wait_for(edge.attached, GUARD_S)
            await edge.vanish()


async def test_sixty_followers_at_two_edges_hear_the_same() -> None:
    async with serving() as cache, edges(cache.address, 3) as (one, two, three):
        flight_id = (await one.ask()).lead_flight_id
        followers: list[Following] = [edge.follow(flight_id) for edge in (two, three) for _ in range(30)]
        await one.hear("wanted_flight_id")
        pieces = [opening(), *(text_piece(f"{number} ") for number in range(100))]
        one.publish(flight_id, *pieces)
        await one.store(flight_id=flight_id)
        one.end(flight_id, finished=entry())
        for follower in followers:
            await follower.end()
            assert follower.pieces == pieces
            assert follower.heard[-1].finished == entry()
