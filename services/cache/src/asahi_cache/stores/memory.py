"""Tiers 1 and 3 in the process's memory: what was asked for once leaves first, within bounds in bytes that hold always.

Fairness: no organisation holds more than its share of the whole. When the whole is full, the organisation furthest over
its fair share (the bound divided by the organisations present) gives way, so one within it loses nothing to others.

Within an organisation entries leave as in S3-FIFO (Yang et al., SOSP 2023), which a stream of questions that nobody
repeats cannot empty; `bench.zipf` compares it with a plain LRU.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from sys import getsizeof

from asahi_cache.domain.labels import labels_of
from asahi_cache.domain.tiers import Eviction, Found, NewEntry, Query, Selection, Usage
from asahi_cache.stores.by_size import BySize
from asahi_core.clock import Clock

ENTRY_OVERHEAD_BYTES = 1024
"""What Python's objects around a value take at most; a test measures it."""
ORGANIZATION_OVERHEAD_BYTES = 512
"""What an organisation takes beside its entries."""
_SLICE = 500
_PROBATION = 0.1
_MOST_HITS = 3


@dataclass(slots=True)
class _Kept:
    value: bytes
    size: int
    labels: tuple[bytes, ...]
    created_at_nanos: int
    expires_at: float
    hits: int = 0
    """Since it last moved on; no more than three are counted."""


_Queue = OrderedDict[bytes, _Kept]


class _Holding:
    """What one organisation keeps.

    An entry begins on probation. Asked for there, it moves on to the others when its turn to leave comes; if not it
    leaves, but is remembered: who comes again soon joins the others at once.
    """

    __slots__ = ("bytes", "others", "probation", "probation_bytes", "remembered")

    def __init__(self) -> None:
        self.probation: _Queue = OrderedDict()
        self.others: _Queue = OrderedDict()
        self.remembered: OrderedDict[bytes, None] | None = None
        """Fingerprints that left from probation, no more than there are entries; None: nothing left yet."""
        self.bytes = 0
        """Of all entries."""
        self.probation_bytes = 0

    def __len__(self) -> int:
        return len(self.probation) + len(self.others)

    def get(self, fingerprint: bytes) -> _Kept | None:
        """The entry."""
        return self.others.get(fingerprint) or self.probation.get(fingerprint)

    def add(self, fingerprint: bytes, kept: _Kept, *, known: bool) -> None:
        """A new entry; `known`: there was one of this fingerprint just now."""
        if known or self._forget(fingerprint):
            self.others[fingerprint] = kept
        else:
            self.probation[fingerprint] = kept
            self.probation_bytes += kept.size

    def pop(self, fingerprint: bytes) -> _Kept | None:
        """The entry, which is here no longer."""
        kept = self.probation.pop(fingerprint, None)
        if kept is not None:
            self.probation_bytes -= kept.size
            return kept
        return self.others.pop(fingerprint, None)

    def next_to_leave(self) -> bytes:
        """The fingerprint of the entry whose turn it is; entries that were asked for meanwhile are put off."""
        while True:
            if self._is_probations_turn():
                fingerprint, kept = next(iter(self.probation.items()))
                if not kept.hits:
                    self._remember(fingerprint)
                    return fingerprint
                del self.probation[fingerprint]
                self.probation_bytes -= kept.size
                kept.hits = 0
                self.others[fingerprint] = kept
            else:
                fingerprint, kept = next(iter(self.others.items()))
                if not kept.hits:
                    return fingerprint
                kept.hits -= 1
                self.others.move_to_end(fingerprint)

    def _is_probations_turn(self) -> bool:
        if not self.others:
            return True
        return len(self.probation) > 1 and self.probation_bytes > self.bytes * _PROBATION

    def _forget(self, fingerprint: bytes) -> bool:
        """Whether it was remembered."""
        if self.remembered is None or fingerprint not in self.remembered:
            return False
        del self.remembered[fingerprint]
        return True

    def _remember(self, fingerprint: bytes) -> None:
        if self.remembered is None:
            self.remembered = OrderedDict()
        self.remembered[fingerprint] = None
        while len(self.remembered) >= len(self):
            self.remembered.popitem(last=False)


class MemoryTier:
    """Serialized entries, bounded in bytes in all and by organisation."""

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
        kept = holding.get(query.fingerprint) if holding is not None else None
        if kept is None:
            return None
        ttl_s = kept.expires_at - self._clock.monotonic()
        if ttl_s <= 0:
            self._expire(query.organization_id, query.fingerprint)
            return None
        if query.max_age_s is not None and self._age_s(kept) > query.max_age_s:
            return None
        kept.hits = min(kept.hits + 1, _MOST_HITS)
        return Found(kept.value, ttl_s)

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry and evicts what must leave for it; False: it is not kept.

        Not kept: an entry over an organisation's share, and one that by itself makes its organisation the largest of a
        full cache.
        """
        organization_id, fingerprint = new.organization_id, new.fingerprint
        known = self._drop(organization_id, fingerprint)
        value = new.entry.SerializeToString()
        labels = labels_of(new.entry)
        size = len(value) + len(organization_id.encode()) + sum(map(getsizeof, labels)) + ENTRY_OVERHEAD_BYTES
        if size > self._organization_max_bytes:
            return False
        created_at_nanos = new.entry.created_at.ToNanoseconds()
        kept = _Kept(value, size, labels, created_at_nanos, self._clock.monotonic() + new.ttl_s)
        holding = self._holdings.get(organization_id)
        if holding is None:
            holding = self._holdings[organization_id] = _Holding()
            self._resize(organization_id, holding, ORGANIZATION_OVERHEAD_BYTES)
        holding.add(fingerprint, kept, known=known)
        self._resize(organization_id, holding, size)
        self.entries += 1
        while holding.bytes > self._organization_max_bytes:
            self._evict(organization_id, Eviction.ORGANIZATION_SHARE)
        while self.bytes > self._max_bytes:
            self._evict(self._by_size.largest(), Eviction.TOTAL)
        return holding.get(fingerprint) is not None

    async def drop(self, selection: Selection) -> list[bytes]:
        """Drops what is selected, lookups going on in between; the fingerprints of what there was."""
        organization_id = selection.organization_id
        dropped = []
        for seen, fingerprint in enumerate(self.fingerprints(organization_id), start=1):
            kept = self._find(organization_id, fingerprint)
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
                kept = self._find(organization_id, fingerprint)
                if kept is not None and kept.expires_at <= self._clock.monotonic():
                    self._expire(organization_id, fingerprint)
                seen += 1
                if seen % _SLICE == 0:
                    await asyncio.sleep(0)

    def fingerprints(self, organization_id: str) -> tuple[bytes, ...]:
        """What the organisation keeps, expired entries included."""
        holding = self._holdings.get(organization_id)
        return (*holding.probation, *holding.others) if holding is not None else ()

    async def usage(self, organization_id: str) -> Usage:
        """How much it keeps of the organisation, overhead and expired entries included."""
        holding = self._holdings.get(organization_id)
        return Usage(len(holding), holding.bytes) if holding is not None else Usage(0, 0)

    def _age_s(self, kept: _Kept) -> float:
        return self._clock.now().timestamp() - kept.created_at_nanos / 1e9

    def _expire(self, organization_id: str, fingerprint: bytes) -> None:
        self._drop(organization_id, fingerprint)
        self.expired += 1

    def _evict(self, organization_id: str, cause: Eviction) -> None:
        self._drop(organization_id, self._holdings[organization_id].next_to_leave())
        self.evicted[cause] += 1

    def _find(self, organization_id: str, fingerprint: bytes) -> _Kept | None:
        holding = self._holdings.get(organization_id)
        return holding.get(fingerprint) if holding is not None else None

    def _drop(self, organization_id: str, fingerprint: bytes) -> bool:
        """Whether there was one."""
        holding = self._holdings.get(organization_id)
        kept = holding.pop(fingerprint) if holding is not None else None
        if holding is None or kept is None:
            return False
        self._resize(organization_id, holding, -kept.size)
        self.entries -= 1
        if not len(holding):
            self._resize(organization_id, holding, -ORGANIZATION_OVERHEAD_BYTES)
            del self._holdings[organization_id]
        return True

    def _resize(self, organization_id: str, holding: _Holding, change: int) -> None:
        self._by_size.move(organization_id, holding.bytes, holding.bytes + change)
        holding.bytes += change
        self.bytes += change
