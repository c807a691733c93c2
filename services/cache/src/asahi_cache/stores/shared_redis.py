"""What replicas share through Redis, behind one breaker."""

import asyncio

from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from asahi_cache.domain.shared import CALL_S
from asahi_cache.stores.leases import RedisLeases
from asahi_cache.stores.shared_entries import RedisEntries
from asahi_cache.stores.withdrawals import RedisWithdrawals
from asahi_core.clock import Clock
from asahi_core.redis.breaker import Breaker, redis_client
from asahi_core.redis.scripts import ScriptCalls


class SharedRedis:
    """A Redis and what is kept in it; `run` must be running."""

    def __init__(self, client: Redis, calls: ScriptCalls, breaker: Breaker, withdrawals: RedisWithdrawals) -> None:
        self._client = client
        self._calls = calls
        self.breaker = breaker
        self.entries = RedisEntries(calls, breaker)
        self.leases = RedisLeases(calls, breaker)
        self.withdrawals = withdrawals

    async def run(self) -> None:
        """Watches over Redis and reads what other replicas withdraw, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.breaker.watch())
            group.create_task(self.withdrawals.run())

    async def close(self) -> None:
        """Gives up what waits, and the connections."""
        await self._calls.close()
        await self._client.aclose()


def open_redis(
    url: str, clock: Clock, log: FilteringBoundLogger, replica: str, *, call_s: float = CALL_S
) -> SharedRedis:
    """The Redis at `url`, which need not answer yet; nobody waits for one call longer than `call_s`."""
    client = redis_client(url)
    calls = ScriptCalls(client, call_s)
    breaker = Breaker(client, log, call_s=call_s)
    return SharedRedis(client, calls, breaker, RedisWithdrawals(calls, breaker, clock, log, replica))
