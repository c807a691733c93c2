"""A breaker in front of Redis: after a few failures in a row nobody asks it but a probe, until that is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from structlog.typing import FilteringBoundLogger

from asahi_core.redis.address import SERVER
from asahi_core.redis.sentinel import watched_client

BROKEN = (RedisError, OSError, TimeoutError)
"""What calls of Redis raise."""
_FAILURES = 3
_PROBE_EVERY_S = 0.5
T = TypeVar("T")


def redis_client(url: str) -> Redis:
    """A client of the Redis at `url`, which need not answer yet. It tries once; who asks bounds the time."""
    make = Redis.from_url if url.startswith(SERVER) else watched_client
    return make(url, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0))


class Breaker:
    """Counts failures; `watch` must be running, or an open breaker stays open."""

    def __init__(self, client: Redis, log: FilteringBoundLogger, *, call_s: float) -> None:
        """`call_s`: how long the probe waits."""
        self._client = client
        self._log = log
        self._call_s = call_s
        self._last_failure: BaseException | None = None
        self._opened = asyncio.Event()
        self.failures = 0
        """In a row."""
        self.failed = 0
        """In all."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called with each failure."""
        self.on_back: Callable[[], None] = lambda: None
        """Called when the probe was answered."""

    @property
    def reachable(self) -> bool:
        """Whether Redis is asked."""
        return not self._opened.is_set()

    async def ask(self, call: Awaitable[T]) -> T:
        """What `call` brings; raises one of `BROKEN`, and counts it."""
        try:
            reply = await call
        except BROKEN as error:
            self._note(error)
            raise
        self.failures = 0
        return reply

    async def watch(self) -> None:
        """While the breaker is open, asks now and then whether Redis is back; until cancelled."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                async with asyncio.timeout(self._call_s):
                    await self._client.ping()
            except BROKEN:
                continue
            self.failures = 0
            self._opened.clear()
            self.on_back()
            self._log.info("redis_back")

    def _note(self, error: BaseException) -> None:
        if error is self._last_failure:
            return  # the same call, waited for by another request
        self._last_failure = error
        self.failures += 1
        self.failed += 1
        self.on_failure()
        if self.failures >= _FAILURES and self.reachable:
            self._opened.set()
            self._log.warning("redis_out_of_reach", error=type(error).__name__)
