"""Copies of exact entries at the edge, so that most hits need no hop. Bounded in bytes; never a truth of its own."""

from collections import OrderedDict
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit
from asahi_core.clock import Clock

_OVERHEAD_BYTES = 1024
"""What Python's and protobuf's objects around an entry take, roughly."""
_ORGANIZATIONS = 10_000
"""Whose last withdrawal is known; of others it is that of the one forgotten last."""


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
        """Rises with every withdrawal: what was asked for before one must not be kept after it."""
        self._withdrawn: OrderedDict[str, int] = OrderedDict()
        """By organisation the epoch that its last withdrawal began; the latest last."""
        self._all_withdrawn = 0

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

    def keep(
        self, organization_id: str, fingerprint: bytes, entry: CacheEntry, ttl_s: float, epoch: int, *, tier: int = 1
    ) -> None:
        """Keeps an entry of an exact tier for `ttl_s`, if nothing of its organisation was withdrawn since `epoch`."""
        size = entry.ByteSize() + _OVERHEAD_BYTES
        if self.withdrawn_since(organization_id, epoch) or ttl_s <= 0 or size > self._max_bytes // 8:
            return
        key = (organization_id, fingerprint)
        self._drop(key)
        created_at_s = entry.created_at.ToNanoseconds() / 1e9
        hit = CacheHit(tier=tier, entry=entry)
        self._entries[key] = _Near(hit, created_at_s, self._clock.monotonic() + ttl_s, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def withdraw(self, organization_id: str, fingerprint: bytes) -> None:
        """Drops an entry, or with an empty fingerprint all of the organisation, or without one everything."""
        if not organization_id:
            self.clear()
            return
        self.epoch += 1
        self._withdrawn[organization_id] = self.epoch
        self._withdrawn.move_to_end(organization_id)
        while len(self._withdrawn) > _ORGANIZATIONS:
            self._all_withdrawn = self._withdrawn.popitem(last=False)[1]
        if fingerprint:
            self._drop((organization_id, fingerprint))
        else:
            for key in [key for key in self._entries if key[0] == organization_id]:
                self._drop(key)

    def withdrawn_since(self, organization_id: str, epoch: int) -> bool:
        """Whether anything of the organisation may have been withdrawn since `epoch` was read."""
        return max(self._withdrawn.get(organization_id, 0), self._all_withdrawn) > epoch

    def clear(self) -> None:
        """Drops everything: withdrawals may have been missed."""
        self.epoch += 1
        self._withdrawn.clear()
        self._all_withdrawn = self.epoch
        self._entries.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: tuple[str, bytes]) -> None:
        near = self._entries.pop(key, None)
        if near is not None:
            self._bytes -= near.size
