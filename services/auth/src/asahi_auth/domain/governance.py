"""Signing up, and making, listing, rotating and revoking an organisation's keys."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from asahi_auth.domain.acting import acting, no_organization
from asahi_auth.domain.changes import INSTALLATION, Change, Origin, details_of, origin_of, origin_of_signup
from asahi_auth.domain.organizations import Actor, ApiKey, IssuedKey, Organization, key_id, name_of
from asahi_auth.domain.pages import Page, page_of, position_of
from asahi_auth.domain.rules import (
    MAX_EMAIL_LENGTH,
    MAX_NAME_LENGTH,
    check_expiry,
    check_name,
    check_patterns,
    check_scopes,
    check_text,
    page_size,
)
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.store import AuthStore, Transaction
from asahi_auth.domain.wanted import Wanted, given
from asahi_core.clock import Clock
from asahi_core.errors import InsufficientScope, InternalError, InvalidRequest, NotFound
from asahi_core.ids import Ids
from asahi_core.keys import HASH_SCHEME, digest_key, mint_key

Signup = Literal["open", "invite", "closed"]
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)
MAX_USES = 1000
_ORGANIZATION_ID_LENGTH = 16
_FIRST_KEY = "first key"


@dataclass(frozen=True, slots=True)
class SignupRequest:
    """Who signs up."""

    name: str
    user_id: str
    email: str = ""
    invite_code: str = ""
    address: str = ""
    """Where the call came from; empty: unknown."""


class Governance:
    """Acts on organisations and keys. What must hold when a change happens is checked in the change's transaction."""

    def __init__(
        self, store: AuthStore, clock: Clock, ids: Ids, *, signup: Signup, revoked: Callable[[], None]
    ) -> None:
        """`revoked` is called after each change of a verdict, so that watchers need not wait for the next poll."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._signup = signup
        self._revoked = revoked

    async def signup(self, request: SignupRequest) -> tuple[Organization, IssuedKey]:
        """A new organisation with its first key.

        Raises:
            InsufficientScope: signing up is closed, or asks for an invite that was not given or is not valid.
            InvalidRequest: a name or the address is not acceptable.
        """
        if self._signup == "closed":
            raise InsufficientScope("Signing up is closed on this installation; ask its operator for a key.")
        check_name(request.name, "organization_name")
        check_name(request.user_id, "user_id")
        check_text(request.email, "email", MAX_EMAIL_LENGTH)
        now = self._clock.now()
        organization = Organization(
            new_organization_id(self._ids), request.name, request.user_id, request.email, created_at=now
        )
        first = Wanted(organization.id, _FIRST_KEY, (Scope.ALL,), request.user_id)
        origin = origin_of_signup(request.address)

        def sign_up(transaction: Transaction) -> IssuedKey:
            invite = None
            if self._signup == "invite":
                invite = transaction.invite_of(invite_digest(request.invite_code))
                if invite is None or invite.used_at is not None or invite.expires_at <= now:
                    message = "Signing up needs an invite that is not used or expired; ask the operator for one."
                    raise InsufficientScope(message, param="invite_code")
            transaction.add_organization(organization)
            transaction.audit(Change(organization.id, now, origin, "organization.create", organization.id))
            if invite is not None:
                transaction.use_invite(invite.id, now, organization.id)
                used_by = {"organization_id": organization.id}
                transaction.audit(Change(INSTALLATION, now, origin, "invite.use", invite.id, used_by))
            return self._create(transaction, first, origin)

        return organization, await self._store.change(sign_up)

    async def create_key(self, actor: Actor, wanted: Wanted) -> IssuedKey:
        """A new key, which has no more than its maker.

        Raises:
            InvalidRequest: a field is not acceptable.
            InvalidApiKey: the acting key is not valid (any more).
            InsufficientScope: the acting key has less, or may not govern.
            OrganizationMismatch: there is no such organisation, or it is not the actor's.
        """
        check_name(wanted.name, "name")
        check_scopes(wanted.scopes)
        check_text(wanted.user_id, "user_id", MAX_NAME_LENGTH)
        check_patterns(wanted.allowed_models)
        if wanted.expires_at is not None:
            check_expiry(wanted.expires_at, self._clock.now())

        def create(transaction: Transaction) -> IssuedKey:
            maker = acting(transaction, actor, wanted.organization_id, self._clock.now())
            return self._create(transaction, given(maker, wanted), origin_of(actor))

        return await self._store.change(create)

    async def list_keys(self, organization_id: str, asked_size: int, page_token: str) -> Page[ApiKey]:
        """A page of the organisation's keys, newest first; `asked_size` 0: 100.

        Raises:
            InvalidRequest: the size or the token is not acceptable.
            OrganizationMismatch: there is no such organisation.
        """
        most = page_size(asked_size)
        position = position_of(page_token)
        organization = await self._store.find_organization(organization_id)
        if organization is None or organization.deleted_at is not None:
            raise no_organization()
        return page_of(await self._store.keys_after(organization_id, position, most + 1), most)

    async def rotate_key(
        self, actor: Actor, organization_id: str, api_key_id: str, overlap: timedelta
    ) -> tuple[IssuedKey, ApiKey]:
        """A new key that may do what another may, which goes on for `overlap` at most; and that other.

        Raises:
            InvalidRequest: the overlap is not acceptable, or the key is not valid any more.
            InvalidApiKey: the acting key is not valid (any more).
            InsufficientScope: the acting key has less than the key, or may not govern.
            OrganizationMismatch: there is no such organisation, or it is not the actor's.
            NotFound: the organisation has no such key.
        """
        if not timedelta() <= overlap <= MAX_OVERLAP:
            message = f"overlap is {overlap.total_seconds():g} s; it is 0 to {MAX_OVERLAP.total_seconds():g} s."
            raise InvalidRequest(message, param="overlap")

        def rotate(transaction: Transaction) -> tuple[IssuedKey, ApiKey]:
            now = self._clock.now()
            maker = acting(transaction, actor, organization_id, now)
            old = _key_of(transaction, organization_id, api_key_id)
            if not old.is_valid(now) or old.rotated_to:
                message = "The key was revoked, has expired, or was rotated before; make a new one."
                raise InvalidRequest(message, param="api_key_id")
            wanted = Wanted(
                *(organization_id, old.name, old.scopes, old.user_id, old.allowed_models, old.expires_at),
                rate_limits=old.rate_limits,
                budgets=old.budgets,
            )
            if (maker.key is None or maker.key.id != old.id) and given(maker, wanted) != wanted:
                message = "A key gives no more than it has: this one may more than the acting key; use it itself."
                raise InsufficientScope(message, param="api_key_id")
            issued = self._issue(transaction, wanted, name_of(actor), rotated=old)
            ends = now + overlap if old.expires_at is None else min(now + overlap, old.expires_at)
            transaction.replace_key(old.id, issued.key.id, ends)
            details = {"rotated_to": issued.key.id, "expires_at": ends.isoformat()}
            transaction.audit(Change(organization_id, now, origin_of(actor), "api_key.rotate", old.id, details))
            return issued, _key_of(transaction, organization_id, api_key_id)

        rotated = await self._store.change(rotate)
        self._revoked()
        return rotated

    async def revoke_key(self, actor: Actor, organization_id: str, api_key_id: str) -> ApiKey:
        """The key, revoked for good; who repeats it gets it as it was revoked first.

        Raises:
            InvalidApiKey: the acting key is not valid (any more).
            InsufficientScope: the acting key may not govern.
            OrganizationMismatch: there is no such organisation, or it is not the actor's.
            NotFound: the organisation has no such key.
        """

        def revoke(transaction: Transaction) -> ApiKey:
            now = self._clock.now()
            acting(transaction, actor, organization_id, now)
            key = _key_of(transaction, organization_id, api_key_id)
            if key.revoked_at is not None:
                return key
            transaction.revoke_key(api_key_id, now, name_of(actor))
            transaction.audit(Change(organization_id, now, origin_of(actor), "api_key.revoke", api_key_id))
            return _key_of(transaction, organization_id, api_key_id)

        key = await self._store.change(revoke)
        self._revoked()
        return key

    async def record_key_use(self, uses: Mapping[str, datetime]) -> None:
        """Keeps when keys were used, by id; unknown keys are left aside. Raises InvalidRequest for none or too many."""
        if not 1 <= len(uses) <= MAX_USES:
            raise InvalidRequest(f"uses has {len(uses)} keys; 1 to {MAX_USES} are accepted.", param="uses")
        await self._store.record_key_use(uses)

    async def erase_user(self, actor: Actor, organization_id: str, user_id: str) -> dict[str, int]:
        """Drops an end user's name from keys and organisation; how many rows had it.

        Raises:
            InvalidRequest: no user is named.
            InvalidApiKey, InsufficientScope, OrganizationMismatch: as `create_key`.
        """
        check_name(user_id, "user_id")

        def erase(transaction: Transaction) -> dict[str, int]:
            now = self._clock.now()
            acting(transaction, actor, organization_id, now)
            erased = transaction.erase_user(organization_id, user_id)
            transaction.audit(
                Change(organization_id, now, origin_of(actor), "user.erase", "", {"erased": erased}, user_id)
            )
            return erased

        erased = await self._store.change(erase)
        self._revoked()
        return erased

    def _create(self, transaction: Transaction, wanted: Wanted, origin: Origin) -> IssuedKey:
        issued = self._issue(transaction, wanted, origin.actor)
        key = issued.key
        transaction.audit(
            Change(key.organization_id, key.created_at, origin, "api_key.create", key.id, details_of(key))
        )
        return issued

    def _issue(
        self, transaction: Transaction, wanted: Wanted, created_by: str, *, rotated: ApiKey | None = None
    ) -> IssuedKey:
        secret = mint_key(self._ids)
        digest = digest_key(secret)
        if digest is None:
            raise InternalError("A key was minted that is none.")
        if transaction.key(key_id(digest.prefix)) is not None:
            return self._issue(transaction, wanted, created_by, rotated=rotated)
        key = ApiKey(
            id=key_id(digest.prefix),
            sha256=digest.sha256,
            hash_scheme=HASH_SCHEME,
            organization_id=wanted.organization_id,
            name=wanted.name,
            user_id=wanted.user_id,
            scopes=wanted.scopes,
            allowed_models=wanted.allowed_models,
            created_at=self._clock.now(),
            created_by=created_by,
            expires_at=wanted.expires_at,
            rate_limits=wanted.rate_limits,
            budgets=wanted.budgets,
            rotated_from=rotated.id if rotated is not None else "",
            principal_id=(rotated.principal_id or rotated.id) if rotated is not None else "",
        )
        transaction.add_key(key)
        return IssuedKey(key, secret)


def new_organization_id(ids: Ids) -> str:
    """A new organisation's id."""
    return f"org_{ids.token(_ORGANIZATION_ID_LENGTH)}"


def invite_digest(code: str) -> bytes:
    """What is kept of an invite's code."""
    return hashlib.sha256(code.encode()).digest()


def _key_of(transaction: Transaction, organization_id: str, api_key_id: str) -> ApiKey:
    key = transaction.key(api_key_id)
    if key is None or key.organization_id != organization_id:
        raise NotFound("The organization has no API key with this id; list its keys for their ids.", param="api_key_id")
    return key
