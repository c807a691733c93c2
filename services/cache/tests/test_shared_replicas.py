"""Two replicas of the cache service on one Redis: what one keeps both have, what one withdraws neither has."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st
from redis.asyncio import Redis

from asahi_cache.domain.labels import request_label, user_label
from asahi_cache.domain.shared_flights import Lease, Wanted
from asahi_cache.domain.tiers import NewEntry, Query, Selection
from asahi_cache.stores.shared_redis import SharedRedis, open_redis
from asahi_core.clock import SystemClock
from asahi_core.errors import ServiceUnavailable
from services.cache.tests.builders import GUARD_S, REDIS_CALL_S, digest, entry
from services.cache.tests.edges import Edge
from services.cache.tests.replicas import alone, two_replicas, until
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


async def has(edge: Edge, number: int = 1) -> bool:
    return (await edge.ask(number)).HasField("hit")


async def test_what_one_replica_keeps_the_other_finds_and_then_has_in_memory(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, second):
        await one.store(1)
        found = await two.ask(1)
        assert found.hit.entry == entry()
        assert 86_000e9 < found.hit.ttl.ToNanoseconds() <= 86_400e9
        assert second.service.memory.entries == 1
        await two.ask(1)
        assert second.service.shared is not None
        assert second.service.shared.found == {"memory": 1, "shared": 1}


@pytest.mark.parametrize("selection", [{}, {"request_id": "r-1"}, {"given_before": {"seconds": 2_000_000_000}}])
async def test_what_one_replica_withdraws_the_other_and_its_edge_have_no_longer_when_it_answers(
    server: RedisServer, selection: dict[str, Any]
) -> None:
    async with two_replicas(server) as (one, two, _, _):
        await two.store(1)
        assert await has(one)
        assert await has(two)
        assert await one.invalidate(**selection) == 1
        told = await asyncio.wait_for(two.heard.get(), GUARD_S)
        assert told.invalidation.organization_id == "org-1"
        assert told.invalidation.fingerprint == (digest(1) if "request_id" in selection else b"")
        assert not await has(two)
        assert not await has(one)


async def test_an_end_users_answers_are_erased_from_redis_too(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _), Redis.from_url(server.url) as client:
        await one.store(1)
        await one.invalidate(user_id="nobody")
        assert await has(two)
        await one.invalidate()
        assert [key async for key in client.scan_iter("asahi:cache:{org-1}*")] == []


async def test_a_replica_that_no_longer_hears_forgets_has_its_edge_forget_and_goes_on_alone(
    server: RedisServer,
) -> None:
    async with two_replicas(server) as (one, two, first, second):
        await one.store(1)
        assert await has(two)
        server.freeze()
        await until(lambda: alone(first) and alone(second))
        assert (await two.hear("invalidation")).organization_id == ""
        assert not await has(two), "the other replica may have withdrawn it"
        await two.store(2)
        assert await has(two, 2)
        assert not await has(one, 2)
        with pytest.raises(ServiceUnavailable, match="other replicas"):
            await two.invalidate()
        assert not await has(two, 2), "here it is dropped all the same"
        server.thaw()
        await until(lambda: not alone(first) and not alone(second))
        assert await has(two, 1), "Redis still has it"
        assert await one.invalidate() == 1
        assert not await has(two, 1)


async def test_edges_hear_that_their_replica_goes_on_without_redis_and_that_it_is_back(server: RedisServer) -> None:
    async with two_replicas(server) as (one, _, first, _):
        server.stop()
        await until(lambda: alone(first))
        await until(lambda: one.degraded == ("redis",))
        server.start()
        await until(lambda: one.degraded == ())


async def test_a_redis_that_lost_all_it_had_makes_replicas_forget_what_might_have_been_withdrawn(
    server: RedisServer,
) -> None:
    async with two_replicas(server) as (one, two, _, second), Redis.from_url(server.url) as client:
        await one.store(1)
        assert await has(two)
        await client.flushall()
        await until(lambda: second.service.memory.entries == 0)
        assert not await has(two)
        await one.store(3)
        assert await has(two, 3)


async def test_every_replica_says_how_much_all_of_them_keep_and_alone_how_much_it_has(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, first, second):
        await one.store(1)
        await one.store(2)
        await two.store(3)
        assert await two.ask(1)
        told = [await edge.stats("org-1") for edge in (one, two)]
        assert [stats.entries for stats in told] == [3, 3]
        assert told[0].bytes == told[1].bytes > 0
        assert (await one.stats("org-2")).entries == 0
        server.stop()
        await until(lambda: alone(first) and alone(second))
        await two.store(4)
        assert [(await edge.stats("org-1")).entries for edge in (one, two)] == [0, 1]


async def test_of_many_entries_the_usage_is_estimated_and_what_has_expired_does_not_count(server: RedisServer) -> None:
    async with redis_entries(server) as redis:
        for number in range(2000):
            await redis.entries.keep(NewEntry("org-1", digest(number), entry(), 60 if number % 4 else 0.001))
        await asyncio.sleep(0.01)
        usage = await redis.entries.usage("org-1")
        assert usage is not None
        assert 1350 < usage.entries < 1650
        async with Redis.from_url(server.url) as client:
            size = await client.strlen(b"asahi:cache:{org-1}:e:" + digest(1))
        assert usage.bytes == pytest.approx(usage.entries * size, rel=0.05)


async def test_poisoned_values_are_misses(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, second), Redis.from_url(server.url) as client:
        for number, poison in enumerate((b"", b"junk", b"\x01" * 100), start=1):
            await one.store(number)
            await client.set(b"asahi:cache:{org-1}:e:" + digest(number), poison, px=60_000)
            assert not await has(two, number)
        await one.store(8)
        moved: Any = await client.get(b"asahi:cache:{org-1}:e:" + digest(8))
        await one.store(9)
        await client.set(b"asahi:cache:{org-1}:e:" + digest(9), moved, px=60_000)
        assert not await has(two, 9), "the answer to another question"
        await one.store(10)
        await client.delete(b"asahi:cache:{org-1}:e:" + digest(10))
        await client.rpush(b"asahi:cache:{org-1}:e:" + digest(10), b"a list")
        assert not await has(two, 10)
        await two.store(10)
        assert await has(one, 10)
        assert second.service.redis is not None
        assert second.service.redis.breaker.reachable


async def test_an_entry_that_is_in_no_index_is_not_found(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, _), Redis.from_url(server.url) as client:
        await one.store(1)
        await client.delete("asahi:cache:{org-1}:i")  # as Redis does when its memory is full
        assert not await has(two), "nobody could invalidate it"


@asynccontextmanager
async def redis_entries(server: RedisServer, call_s: float = REDIS_CALL_S) -> AsyncIterator[SharedRedis]:
    log = structlog.get_logger()
    opened = open_redis(server.url, SystemClock(), log, "replica-1", call_s=call_s)
    try:
        yield opened
    finally:
        await opened.close()


_organizations, _users = st.sampled_from(["org-1", "org-2"]), st.sampled_from(["", "ada", "bob"])
_kept = st.tuples(_organizations, st.integers(0, 5), st.integers(1, 4), _users)


@checked(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    kept=st.lists(_kept, max_size=10),
    asked=st.tuples(_organizations, _users, st.sampled_from(["", "r-1"]), st.sampled_from([None, 1, 3])),
)
async def test_exactly_what_matches_all_that_is_given_is_dropped(
    server: RedisServer,
    kept: list[tuple[str, int, int, str]],
    asked: tuple[str, str, str, int | None],
) -> None:
    organization_id, user, request, before = asked
    labels = {user_label(user)} if user else set()
    labels |= {request_label(request)} if request else set()
    moment = None if before is None else int(before * 1e9)
    selection = Selection(organization_id, frozenset(labels), moment)
    async with Redis.from_url(server.url) as client, redis_entries(server) as redis:
        await client.flushall()
        there = {}
        for organization, number, given_at, asked_by in kept:
            one = entry(request_id=f"r-{number}", given_at_s=given_at)
            one.user_id = asked_by
            assert await redis.entries.keep(NewEntry(organization, digest(number), one, 60))
            there[organization, number] = one
        gone = {
            (organization, number)
            for (organization, number), one in there.items()
            if organization == organization_id
            and (not user or one.user_id == user)
            and (not request or one.request_id == request)
            and (before is None or one.created_at.seconds < before)
        }
        assert set(await redis.entries.drop(selection)) == {digest(number) for _, number in gone}
        for (organization, number), one in there.items():
            found = await redis.entries.find(organization, digest(number))
            assert (found is None) == ((organization, number) in gone)
            assert found is None or found.entry == one


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_three_calls_wait_for_a_redis_that_does_not_answer_and_then_none(server: RedisServer, how: str) -> None:
    async with redis_entries(server, 0.5) as redis:
        await redis.entries.keep(NewEntry("org-1", digest(1), entry(), 60))
        if how == "killed":
            server.stop()
        else:
            server.freeze()
        for _ in range(3):
            assert await redis.entries.find("org-1", digest(1)) is None
        assert not redis.breaker.reachable
        # A coroutine that never waits ends in its first step.
        for asking in (
            redis.entries.find("org-1", digest(1)),
            redis.entries.keep(NewEntry("org-1", digest(2), entry(), 60)),
            redis.leases.take(Wanted("org-1", digest(1), digest(1)), Lease("f-1", "127.0.0.1:1")),
        ):
            with pytest.raises(StopIteration):
                asking.send(None)
        if how == "stopped":
            server.thaw()


async def test_thousands_of_entries_are_dropped_in_steps_and_expired_ones_leave_the_index(server: RedisServer) -> None:
    async with Redis.from_url(server.url) as client, redis_entries(server) as redis:
        for number in range(1500):
            await redis.entries.keep(NewEntry("org-1", digest(number), entry(), 60 if number % 3 else 0.001))
        await asyncio.sleep(0.01)
        for number in range(1500, 2500):
            await redis.entries.keep(NewEntry("org-1", digest(number), entry(), 60))
        assert await client.hlen("asahi:cache:{org-1}:i") < 2250
        assert len(await redis.entries.drop(Selection("org-1"))) == 2000
        assert await client.dbsize() == 0


async def test_a_query_for_a_young_answer_is_no_hit_on_an_old_one(server: RedisServer) -> None:
    async with two_replicas(server) as (one, two, _, second):
        await one.store(1)
        shared = second.service.shared
        assert shared is not None
        assert await shared.find(Query("org-1", digest(1), max_age_s=1.0)) is None
        assert await has(two)
