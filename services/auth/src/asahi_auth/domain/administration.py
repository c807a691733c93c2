"""What only the operator does: organisations and invites."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from asahi_auth.domain.acting import check_operator, no_organization
from asahi_auth.domain.changes import INSTALLATION, Change, origin_of
from asahi_auth.domain.governance import invite_digest, new_organization_id
from asahi_auth.domain.organizations import Actor, Invite, Organization
from asahi_auth.domain.pages import Page, page_of, position_of
from asahi_auth.domain.rules import MAX_NAME_LENGTH, check_expiry, check_name, check_text, page_size
from asahi_auth.domain.store import AuthStore, Transaction
from asahi_core.clock import Clock
from asahi_core.errors import NotFound
from asahi_core.ids import Ids

_INVITE_ID_LENGTH = 12
_INVITE_CODE_LENGTH = 32
_INVITE_LASTS = timedelta(days=7)


class Administration:
    """Acts on organisations as a whole. Every method raises InsufficientScope unless the operator acts."""

    def __init__(self, store: AuthStore, clock: Clock, ids: Ids, changed: Callable[[], None]) -> None:
        """`changed` is called after each change of a verdict, so that watchers need not wait for the next poll."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._changed = changed

    async def create_organization(self, actor: Actor, name: str) -> Organization:
        """A new organisation, without keys; raises InvalidRequest for a name that is none."""
        check_operator(actor)
        check_name(name, "name")
        organization = Organization(new_organization_id(self._ids), name, "", "", self._clock.now())

        def create(transaction: Transaction) -> None:
            transaction.add_organization(organization)
            transaction.audit(self._change(actor, organization.id, "organization.create", organization.id))

        await self._store.change(create)
        return organization

    async def list_organizations(self, actor: Actor, asked_size: int, page_token: str) -> Page[Organization]:
        """A page of all organisations, newest first, deleted ones included; `asked_size` 0: 100."""
        check_operator(actor)
        most = page_size(asked_size)
        return page_of(await self._store.organizations_after(position_of(page_token), most + 1), most)

    async def set_suspended(self, actor: Actor, organization_id: str, *, suspended: bool) -> Organization:
        """The organisation, suspended or not; who repeats it changes nothing. Raises OrganizationMismatch."""
        check_operator(actor)

        def change(transaction: Transaction) -> Organization:
            organization = _there(transaction, organization_id)
            if (organization.suspended_at is not None) is not suspended:
                transaction.suspend(organization_id, self._clock.now() if suspended else None)
                action = "organization.suspend" if suspended else "organization.resume"
                transaction.audit(self._change(actor, organization_id, action, organization_id))
            return _there(transaction, organization_id)

        organization = await self._store.change(change)
        self._changed()
        return organization

    async def delete_organization(self, actor: Actor, organization_id: str) -> tuple[Organization, dict[str, int]]:
        """The organisation, emptied, and how many rows went by table; who repeats it changes nothing.

        Raises:
            OrganizationMismatch: there never was such an organisation.
        """
        check_operator(actor)

        def erase(transaction: Transaction) -> tuple[Organization, dict[str, int]]:
            organization = transaction.organization(organization_id)
            if organization is None:
                raise no_organization()
            if organization.deleted_at is not None:
                return organization, {}
            erased = transaction.delete_organization(organization_id, self._clock.now())
            transaction.audit(
                self._change(actor, organization_id, "organization.delete", organization_id, {"erased": erased})
            )
            return transaction.organization(organization_id) or organization, erased

        deleted = await self._store.change(erase)
        self._changed()
        return deleted

    async def create_invite(self, actor: Actor, note: str, expires_at: datetime | None) -> tuple[Invite, str]:
        """A new invite and its code, which is shown this once; without a time it lasts for seven days."""
        check_operator(actor)
        check_text(note, "note", MAX_NAME_LENGTH)
        now = self._clock.now()
        if expires_at is not None:
            check_expiry(expires_at, now)
        code = f"inv_{self._ids.token(_INVITE_CODE_LENGTH)}"
        invite = Invite(
            id=f"invite_{self._ids.token(_INVITE_ID_LENGTH)}",
            code_sha256=invite_digest(code),
            note=note,
            created_at=now,
            expires_at=expires_at or now + _INVITE_LASTS,
        )

        def create(transaction: Transaction) -> None:
            transaction.add_invite(invite)
            details = {"note": note, "expires_at": invite.expires_at.isoformat()}
            transaction.audit(self._change(actor, INSTALLATION, "invite.create", invite.id, details))

        await self._store.change(create)
        return invite, code

    async def list_invites(self, actor: Actor, asked_size: int, page_token: str) -> Page[Invite]:
        """A page of all invites, newest first, used and expired ones included; `asked_size` 0: 100."""
        check_operator(actor)
        most = page_size(asked_size)
        return page_of(await self._store.invites_after(position_of(page_token), most + 1), most)

    async def delete_invite(self, actor: Actor, invite_id: str) -> Invite:
        """The invite that was withdrawn; raises NotFound for one that there is not, or that is used."""
        check_operator(actor)

        def withdraw(transaction: Transaction) -> Invite:
            invite = transaction.invite(invite_id)
            if invite is None or invite.used_at is not None:
                raise NotFound("There is no invite with this id that is not used.", param="invite_id")
            transaction.delete_invite(invite_id)
            transaction.audit(self._change(actor, INSTALLATION, "invite.delete", invite_id))
            return invite

        return await self._store.change(withdraw)

    def _change(
        self, actor: Actor, organization_id: str, action: str, target: str, details: Mapping[str, Any] | None = None
    ) -> Change:
        return Change(organization_id, self._clock.now(), origin_of(actor), action, target, details or {})


def _there(transaction: Transaction, organization_id: str) -> Organization:
    organization = transaction.organization(organization_id)
    if organization is None or organization.deleted_at is not None:
        raise no_organization()
    return organization
