"""The cache as callers know it: a lookup over all tiers in their order, and a store into each of them."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.domain.invalidations import Invalidations
from asahi_cache.domain.labels import labels_of, names_a_request
from asahi_cache.domain.rules import check_entry, check_key, check_max_age, check_organization, check_ttl
from asahi_cache.domain.tiers import Found, Hit, NewEntry, Query, Selection, Tier, Usage
from asahi_core.clock import Clock
from asahi_core.times import nanos_of

_JITTER = 0.1
_SIMILAR, STEPS = 2, 3
"""The tier that finds similar prompts, and the number by which hits on steps of workflows are told."""
Withdraw = Callable[[str, bytes], Awaitable[None]]
"""Tells all who hold copies that an entry (its fingerprint; empty: any of the organisation) may be served no longer."""


class AnswerCache:
    """Finds and keeps answers. Entries of one organisation are never found by another."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        default_ttl_s: float,
        max_entry_bytes: int,
        random: Callable[[], float],
        withdraw: Withdraw,
        clock: Clock,
        waits: bool = False,
    ) -> None:
        """`random` yields numbers in [0, 1). `waits`: whether a tier may wait for something outside the process."""
        self.waits = waits
        self._tiers = tuple(tiers)
        self._default_ttl_s = default_ttl_s
        self._max_entry_bytes = max_entry_bytes
        self._random = random
        self._withdraw = withdraw
        self._invalidations = Invalidations(clock)
        self.hits = {tier.number: 0 for tier in self._tiers} | {STEPS: 0}
        """Lookups answered, by tier."""
        self.misses = 0
        """Lookups that no tier could answer."""

    async def lookup(self, query: Query) -> Hit | None:
        """The answer of the first tier that has one; None: a miss.

        Raises:
            InvalidRequest: the query names no organisation, no fingerprint, or a negative age.
        """
        check_key(query.organization_id, query.fingerprint)
        if query.max_age_s is not None:
            check_max_age(query.max_age_s)
        for tier in self._tiers:
            if query.step and tier.number == _SIMILAR:
                continue
            found = await tier.find(query)
            if found is not None:
                number = STEPS if query.step else tier.number
                self.hits[number] += 1
                return Hit(number, found)
        self.misses += 1
        return None

    async def find(self, query: Query) -> Found | None:
        """The answer that is kept under the query's fingerprint, for another tier that knows of it; counts nothing."""
        for tier in self._tiers:
            found = await tier.find(query)
            if found is not None:
                return found
        return None

    async def store(self, organization_id: str, fingerprint: bytes, entry: CacheEntry, ttl_s: float | None) -> float:
        """Keeps an answer in all tiers for `ttl_s` seconds (None: the default), less a jitter of up to a tenth.

        Entries stored together so do not all expire together. Returns the seconds that it will be served; 0: no tier
        had room for it, or it was given before an invalidation that selects it.

        Raises:
            InvalidRequest: the answer is not complete, too large, or its key, age or time to live is wrong.
        """
        ttl_s = self._default_ttl_s if ttl_s is None else ttl_s
        check_key(organization_id, fingerprint)
        check_entry(entry, self._max_entry_bytes)
        check_ttl(ttl_s)
        if self._invalidations.cover(organization_id, labels_of(entry), nanos_of(entry.created_at, "entry.created_at")):
            return 0.0
        new = NewEntry(organization_id, fingerprint, entry, ttl_s * (1 - _JITTER * self._random()))
        kept = [await tier.keep(new) for tier in self._tiers]
        return new.ttl_s if any(kept) else 0.0

    async def invalidate(self, selection: Selection) -> int:
        """Drops what is selected from all tiers, and returns when all who hold copies know; how many there were.

        Raises:
            InvalidRequest: no organisation is named.
            ServiceUnavailable: a tier could not drop it everywhere; to be sent again.
        """
        check_organization(selection.organization_id)
        dropped: set[bytes] = set()
        with self.invalidating(selection):
            try:
                for tier in self._tiers:
                    dropped.update(await tier.drop(selection))
            finally:
                await self.withdraw_copies(selection, dropped)
        return len(dropped)

    def invalidating(self, selection: Selection) -> AbstractContextManager[None]:
        """While what is selected is dropped, here or at another replica, none of it is kept."""
        return self._invalidations.making(selection)

    async def withdraw_copies(self, selection: Selection, dropped: Collection[bytes]) -> None:
        """Returns when all who hold copies know that what is selected, of which `dropped` is known, is gone."""
        if dropped and any(map(names_a_request, selection.labels)):
            for fingerprint in dropped:
                await self._withdraw(selection.organization_id, fingerprint)
        else:  # what tiers have evicted may live on in copies, and nobody knows which
            await self._withdraw(selection.organization_id, b"")

    async def usage(self, organization_id: str) -> Usage:
        """How much is kept of the organisation, over all tiers.

        Raises:
            InvalidRequest: no organisation is named.
        """
        check_organization(organization_id)
        usages = [await tier.usage(organization_id) for tier in self._tiers]
        return Usage(sum(usage.entries for usage in usages), sum(usage.bytes for usage in usages))
