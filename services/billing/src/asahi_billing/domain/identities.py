"""Taking out of the ledger who asked. What was spent, on what and when, stays."""

from dataclasses import dataclass
from typing import Protocol

from asahi_core.errors import InvalidRequest

_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to."""

    erased: int
    """Records that named somebody."""
    after: tuple[int, int] | None
    """Where the next step begins; None: this was the last."""


class IdentityStore(Protocol):
    """Erases in short transactions. Raises ServiceUnavailable when it cannot be reached."""

    async def erase_records(self, organization_id: str, user_id: str, after: tuple[int, int], limit: int) -> Step:
        """Lets records after a place name nobody: of a user, or (empty) of all."""
        ...

    async def erase_sums(self, organization_id: str, user_id: str) -> int:
        """Lets rollups, accounts of budgets and alerts name nobody; how many alerts did."""
        ...


class Identities:
    """Erases who asked."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    async def erase(self, organization_id: str, user_id: str) -> tuple[int, int]:
        """Erases an end user, or (empty) all of an organisation; how many records and alerts named somebody.

        Raises:
            InvalidRequest: no organisation.
        """
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        records, after = 0, (0, 0)
        while True:
            step = await self._store.erase_records(organization_id, user_id, after, _AT_ONCE)
            records += step.erased
            if step.after is None:
                return records, await self._store.erase_sums(organization_id, user_id)
            after = step.after
