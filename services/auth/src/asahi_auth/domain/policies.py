"""Policies of organisations: their present version, changes to it, and its history."""

from collections.abc import Callable, Sequence

from asahi_auth.domain.acting import acting, no_organization
from asahi_auth.domain.changes import Change, origin_of
from asahi_auth.domain.organizations import Actor, Organization, PolicyVersion, name_of
from asahi_auth.domain.policy import Settings, changed
from asahi_auth.domain.rules import page_size
from asahi_auth.domain.store import AuthStore, Transaction
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest, VersionConflict


class Policies:
    """Keeps every version; of changes to one version one wins."""

    def __init__(self, store: AuthStore, clock: Clock, changed_: Callable[[], None]) -> None:
        """`changed_` is called after each change, so that watchers need not wait for the next poll."""
        self._store = store
        self._clock = clock
        self._changed = changed_

    async def get(self, organization_id: str) -> PolicyVersion:
        """The present policy; raises OrganizationMismatch where there is no such organisation."""
        return await self._store.find_policy(await self._organization(organization_id))

    async def update(
        self, actor: Actor, organization_id: str, changes: Settings, expected_version: int | None
    ) -> PolicyVersion:
        """The policy after a merge patch; the present one where that changes nothing.

        Raises:
            InvalidRequest, NotImplementedYet: as `domain.policy.changed`.
            VersionConflict: it is not at `expected_version`.
            InvalidApiKey, InsufficientScope, OrganizationMismatch, OrganizationSuspended: as `domain.acting.acting`.
        """

        def update(transaction: Transaction) -> PolicyVersion:
            now = self._clock.now()
            organization = acting(transaction, actor, organization_id, now).organization
            if expected_version is not None and expected_version != organization.policy_version:
                message = (
                    f"The policy is at version {organization.policy_version}, not {expected_version}; read it again."
                )
                raise VersionConflict(message, param="version")
            present = transaction.policy(organization)
            settings = changed(present.settings, changes)
            if settings == present.settings:
                return present
            policy = PolicyVersion(settings, organization.policy_version + 1, now, name_of(actor))
            transaction.add_policy(organization_id, policy)
            details = {"version": policy.version, "settings": settings}
            transaction.audit(Change(organization_id, now, origin_of(actor), "policy.update", organization_id, details))
            return policy

        policy = await self._store.change(update)
        self._changed()
        return policy

    async def history(
        self, organization_id: str, asked_size: int, page_token: str
    ) -> tuple[Sequence[PolicyVersion], str]:
        """Versions, newest first, and the token of the page after (empty: none); `asked_size` 0: 100.

        Raises:
            InvalidRequest: the size or the token is not acceptable.
            OrganizationMismatch: there is no such organisation.
        """
        most = page_size(asked_size)
        if page_token and not (page_token.isascii() and page_token.isdigit() and len(page_token) < 19):
            message = "page_token is none that was given out; send `next_page_token` of the page before, unchanged."
            raise InvalidRequest(message, param="page_token")
        before = int(page_token) if page_token else None
        await self._organization(organization_id)
        found = await self._store.policies_before(organization_id, before, most + 1)
        more = str(found[most - 1].version) if len(found) > most else ""
        return found[:most], more

    async def _organization(self, organization_id: str) -> Organization:
        organization = await self._store.find_organization(organization_id)
        if organization is None or organization.deleted_at is not None:
            raise no_organization()
        return organization
