"""Limits in Redis while it answers, in this process while it does not; nobody waits for it for long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_core.redis.breaker import BROKEN, Breaker, redis_client
from asahi_core.redis.scripts import ScriptCalls
from asahi_edge.domain.limits import WINDOW_S, Decision, Demand
from asahi_edge.stores.limits_memory import MemoryLimits
from asahi_edge.stores.limits_redis import RedisLimits

CALL_S = 0.05


class SharedLimits:
    """Decides in Redis; after a few failures in a row its breaker opens, and only its probe waits for Redis.

    What Redis admits is counted here too, so that a replica that falls back goes on from its own count, and for a
    minute after its return both must agree: no more than replicas × limit are ever admitted.
    """

    def __init__(self, redis: RedisLimits, breaker: Breaker, memory: MemoryLimits, clock: Clock) -> None:
        self._redis = redis
        self._breaker = breaker
        self._memory = memory
        self._clock = clock
        self._both_until = float("-inf")
        redis.reachable = lambda: self.reachable
        breaker.on_failure = breaker.on_back = self._distrust

    @property
    def reachable(self) -> bool:
        """Whether requests ask Redis."""
        return self._breaker.reachable

    async def admit(self, demand: Demand) -> Decision:
        """Decides over all limits of `demand`, in Redis if it answers within 50 ms."""
        if not self.reachable:
            return self._decide_alone(demand)
        if self._clock.monotonic() < self._both_until:
            return await self._agree(demand)
        try:
            shared = await self._ask(demand)
        except BROKEN:
            return self._decide_alone(demand)
        if shared.refused_by is not None:
            return shared
        return _with_both(shared, self._memory.decide(demand, force=True))

    async def watch(self) -> None:
        """While the breaker is open, asks now and then whether Redis is back; until cancelled."""
        await self._breaker.watch()

    async def _ask(self, demand: Demand) -> Decision:
        return await self._breaker.ask(self._redis.admit(demand))

    async def _agree(self, demand: Demand) -> Decision:
        alone = self._memory.decide(demand)
        if alone.refused_by is not None:
            return alone
        try:
            shared = await self._ask(demand)
        except BROKEN:
            return _degraded(alone)
        return _with_both(shared, alone)

    def _decide_alone(self, demand: Demand) -> Decision:
        return _degraded(self._memory.decide(demand))

    def _distrust(self) -> None:
        self._both_until = self._clock.monotonic() + WINDOW_S


def _degraded(decision: Decision) -> Decision:
    return Decision(decision.standings, decision.settle, decision.refused_by, decision.retry_after_s, degraded=True)


def _with_both(shared: Decision, alone: Decision) -> Decision:
    def settle(tokens: int) -> None:
        shared.settle(tokens)
        alone.settle(tokens)

    return Decision(shared.standings, settle, shared.refused_by, shared.retry_after_s)


@asynccontextmanager
async def shared_limits(
    url: str, clock: Clock, log: FilteringBoundLogger, *, call_s: float = CALL_S
) -> AsyncIterator[SharedLimits]:
    """Limits in the Redis at `url`, which need not answer yet; nobody waits for it longer than `call_s`."""
    client = redis_client(url)
    calls = ScriptCalls(client, call_s)
    try:
        yield SharedLimits(RedisLimits(calls), Breaker(client, log, call_s=call_s), MemoryLimits(clock), clock)
    finally:
        await calls.close()
        await client.aclose()
