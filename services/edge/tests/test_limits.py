"""Limits over 60 one-second buckets: the same rules in this process and in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from asahi.auth.v1.auth_pb2 import Verdict
from asahi_core.clock import ManualClock
from asahi_core.redis.scripts import ScriptCalls
from asahi_edge.domain.limits import Decision, Demand, Limit, Limiter, limits_of
from asahi_edge.stores.limits_memory import MemoryLimits
from asahi_edge.stores.limits_redis import RedisLimits
from services.edge.tests.flying import until
from tests.redis_server import RedisServer, redis_server

CALL_S = 10.0
"""A guard: the real one belongs to another test."""
ORGANIZATION = Limit("requests", "organization", "o:r", 3)
KEY = Limit("requests", "key", "k:key-1:r", 2)
TOKENS = Limit("tokens", "organization", "o:t", 1000)


class Counted:
    """A limiter whose time the test says."""

    def __init__(self, clock: ManualClock, limiter: Limiter, settled: Callable[[], bool]) -> None:
        self.clock = clock
        self.limiter = limiter
        self.settled = settled

    async def ask(self, *limits: Limit, tokens: int = 0, organization: str = "org-1") -> Decision:
        return await self.limiter.admit(Demand(organization, limits, tokens))

    async def admits(self, *limits: Limit, tokens: int = 0, organization: str = "org-1") -> bool:
        return (await self.ask(*limits, tokens=tokens, organization=organization)).refused_by is None

    async def settle(self, decision: Decision, tokens: int) -> None:
        decision.settle(tokens)
        await until(self.settled)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@asynccontextmanager
async def _in_redis(server: RedisServer, clock: ManualClock) -> AsyncIterator[Counted]:
    client = Redis.from_url(server.url)
    try:
        await client.flushall()
        calls = ScriptCalls(client, CALL_S)
        limits = RedisLimits(calls, lambda: str(1000 + int(clock.monotonic())))
        yield Counted(clock, limits, lambda: calls.idle)
        await calls.close()
    finally:
        await client.aclose()


@pytest.fixture(params=["memory", "redis"])
async def counted(request: pytest.FixtureRequest, server: RedisServer) -> AsyncIterator[Counted]:
    clock = ManualClock()
    if request.param == "memory":
        yield Counted(clock, MemoryLimits(clock), lambda: True)
    else:
        async with _in_redis(server, clock) as found:
            yield found


async def test_as_many_requests_as_the_limit_says_are_admitted_in_any_60_seconds(counted: Counted) -> None:
    assert [await counted.admits(ORGANIZATION) for _ in range(5)] == [True, True, True, False, False]
    counted.clock.advance(59)
    assert not await counted.admits(ORGANIZATION)
    counted.clock.advance(1)
    assert await counted.admits(ORGANIZATION)


async def test_a_refusal_names_the_limit_that_is_longest_in_the_way_and_when_it_admits_again(
    counted: Counted,
) -> None:
    await counted.ask(ORGANIZATION)
    counted.clock.advance(10)
    await counted.ask(ORGANIZATION, KEY)
    await counted.ask(ORGANIZATION, KEY)
    refused = await counted.ask(ORGANIZATION, KEY)
    assert refused.refused_by == KEY
    assert refused.retry_after_s == 60
    counted.clock.advance(refused.retry_after_s - 1)
    assert not await counted.admits(KEY)
    counted.clock.advance(1)
    assert await counted.admits(ORGANIZATION, KEY)


async def test_a_refused_request_has_used_nothing_of_any_limit(counted: Counted) -> None:
    assert await counted.admits(KEY)
    assert await counted.admits(KEY)
    for _ in range(5):
        assert not await counted.admits(ORGANIZATION, KEY)
    assert [await counted.admits(ORGANIZATION) for _ in range(4)] == [True, True, True, False]


async def test_limits_of_one_organization_do_not_touch_another(counted: Counted) -> None:
    for _ in range(3):
        await counted.ask(ORGANIZATION)
    assert not await counted.admits(ORGANIZATION)
    assert await counted.admits(ORGANIZATION, organization="org-2")


async def test_tokens_are_reserved_as_estimated_and_settled_as_used(counted: Counted) -> None:
    first = await counted.ask(TOKENS, tokens=900)
    assert first.standings[0].remaining == 100
    assert not await counted.admits(TOKENS, tokens=200)
    await counted.settle(first, 300)
    second = await counted.ask(TOKENS, tokens=200)
    assert second.standings[0].remaining == 500
    await counted.settle(second, 1500)
    over = await counted.ask(TOKENS, tokens=1)
    assert over.refused_by == TOKENS
    assert over.standings[0].remaining == 0


async def test_a_failed_or_cached_answer_gives_all_tokens_back_and_keeps_its_request(counted: Counted) -> None:
    decision = await counted.ask(ORGANIZATION, TOKENS, tokens=1000)
    await counted.settle(decision, 0)
    after = await counted.ask(ORGANIZATION, TOKENS, tokens=1)
    assert [standing.used for standing in after.standings] == [2, 1]


async def test_an_estimate_above_the_whole_limit_is_admitted_when_nothing_else_is_counted(counted: Counted) -> None:
    assert await counted.admits(TOKENS, tokens=5000)
    assert not await counted.admits(TOKENS, tokens=1)
    counted.clock.advance(60)
    assert await counted.admits(TOKENS, tokens=5000)


async def test_what_is_settled_after_its_minute_changes_nothing(counted: Counted) -> None:
    decision = await counted.ask(TOKENS, tokens=100)
    counted.clock.advance(60)
    other = await counted.ask(TOKENS, tokens=400)
    await counted.settle(decision, 900)
    again = await counted.ask(TOKENS, tokens=400)
    assert other.refused_by is None
    assert again.standings[0].used == 800


async def test_asked_at_five_times_the_limit_evenly_no_minute_has_more_and_hardly_one_less(counted: Counted) -> None:
    limit = Limit("requests", "organization", "o:r", 60)
    admitted: list[int] = []
    for _ in range(200):
        admitted.append(sum([await counted.admits(limit) for _ in range(5)]))
        counted.clock.advance(1)
    sums = [sum(admitted[start : start + 60]) for start in range(len(admitted) - 59)]
    assert max(sums) <= 60
    assert min(sums) >= 59


async def test_windows_in_redis_expire(server: RedisServer) -> None:
    clock = ManualClock()
    async with _in_redis(server, clock) as counted:
        await counted.ask(ORGANIZATION, TOKENS, tokens=5)
        client = Redis.from_url(server.url)
        keys = sorted(await client.keys("*"))
        assert keys == [b"asahi:limits:{org-1}:o:r", b"asahi:limits:{org-1}:o:t"]
        assert all([0 < await client.ttl(key) <= 61 for key in keys])
        await client.aclose()


async def test_two_edges_on_one_redis_share_its_limits_by_its_own_clock(server: RedisServer) -> None:
    clients = [Redis.from_url(server.url) for _ in range(2)]
    await clients[0].flushall()
    calls = [ScriptCalls(client, CALL_S) for client in clients]
    edges = [RedisLimits(each) for each in calls]
    limit = Limit("requests", "organization", "o:r", 50)
    decisions = await asyncio.gather(*(edges[number % 2].admit(Demand("org-1", (limit,), 0)) for number in range(120)))
    assert sum(decision.refused_by is None for decision in decisions) == 50
    assert all(0 < d.retry_after_s <= 60 for d in decisions if d.refused_by is not None)
    for each, client in zip(calls, clients, strict=True):
        await each.close()
        await client.aclose()


async def test_end_users_cannot_drive_out_what_is_counted_for_organizations() -> None:
    clock = ManualClock()
    memory = MemoryLimits(clock, capacity=10)
    for _ in range(3):
        await memory.admit(Demand("org-1", (ORGANIZATION,), 0))
    for number in range(1000):
        user = Limit("requests", "end user", f"o:u:{number}:r", 1)
        await memory.admit(Demand("org-2", (user,), 0))
    assert (await memory.admit(Demand("org-1", (ORGANIZATION,), 0))).refused_by == ORGANIZATION
    assert len(memory) <= 12


def test_policy_and_key_each_limit_themselves_and_their_end_users() -> None:
    verdict = Verdict(organization_id="org-1", api_key_id="key-2", principal_id="key-1")
    assert limits_of(verdict, "ada") == ()
    verdict.policy.rate_limits.requests_per_minute = 600
    verdict.policy.rate_limits.per_user.requests_per_minute = 60
    verdict.rate_limits.tokens_per_minute = 1000
    verdict.rate_limits.per_user.tokens_per_minute = 100
    assert [(limit.scope, limit.unit, limit.per_minute) for limit in limits_of(verdict, "ada")] == [
        ("organization", "requests", 600),
        ("end user", "requests", 60),
        ("key", "tokens", 1000),
        ("end user of the key", "tokens", 100),
    ]
    assert [limit.scope for limit in limits_of(verdict, "")] == ["organization", "key"]
    assert {limit.window for limit in limits_of(verdict, "ada")}.isdisjoint(
        limit.window for limit in limits_of(verdict, "bob") if limit.scope.startswith("end user")
    )
