"""Limits in Redis while it answers, in this process while it does not; nobody waits for it for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_edge.domain.limits import WINDOW_S, Decision, Demand
from asahi_edge.stores.limits_memory import MemoryLimits
from asahi_edge.stores.limits_redis import RedisLimits
from asahi_edge.stores.redis_scripts import ScriptCalls

CALL_S = 0.05
_FAILURES = 3
_PROBE_EVERY_S = 0.5
_BROKEN = (RedisError, OSError, TimeoutError)


class Pings(Protocol):
    """What the breaker's probe asks."""

    def ping(self) -> Awaitable[object]:
        """Ends well if the server answers."""
        ...


class SharedLimits:
    """Decides in Redis; after a few failures in a row its breaker opens, and only its probe waits for Redis.

    What Redis admits is counted here too, so that a replica that falls back goes on from its own count, and for a
    minute after its return both must agree: no more than replicas × limit are ever admitted.
    """

    def __init__(
        self, redis: RedisLimits, probe: Pings, memory: MemoryLimits, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._redis = redis
        self._probe = probe
        self._memory = memory
        self._clock = clock
        self._log = log
        self._failures = 0
        self._last_failure: BaseException | None = None
        self._opened = asyncio.Event()
        self._both_until = float("-inf")
        redis.reachable = lambda: self.reachable

    @property
    def reachable(self) -> bool:
        """Whether requests ask Redis."""
        return not self._opened.is_set()

    async def admit(self, demand: Demand) -> Decision:
        """Decides over all limits of `demand`, in Redis if it answers within 50 ms."""
        if not self.reachable:
            return self._decide_alone(demand)
        if self._clock.monotonic() < self._both_until:
            return await self._agree(demand)
        try:
            shared = await self._ask(demand)
        except _BROKEN as error:
            self._note_failure(error)
            return self._decide_alone(demand)
        if shared.refused_by is not None:
            return shared
        return _with_both(shared, self._memory.decide(demand, force=True))

    async def watch(self) -> None:
        """While the breaker is open, asks now and then whether Redis is back; until cancelled."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                await self._probe.ping()
            except _BROKEN:
                continue
            self._failures = 0
            self._both_until = self._clock.monotonic() + WINDOW_S
            self._opened.clear()
            self._log.info("redis_back")

    async def _ask(self, demand: Demand) -> Decision:
        decision = await self._redis.admit(demand)
        self._failures = 0
        return decision

    async def _agree(self, demand: Demand) -> Decision:
        alone = self._memory.decide(demand)
        if alone.refused_by is not None:
            return alone
        try:
            shared = await self._ask(demand)
        except _BROKEN as error:
            self._note_failure(error)
            return _degraded(alone)
        return _with_both(shared, alone)

    def _decide_alone(self, demand: Demand) -> Decision:
        return _degraded(self._memory.decide(demand))

    def _note_failure(self, error: BaseException) -> None:
        if error is self._last_failure:
            return  # the same call, waited for by another request
        self._last_failure = error
        self._failures += 1
        self._both_until = self._clock.monotonic() + WINDOW_S
        if self._failures >= _FAILURES and self.reachable:
            self._opened.set()
            self._log.warning("redis_out_of_reach", error=type(error).__name__)


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
    client = Redis.from_url(url, socket_timeout=call_s, socket_connect_timeout=call_s, retry=Retry(NoBackoff(), 0))
    calls = ScriptCalls(client, call_s)
    try:
        yield SharedLimits(RedisLimits(calls), client, MemoryLimits(clock), clock, log)
    finally:
        await calls.close()
        await client.aclose()
