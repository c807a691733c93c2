"""Where organisations and keys are kept, as the domain sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from asahi_auth.domain.organizations import ApiKey, Organization
from asahi_auth.domain.pages import Position

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Revocation:
    """Verdicts on this key hold no longer."""

    sequence: int
    """Grows in the order in which revocations become visible, over all replicas."""
    api_key_id: str


class Transaction(Protocol):
    """Changes that happen together or not at all. Used on a thread of the store's."""

    def has_organization(self, organization_id: str) -> bool:
        """Whether there is such an organisation."""
        ...

    def key(self, key_id: str) -> ApiKey | None:
        """The key, which nobody else changes until the transaction ends."""
        ...

    def add_organization(self, organization: Organization) -> None:
        """Adds an organisation with a new id."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Adds a key with a new id."""
        ...

    def revoke_key(self, key_id: str, at: datetime, by: str) -> None:
        """Marks a key as revoked, and makes that a `Revocation`."""
        ...


class AuthStore(Protocol):
    """Keeps organisations and keys durably. Every method raises ServiceUnavailable while it cannot be reached."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key with this id."""
        ...

    async def has_organization(self, organization_id: str) -> bool:
        """Whether there is such an organisation."""
        ...

    async def keys_after(self, organization_id: str, position: Position | None, most: int) -> Sequence[ApiKey]:
        """At most `most` keys of the organisation after `position` (None: from the newest), newest first."""
        ...

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """What `work` returns; its changes are durable then. If it raises, nothing has changed."""
        ...

    async def last_revocation(self) -> int:
        """Sequence of the last revocation; 0: there was none."""
        ...

    async def revocations_after(self, sequence: int, most: int) -> Sequence[Revocation]:
        """At most `most` revocations after `sequence`, in their order, of every replica."""
        ...
