"""Copies of tier 1 entries at the edge, so that most hits need no hop. Bounded in bytes; never a truth of its own."""

from collections import OrderedDict
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit
from asahi_core.clock import Clock

_OVERHEAD_BYTES = 1024
"""What Python's and protobuf's objects around an entry take, roughly."""


@dataclass(slots=True)
class _Near:
    hit: CacheHit
    created_at_s: float
    expires_at: float
    size: int


class NearCache:
    """Entries by organisation and fingerprint, least recently used first to go.

    To be asked only while the connection stands over which entries are withdrawn.
    """

    def __init__(self, clock: Clock, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, bytes], _Near] = OrderedDict()
        self._bytes = 0
        self.epoch = 0
        """Rises with every withdrawal: what was fetched before one must not be kept after it."""

    def find(self, organization_id: str, fingerprint: bytes, max_age_s: float | None) -> CacheHit | None:
        """The entry, unless it has expired or is older than asked."""
        near = self._entries.get((organization_id, fingerprint))
        if near is None:
            return None
        if near.expires_at <= self._clock.monotonic():
            self._drop((organization_id, fingerprint))
            return None
        if max_age_s is not None and self._clock.now().timestamp() - near.created_at_s > max_age_s:
            return None
        self._entries.move_to_end((organization_id, fingerprint))
        return near.hit

    def keep(self, organization_id: str, fingerprint: bytes, entry: CacheEntry, ttl_s: float, epoch: int) -> None:
        """Keeps a tier 1 entry for `ttl_s`, if nothing was withdrawn since `epoch` was read."""
        size = entry.ByteSize() + _OVERHEAD_BYTES
        if epoch != self.epoch or ttl_s <= 0 or size > self._max_bytes // 8:
            return
        key = (organization_id, fingerprint)
        self._drop(key)
        created_at_s = entry.created_at.ToNanoseconds() / 1e9
        hit = CacheHit(tier=1, entry=entry)
        self._entries[key] = _Near(hit, created_at_s, self._clock.monotonic() + ttl_s, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def withdraw(self, organization_id: str, fingerprint: bytes) -> None:
        """Drops an entry, or with an empty fingerprint all of the organisation, or without one everything."""
        self.epoch += 1
        if not organization_id:
            self.clear()
        elif fingerprint:
            self._drop((organization_id, fingerprint))
        else:
            for key in [key for key in self._entries if key[0] == organization_id]:
                self._drop(key)

    def clear(self) -> None:
        """Drops everything: withdrawals may have been missed."""
        self.epoch += 1
        self._entries.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: tuple[str, bytes]) -> None:
        near = self._entries.pop(key, None)
        if near is not None:
            self._bytes -= near.size
