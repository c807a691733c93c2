"""Flights over two replicas of the cache service and one Redis: one lead, followed where it is attached."""

import asyncio
from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from redis.asyncio import Redis

from asahi.cache.v1 import cache_pb2 as pb
from asahi_core.errors import NotFound, UpstreamInterrupted
from services.cache.tests.builders import GUARD_S, digest, entry, opening, text_piece
from services.cache.tests.edges import Edge
from services.cache.tests.replicas import alone, two_replicas, until
from tests.redis_server import RedisServer, redis_server

PIECES = [opening(), text_piece("4"), text_piece("2")]
LEASE = b"asahi:cache:{org-1}:f:" + digest(1)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


async def test_the_first_to_ask_leads_and_others_follow_at_its_replica(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, first, _):
        flight_id = (await one.ask()).lead_flight_id
        told = await two.ask()
        assert (told.follow_flight_id, told.follow_address) == (flight_id, first.address)
        again = await one.ask()
        assert (again.follow_flight_id, again.follow_address) == (flight_id, first.address)
        follower = one.follow(told.follow_flight_id)  # the replica that was named
        assert await one.hear("wanted_flight_id") == flight_id
        one.publish(flight_id, *PIECES)
        await follower.hear(3)
        await one.store(flight_id=flight_id)
        one.end(flight_id)
        await follower.end()
        assert follower.pieces == PIECES
        assert follower.heard[-1].finished == entry()
        assert (await two.ask()).HasField("hit")
        assert (await one.ask()).HasField("hit")


async def test_many_that_ask_both_replicas_at_once_have_one_lead(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _):
        answers = await asyncio.gather(*(edge.ask() for _ in range(50) for edge in (one, two)))
    leads = {answer.lead_flight_id for answer in answers if answer.lead_flight_id}
    assert len(leads) == 1
    assert {answer.follow_flight_id for answer in answers if answer.follow_flight_id} == leads


async def test_flights_of_two_organizations_have_nothing_in_common(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _):
        theirs = (await one.ask()).lead_flight_id
        assert (await two.ask(organization_id="org-2")).lead_flight_id not in ("", theirs)
        assert isinstance(await one.follow(theirs, "org-2").end(), NotFound)


async def test_a_lead_that_vanishes_hands_over_at_either_replica(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, first, _):
        flight_id = (await one.ask()).lead_flight_id
        there = Edge(first.address, "follower-there")
        follower = there.follow(flight_id)
        await one.hear("wanted_flight_id")
        await one.vanish()
        assert isinstance(await follower.end(), UpstreamInterrupted)
        await _leads(two, flight_id)
        await there.vanish()


async def test_a_lease_of_a_replica_that_was_killed_is_taken_over_by_who_could_not_follow(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _), Redis.from_url(server.url) as client:
        await client.set(LEASE, "killed-1 127.0.0.1:1", px=60_000)
        told = await two.ask()
        assert (told.follow_flight_id, told.follow_address) == ("killed-1", "127.0.0.1:1")
        assert (await two.ask()).follow_flight_id == "killed-1", "who has not tried to follow does not take it over"
        led = (await two.ask(lost="killed-1")).lead_flight_id
        assert led
        assert (await one.ask(lost="killed-1")).follow_flight_id == led, "only one does"


async def test_an_answer_stored_between_lookup_and_boarding_is_a_hit_and_no_second_flight(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, second), Redis.from_url(server.url) as client:
        flight_id = (await one.ask()).lead_flight_id
        await one.store(flight_id=flight_id)
        await _lease_ends(client)
        shared, store = second.service.shared, second.service.redis
        assert shared is not None
        assert store is not None
        real, misses = store.entries.find, []

        async def miss_once(organization_id: str, fingerprint: bytes) -> object:
            misses.append(fingerprint)
            return None if len(misses) == 1 else await real(organization_id, fingerprint)

        store.entries.find = miss_once  # type: ignore[method-assign, assignment]  # the moment before it was stored
        assert (await two.ask()).hit.entry == entry()
        assert len(misses) == 2


async def test_who_wants_a_younger_answer_leads_although_there_is_an_old_one(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _):
        await one.store(1)
        request = pb.LookupRequest(
            organization_id="org-1", fingerprint=digest(1), flight_key=digest(1), edge_id=two.edge_id
        )
        request.max_age.CopyFrom(Duration(seconds=1))
        assert (await two.stub.Lookup(request)).lead_flight_id


async def test_leases_are_renewed_as_long_as_their_flights_last_and_taken_again_if_redis_lost_them(
    server: RedisServer,
) -> None:
    async with two_replicas(server) as (one, two, first, _), Redis.from_url(server.url) as client:
        flight_id = (await one.ask()).lead_flight_id
        await client.pexpire(LEASE, 50)
        assert first.service.shared_flights is not None
        await first.service.shared_flights.renew()
        assert await client.pttl(LEASE) > 5_000
        await client.delete(LEASE)
        await first.service.shared_flights.renew()
        assert (await two.ask()).follow_flight_id == flight_id
        one.end(flight_id)
        await _lease_ends(client)


async def test_without_redis_each_replica_has_its_own_flights(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, first, second):
        server.freeze()
        await until(lambda: alone(first) and alone(second))
        leads = [(await edge.ask()).lead_flight_id for edge in (one, two)]
        assert all(leads)
        assert (await one.ask()).follow_flight_id == leads[0]
        server.thaw()


async def _lease_ends(client: Redis) -> None:
    """Returns when nobody leads any more, which comes a moment after the answer was stored."""
    async with asyncio.timeout(GUARD_S):
        while await client.exists(LEASE):  # noqa: ASYNC110 - Redis does not tell
            await asyncio.sleep(0.01)


async def _leads(edge: Edge, lost: str) -> None:
    """Asks as an edge does that is told to follow what cannot be followed."""
    told = await edge.ask()
    if told.follow_flight_id:
        assert told.follow_flight_id == lost
        told = await edge.ask(lost=lost)
    assert told.lead_flight_id not in ("", lost)
