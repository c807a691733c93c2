"""Forgetting what is known about answers to an end user, or about all of an organisation's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows there were."""

    outcomes: int
    examples: int


class ErasureStore(Protocol):
    """Outcomes and examples as what is erased from."""

    async def erase(self, organization_id: str, user_id: str, at: datetime) -> Erased:
        """Drops what is of an end user, or (empty) of all, and notes that something was.

        Raises:
            ServiceUnavailable: the store cannot be reached.
        """
        ...


class Memory(Protocol):
    """What was learned."""

    def forget(self, organization_id: str) -> None:
        """Forgets all of an organisation, to learn it anew from what is left in the store."""
        ...


class Eraser:
    """Erases from the store, then from this process's memory; others follow when they read the store next."""

    def __init__(self, store: ErasureStore, memory: Memory, clock: Clock) -> None:
        self._store = store
        self._memory = memory
        self._clock = clock

    async def erase(self, organization_id: str, user_id: str) -> Erased:
        """Erases an end user, or (empty) all of an organisation; can be repeated.

        Raises:
            InvalidRequest: no organisation.
            ServiceUnavailable: the store cannot be reached.
        """
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        erased = await self._store.erase(organization_id, user_id, self._clock.now())
        self._memory.forget(organization_id)
        return erased
