"""What the auth service is told once a minute: which keys were used last when, and how many logins were refused."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi.auth.v1.auth_pb2 import KeyUse, RefusedLogins
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError

_EVERY_S = 60.0
_BATCH = 1000
_MOST_KEYS = 100_000
_MOST_ADDRESSES = 1000
_OTHER = "other"


class Reports(Protocol):
    """The auth service's ear."""

    async def record_key_use(self, uses: Sequence[KeyUse]) -> None:
        """Keeps when keys were used last."""
        ...

    async def record_refusals(self, refusals: Sequence[RefusedLogins]) -> None:
        """Counts refused logins."""
        ...


class KeyUseReport:
    """Collects, and reports once a minute. What auth does not take is kept until it does, within bounds."""

    def __init__(self, auth: Reports, clock: Clock, log: FilteringBoundLogger) -> None:
        self._auth = auth
        self._clock = clock
        self._log = log
        self._used: dict[str, datetime] = {}
        self._refused: dict[tuple[int, str], int] = {}

    def used(self, api_key_id: str) -> None:
        """The key was used now."""
        if api_key_id in self._used or len(self._used) < _MOST_KEYS:
            self._used[api_key_id] = self._clock.now()

    def refused(self, address: str) -> None:
        """A login from `address` was refused now."""
        minute = int(self._clock.now().timestamp()) // 60 * 60
        name = minute, address
        if name not in self._refused and len(self._refused) >= _MOST_ADDRESSES:
            name = minute, _OTHER
        self._refused[name] = self._refused.get(name, 0) + 1

    async def run(self) -> None:
        """Reports once a minute until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.report()

    async def close(self, timeout_s: float) -> None:
        """Reports a last time, for at most `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.report()

    async def report(self) -> None:
        """Tells what was collected. Counts of refusals are told once at most: a lost answer must not double them."""
        used, self._used = self._used, {}
        refused, self._refused = self._refused, {}
        try:
            while refused:
                batch = dict(islice(refused.items(), _BATCH))
                for name in batch:
                    del refused[name]
                await self._auth.record_refusals([_refusals(*name, count) for name, count in batch.items()])
            while used:
                uses = dict(islice(used.items(), _BATCH))
                await self._auth.record_key_use([_use(*use) for use in uses.items()])
                for api_key_id in uses:
                    del used[api_key_id]
        except AsahiError as error:
            self._log.warning("key_use_not_reported", error=error.message)
            self._used = used | self._used
            for name, count in refused.items():
                self._refused[name] = self._refused.get(name, 0) + count


def _use(api_key_id: str, at: datetime) -> KeyUse:
    use = KeyUse(api_key_id=api_key_id)
    use.used_at.FromDatetime(at)
    return use


def _refusals(minute: int, address: str, count: int) -> RefusedLogins:
    refusals = RefusedLogins(address=address, count=count)
    refusals.minute.FromSeconds(minute)
    return refusals
