"""Tiers 1 and 3 in the process's memory: the least recently used leave first, within bounds in bytes that hold always.

Fairness: no organisation holds more than its share of the whole. When the whole is full, the organisation furthest over
its fair share (the bound divided by the organisations present) gives way, so one within it loses nothing to others.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from sys import getsizeof

from asahi_cache.domain.labels import labels_of
from asahi_cache.domain.tiers import Eviction, Found, NewEntry, Query, Selection, Usage
from asahi_cache.stores.by_size import BySize
from asahi_core.clock import Clock

ENTRY_OVERHEAD_BYTES = 1024
"""What Python's objects around a value take at most (an organisation's only entry); a test measures it."""
_SLICE = 500


@dataclass(slots=True)
class _Kept:
    value: bytes
    size: int
    labels: tuple[bytes, ...]
    created_at_nanos: int
    expires_at: float


@dataclass(slots=True)
class _Holding:
    """What one organisation keeps, least recently used first."""

    entries: OrderedDict[bytes, _Kept] = field(default_factory=OrderedDict)
    bytes: int = 0


class MemoryTier:
    """An LRU of serialized entries, bounded in bytes in all and by organisation."""

    number = 1

    def __init__(self, clock: Clock, *, max_bytes: int, organization_share: float) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._organization_max_bytes = int(max_bytes * organization_share)
        self._holdings: dict[str, _Holding] = {}
        self._by_size = BySize()
        self.entries = 0
        self.bytes = 0
        """What all entries take, overhead included."""
        self.evicted = dict.fromkeys(Eviction, 0)
        self.expired = 0

    async def find(self, query: Query) -> Found | None:
        """An entry of the query's organisation that has not expired and is not older than asked; None: a miss."""
        holding = self._holdings.get(query.organization_id)
        kept = holding.entries.get(query.fingerprint) if holding is not None else None
        if holding is None or kept is None:
            return None
        ttl_s = kept.expires_at - self._clock.monotonic()
        if ttl_s <= 0:
            self._expire(query.organization_id, query.fingerprint)
            return None
        if query.max_age_s is not None and self._age_s(kept) > query.max_age_s:
            return None
        holding.entries.move_to_end(query.fingerprint)
        return Found(kept.value, ttl_s)

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry and evicts what must leave for it; False: it is not kept.

        Not kept: an entry over an organisation's share, and one that by itself makes its organisation the largest of a
        full cache.
        """
        organization_id, fingerprint = new.organization_id, new.fingerprint
        self._drop(organization_id, fingerprint)
        value = new.entry.SerializeToString()
        labels = labels_of(new.entry)
        size = len(value) + len(organization_id.encode()) + sum(map(getsizeof, labels)) + ENTRY_OVERHEAD_BYTES
        if size > self._organization_max_bytes:
            return False
        created_at_nanos = new.entry.created_at.ToNanoseconds()
        kept = _Kept(value, size, labels, created_at_nanos, self._clock.monotonic() + new.ttl_s)
        holding = self._holdings.setdefault(organization_id, _Holding())
        holding.entries[fingerprint] = kept
        self._resize(organization_id, holding, size)
        self.entries += 1
        while holding.bytes > self._organization_max_bytes:
            self._evict(organization_id, Eviction.ORGANIZATION_SHARE)
        while self.bytes > self._max_bytes:
            self._evict(self._by_size.largest(), Eviction.TOTAL)
        return fingerprint in holding.entries

    async def drop(self, selection: Selection) -> list[bytes]:
        """Drops what is selected, lookups going on in between; the fingerprints of what there was."""
        organization_id = selection.organization_id
        dropped = []
        for seen, fingerprint in enumerate(self.fingerprints(organization_id), start=1):
            kept = self._holdings.get(organization_id, _Holding()).entries.get(fingerprint)
            if kept is not None and selection.covers(kept.labels, kept.created_at_nanos):
                self._drop(organization_id, fingerprint)
                dropped.append(fingerprint)
            if seen % _SLICE == 0:
                await asyncio.sleep(0)
        return dropped

    def forget(self) -> None:
        """Drops everything."""
        self._holdings.clear()
        self._by_size = BySize()
        self.entries = self.bytes = 0

    async def sweep(self) -> None:
        """Drops what has expired, so that no answer outstays its time in memory; lookups go on in between."""
        seen = 0
        for organization_id in tuple(self._holdings):
            for fingerprint in self.fingerprints(organization_id):
                kept = self._holdings.get(organization_id, _Holding()).entries.get(fingerprint)
                if kept is not None and kept.expires_at <= self._clock.monotonic():
                    self._expire(organization_id, fingerprint)
                seen += 1
                if seen % _SLICE == 0:
                    await asyncio.sleep(0)

    def fingerprints(self, organization_id: str) -> tuple[bytes, ...]:
        """What the organisation keeps, least recently used first, expired entries included."""
        holding = self._holdings.get(organization_id)
        return tuple(holding.entries) if holding is not None else ()

    def usage(self, organization_id: str) -> Usage:
        """How much it keeps of the organisation, overhead and expired entries included."""
        holding = self._holdings.get(organization_id)
        return Usage(len(holding.entries), holding.bytes) if holding is not None else Usage(0, 0)

    def _age_s(self, kept: _Kept) -> float:
        return self._clock.now().timestamp() - kept.created_at_nanos / 1e9

    def _expire(self, organization_id: str, fingerprint: bytes) -> None:
        self._drop(organization_id, fingerprint)
        self.expired += 1

    def _evict(self, organization_id: str, cause: Eviction) -> None:
        self._drop(organization_id, next(iter(self._holdings[organization_id].entries)))
        self.evicted[cause] += 1

    def _drop(self, organization_id: str, fingerprint: bytes) -> None:
        holding = self._holdings.get(organization_id)
        kept = holding.entries.pop(fingerprint, None) if holding is not None else None
        if holding is None or kept is None:
            return
        self._resize(organization_id, holding, -kept.size)
        self.entries -= 1
        if not holding.entries:
            del self._holdings[organization_id]

    def _resize(self, organization_id: str, holding: _Holding, change: int) -> None:
        self._by_size.move(organization_id, holding.bytes, holding.bytes + change)
        holding.bytes += change
        self.bytes += change
