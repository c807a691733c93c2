"""How long usage is kept. What is older is dropped with who asked; sums by model, provider and kind of work stay."""

from collections.abc import Mapping
from typing import Protocol

from asahi_billing.domain.rollups import DAY_NS, day_of
from asahi_core.clock import Clock

DEFAULT_DAYS = 400
_DROPPED_AT_ONCE = 2_000


class RetentionStore(Protocol):
    """Drops usage. Raises ServiceUnavailable when it cannot be reached."""

    async def oldest(self) -> Mapping[str, tuple[int, int]]:
        """By organisation: when (ns since 1970) its oldest usage was, and the days that its policy keeps usage.

        0 days: the organisation has not said.
        """
        ...

    async def keep_since(self, organization_id: str, instant_ns: int) -> int:
        """Says that older usage is no longer kept; the midnight (ns since 1970, UTC) that this comes to.

        It is before `instant_ns` where a hold that is still open began before it.
        """
        ...

    async def drop(self, organization_id: str, before_ns: int, limit: int) -> int:
        """Drops some of what is older than `keep_since` came to; how many records. 0: all is dropped."""
        ...


class Retention:
    """Drops what organisations keep no longer."""

    def __init__(self, store: RetentionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def drop(self) -> dict[str, int]:
        """Drops it in short transactions; how many records, of the organisations that had some."""
        now_ns = int(self._clock.now().timestamp() * 1_000_000_000)
        found: dict[str, int] = {}
        for organization_id, (first_ns, days) in (await self._store.oldest()).items():
            wanted_ns = day_of(now_ns - (days or DEFAULT_DAYS) * DAY_NS)
            if first_ns >= wanted_ns:
                continue
            since_ns = await self._store.keep_since(organization_id, wanted_ns)
            while dropped := await self._store.drop(organization_id, since_ns, _DROPPED_AT_ONCE):
                found[organization_id] = found.get(organization_id, 0) + dropped
        return found
