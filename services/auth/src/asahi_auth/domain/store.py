"""Where organisations and keys are kept, as the domain sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from asahi_auth.domain.changes import Change
from asahi_auth.domain.organizations import ApiKey, Invite, Organization, PolicyVersion, Principal
from asahi_auth.domain.pages import Position

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Revocation:
    """Verdicts on this key, or this organisation, hold no longer."""

    sequence: int
    """Grows in the order in which revocations become visible, over all replicas."""
    api_key_id: str
    """Empty: those on all keys of the organisation."""
    organization_id: str = ""


class Transaction(Protocol):
    """Changes that happen together or not at all. Used on a thread of the store's."""

    def organization(self, organization_id: str) -> Organization | None:
        """The organisation, which nobody else changes until the transaction ends."""
        ...

    def key(self, key_id: str) -> ApiKey | None:
        """The key, which nobody else changes until the transaction ends, if its organisation was read before."""
        ...

    def invite_of(self, code_sha256: bytes) -> Invite | None:
        """The invite with this code, which nobody else uses until the transaction ends."""
        ...

    def invite(self, invite_id: str) -> Invite | None:
        """The invite, which nobody else uses until the transaction ends."""
        ...

    def policy(self, organization: Organization) -> PolicyVersion:
        """The present policy of an organisation of this transaction."""
        ...

    def add_organization(self, organization: Organization) -> None:
        """Adds an organisation with a new id."""
        ...

    def suspend(self, organization_id: str, at: datetime | None) -> None:
        """Suspends an organisation, or ends that; its verdicts hold no longer."""
        ...

    def delete_organization(self, organization_id: str, at: datetime) -> dict[str, int]:
        """Empties an organisation; how many rows went, by table. Its verdicts hold no longer."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Adds a key with a new id."""
        ...

    def revoke_key(self, key_id: str, at: datetime, by: str) -> None:
        """Marks a key as revoked, and makes that a `Revocation`."""
        ...

    def replace_key(self, key_id: str, by: str, expires_at: datetime) -> None:
        """Says which key replaced it, and when it ends; a `Revocation`, for verdicts say otherwise."""
        ...

    def add_policy(self, organization_id: str, policy: PolicyVersion) -> None:
        """Makes a policy the present one of an organisation that this transaction has read."""
        ...

    def add_invite(self, invite: Invite) -> None:
        """Adds an invite with a new id."""
        ...

    def use_invite(self, invite_id: str, at: datetime, organization_id: str) -> None:
        """Says who used an invite."""
        ...

    def delete_invite(self, invite_id: str) -> None:
        """Drops an invite."""
        ...

    def erase_user(self, organization_id: str, user_id: str) -> dict[str, int]:
        """Drops an end user's name wherever it stands in an organisation; how many rows had it, by table."""
        ...

    def audit(self, change: Change) -> None:
        """Writes to the audit chain, when all else of the transaction is done, what it changes."""
        ...


class AuthStore(Protocol):
    """Keeps organisations and keys durably. Every method raises ServiceUnavailable while it cannot be reached."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key with this id."""
        ...

    async def find_principal(self, key_id: str) -> Principal | None:
        """The key with this id, its organisation, and the policy of that."""
        ...

    async def find_organization(self, organization_id: str) -> Organization | None:
        """The organisation with this id, deleted or not."""
        ...

    async def find_policy(self, organization: Organization) -> PolicyVersion:
        """The policy in the version that `organization` names."""
        ...

    async def policies_before(self, organization_id: str, version: int | None, most: int) -> Sequence[PolicyVersion]:
        """At most `most` versions of a policy before `version` (None: from the newest), newest first."""
        ...

    async def organizations_after(self, position: Position | None, most: int) -> Sequence[Organization]:
        """At most `most` organisations after `position` (None: from the newest), newest first."""
        ...

    async def invites_after(self, position: Position | None, most: int) -> Sequence[Invite]:
        """At most `most` invites after `position` (None: from the newest), newest first."""
        ...

    async def record_key_use(self, uses: Mapping[str, datetime]) -> None:
        """Keeps when keys were used, by id, where that is later than what is kept."""
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
