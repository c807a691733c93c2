"""The tiers of the cache as the domain sees them: one interface, asked in order, and what passes through it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from asahi.cache.v1.cache_pb2 import CacheEntry


@dataclass(frozen=True, slots=True)
class Query:
    """What a lookup asks."""

    organization_id: str
    fingerprint: bytes
    """SHA-256 of everything in the request that can change the answer."""
    max_age_s: float | None = None
    """Seconds since the answer was given that the caller accepts; None: any number."""
    step: bool = False
    """Whether it asks for what a step of a workflow brought."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An answer to keep, found fit for keeping."""

    organization_id: str
    fingerprint: bytes
    entry: CacheEntry
    ttl_s: float
    """Seconds from now that it may be served."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that a tier has."""

    entry: bytes
    """A serialized `CacheEntry`: most lookups only pass it on."""
    ttl_s: float
    """Seconds from now that it may be served."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer, and the number of the tier that had it."""

    tier: int
    found: Found


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries of an organisation: those that match all that is given; with nothing given, all of them."""

    organization_id: str
    labels: frozenset[bytes] = frozenset()
    """Only entries that have all of these (`domain.labels`)."""
    given_before_nanos: int | None = None
    """Only answers given before this moment, nanoseconds since 1970; None: not limited."""

    def covers(self, labels: Collection[bytes], created_at_nanos: int) -> bool:
        """Whether an entry of the organisation with these labels, given at this moment, is one of them."""
        if self.given_before_nanos is not None and created_at_nanos >= self.given_before_nanos:
            return False
        return self.labels.issubset(labels)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much is kept."""

    entries: int
    bytes: int
    """Overhead included."""


class Eviction(StrEnum):
    """Why an entry had to leave before its time."""

    ORGANIZATION_SHARE = "organization_share"
    """Its organisation was over its share."""
    TOTAL = "total"
    """The cache was full, and its organisation furthest over the fair share."""


class Tier(Protocol):
    """One way to find an answer that was given before.

    A tier raises nothing on account of its own troubles, but where it has to drop: what it cannot reach, read or make
    room for is not found or not kept.
    """

    @property
    def number(self) -> int:
        """1 exact, 2 semantic, 3 intermediate results."""
        ...

    async def find(self, query: Query) -> Found | None:
        """An entry of the query's organisation that has not expired and is not older than asked; None: a miss."""
        ...

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry for its time, in place of an older one for the same request; False: there was no room."""
        ...

    async def drop(self, selection: Selection) -> Sequence[bytes]:
        """Drops what is selected; the fingerprints of what there was.

        Raises:
            ServiceUnavailable: it could not be dropped everywhere.
        """
        ...

    async def usage(self, organization_id: str) -> Usage:
        """How much it keeps of the organisation."""
        ...
