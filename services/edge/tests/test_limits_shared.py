"""Redis stopped, frozen and back: requests go on, nobody waits for it for long, and no replica admits more."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from asahi_core.clock import SystemClock
from asahi_edge.domain.limits import Decision, Demand, Limit
from asahi_edge.stores.limits_shared import SharedLimits, shared_limits
from services.edge.tests.flying import until
from tests.redis_server import RedisServer, redis_server

LIMIT = Limit("requests", "organization", "o:r", 10)
CALL_S = 0.5
"""Longer than in production, so that a busy machine is not taken for a broken server."""
MUCH_LONGER_S = 20.0
"""A guard: what waits for a hanging server without bounds waits longer than that."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@asynccontextmanager
async def _edge(server: RedisServer) -> AsyncIterator[SharedLimits]:
    async with shared_limits(server.url, SystemClock(), structlog.get_logger(), call_s=CALL_S) as limits:
        watching = asyncio.create_task(limits.watch())
        try:
            yield limits
        finally:
            watching.cancel()


async def _ask(limits: SharedLimits, times: int, limit: Limit = LIMIT) -> list[Decision]:
    return [await limits.admit(Demand("org-1", (limit,), 0)) for _ in range(times)]


def _admitted(decisions: list[Decision]) -> int:
    return sum(decision.refused_by is None for decision in decisions)


async def test_two_edges_share_their_limits_while_redis_answers(server: RedisServer) -> None:
    async with _edge(server) as one, _edge(server) as two:
        decisions = [*await _ask(one, 7), *await _ask(two, 7)]
        assert _admitted(decisions) == 10
        assert not any(decision.degraded for decision in decisions)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_without_redis_each_edge_goes_on_from_its_own_count_and_says_so(server: RedisServer, how: str) -> None:
    with capture_logs() as logged:
        async with _edge(server) as one, _edge(server) as two:
            assert _admitted([*await _ask(one, 6), *await _ask(two, 4)]) == 10
            if how == "stopped":
                server.stop()
            else:
                server.freeze()
            started = time.monotonic()
            alone = [await _ask(one, 20), await _ask(two, 20)]
            assert time.monotonic() - started < MUCH_LONGER_S
            assert [_admitted(decisions) for decisions in alone] == [4, 6]
            assert all(decision.degraded for decisions in alone for decision in decisions)
            assert not one.reachable
            if how == "frozen":
                server.thaw()
    assert [entry["event"] for entry in logged].count("redis_out_of_reach") == 2


async def test_once_the_breaker_is_open_no_request_asks_redis(server: RedisServer) -> None:
    async with _edge(server) as edge:
        server.freeze()
        await _ask(edge, 3)
        assert not edge.reachable
        # A coroutine that never waits ends in its first step.
        for _ in range(100):
            asking = edge.admit(Demand("org-1", (LIMIT,), 0))
            with pytest.raises(StopIteration):
                asking.send(None)
        server.thaw()


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_when_redis_is_back_limits_are_shared_again_and_both_counts_hold_for_a_minute(
    server: RedisServer, how: str
) -> None:
    async with _edge(server) as one, _edge(server) as two:
        if how == "stopped":
            server.stop()
        else:
            server.freeze()
        assert _admitted([*await _ask(one, 8), *await _ask(two, 3)]) == 11
        if how == "stopped":
            server.start()
        else:
            server.thaw()
        await until(lambda: one.reachable and two.reachable)
        again = [*await _ask(one, 5), *await _ask(two, 20)]
        assert _admitted(again) <= 9
        assert _admitted(again[:5]) == 2
        other = Limit("requests", "organization", "o:other", 10)
        assert _admitted([*await _ask(one, 7, other), *await _ask(two, 7, other)]) == 10


async def test_an_edge_that_starts_without_redis_serves(server: RedisServer) -> None:
    server.stop()
    async with _edge(server) as edge:
        decisions = await _ask(edge, 12)
        assert _admitted(decisions) == 10
        assert all(decision.degraded for decision in decisions)
        server.start()
        await until(lambda: edge.reachable)


async def test_many_requests_at_once_go_together_and_are_each_decided(server: RedisServer) -> None:
    many = Limit("requests", "organization", "o:many", 150)
    async with _edge(server) as edge:
        asking = [edge.admit(Demand("org-1", (many,), 0)) for _ in range(500)]
        decisions = await asyncio.gather(*asking)
    assert _admitted(decisions) == 150
    assert not any(decision.degraded for decision in decisions)


async def test_one_failed_call_is_one_failure_however_many_waited_for_it(server: RedisServer) -> None:
    async with _edge(server) as edge:
        await _ask(edge, 1)
        server.freeze()
        decisions = await asyncio.gather(*(edge.admit(Demand("org-1", (LIMIT,), 0)) for _ in range(50)))
        assert all(decision.degraded for decision in decisions)
        assert _admitted(list(decisions)) == 9
        assert edge.reachable
        server.thaw()
