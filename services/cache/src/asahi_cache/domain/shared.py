"""Tier 1 over several replicas: this process's memory in front of a store that all of them share.

Memory is trusted only while this replica hears what others withdraw. A replica that cannot hear forgets what it has,
tells its edges to do so too, and goes on alone with what is stored here from then on; when it hears again it forgets
that as well, since withdrawals may have been missed.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.domain.tiers import Found, NewEntry, Query, Selection, Tier, Usage
from asahi_core.clock import Clock
from asahi_core.errors import ServiceUnavailable

CALL_S = 0.05
"""Longest wait for the shared store, of a lookup too: what it has waited for the entry it has less for the flight."""
_MOST_NAMED = 1000
"""Withdrawn entries that are named to others; of more, they are told that it may be any of the organisation."""


@dataclass(frozen=True, slots=True)
class Shared:
    """An entry that the shared store has."""

    entry: CacheEntry
    ttl_s: float
    """Seconds from now that it may be served."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What may be served no longer."""

    selection: Selection
    fingerprints: tuple[bytes, ...]
    """What of it the shared store had; empty: unknown, or too many."""


class SharedStore(Protocol):
    """Entries that all replicas find. What cannot be reached, read or kept is not found or not kept; no error."""

    async def find(self, organization_id: str, fingerprint: bytes) -> Shared | None:
        """The entry of the organisation."""
        ...

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry for its time."""
        ...

    async def drop(self, selection: Selection) -> list[bytes]:
        """Drops what is selected; the fingerprints of what there was.

        Raises:
            ServiceUnavailable: the store does not answer; some of it may be there still.
        """
        ...

    async def usage(self, organization_id: str) -> Usage | None:
        """How much of the organisation it has; None: it does not answer."""
        ...


class Withdrawals(Protocol):
    """How replicas tell each other what may be served no longer."""

    @property
    def heard(self) -> bool:
        """Whether all that was withdrawn up to a second ago is known here."""
        ...

    async def tell(self, withdrawal: Withdrawal) -> None:
        """Returns when every replica that hears has dropped it, and the others have had time to notice that they don't.

        Raises:
            ServiceUnavailable: nobody could be told.
        """
        ...


class Memory(Tier, Protocol):
    """Tier 1 in this process."""

    def forget(self) -> None:
        """Drops everything."""
        ...


class SharedTier:
    """A `Tier` of both; a withdrawal that does not reach all of them is an error, never silence."""

    number = 1

    def __init__(self, memory: Memory, store: SharedStore, withdrawals: Withdrawals, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._store = store
        self._withdrawals = withdrawals
        self._hears = False
        self._epoch = 0
        self.found = {"memory": 0, "shared": 0}
        """Lookups answered, by where the answer was."""
        self.on_forgotten: Callable[[], None] = lambda: None
        """Called when copies of anything of here may be served no longer."""

    @property
    def alone(self) -> bool:
        """Whether this replica goes on without the others."""
        return not self._hears

    def notice(self) -> None:
        """Forgets what is in memory if this replica ceased to hear the others, or hears them again."""
        if self._withdrawals.heard != self._hears:
            self._hears = not self._hears
            self._epoch += 1
            self._memory.forget()
            self.on_forgotten()

    async def find(self, query: Query) -> Found | None:
        """An entry from memory, else from the shared store, which then is kept in memory as well."""
        self.notice()
        found = await self._memory.find(query)
        if found is not None:
            self.found["memory"] += 1
            return found
        epoch = self._epoch
        shared = await self._store.find(query.organization_id, query.fingerprint)
        if shared is None or not self._is_young_enough(shared, query):
            return None
        if epoch == self._epoch:  # else it may have been withdrawn on its way
            await self._memory.keep(NewEntry(query.organization_id, query.fingerprint, shared.entry, shared.ttl_s))
        self.found["shared"] += 1
        return Found(shared.entry.SerializeToString(), shared.ttl_s)

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry in memory and in the shared store; False: neither had room for it."""
        self.notice()
        here = await self._memory.keep(new)
        return await self._store.keep(new) or here

    async def drop(self, selection: Selection) -> Sequence[bytes]:
        """Drops what is selected here, in the shared store, and at every other replica.

        Raises:
            ServiceUnavailable: the others could not be told; here it is dropped.
        """
        self._epoch += 1
        here = await self._memory.drop(selection)
        shared = await self._store.drop(selection)
        named = tuple(shared) if len(shared) <= _MOST_NAMED else ()
        await self._withdrawals.tell(Withdrawal(selection, named))
        late = await self._store.drop(selection)  # what other replicas kept before they were told
        return [*{*here, *shared, *late}]

    async def hear(self, withdrawal: Withdrawal) -> Collection[bytes]:
        """Drops here what another replica has withdrawn; the fingerprints of it that are known."""
        self._epoch += 1
        here = await self._memory.drop(withdrawal.selection)
        return {*here, *withdrawal.fingerprints}

    async def usage(self, organization_id: str) -> Usage:
        """How much of the organisation the shared store has, which memories have copies of; alone: what memory has."""
        shared = None if self.alone else await self._store.usage(organization_id)
        return await self._memory.usage(organization_id) if shared is None else shared

    def _is_young_enough(self, shared: Shared, query: Query) -> bool:
        if query.max_age_s is None:
            return True
        return self._clock.now().timestamp() - shared.entry.created_at.ToNanoseconds() / 1e9 <= query.max_age_s


def out_of_reach() -> ServiceUnavailable:
    """What whoever withdraws hears while replicas cannot be told."""
    message = (
        "Redis does not answer: other replicas of the cache may still serve what was to be dropped; send it again."
    )
    return ServiceUnavailable(message, retry_after_s=1.0)
