"""Making organisations, and making, listing and revoking their keys."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from asahi_auth.domain.authentication import REFUSED
from asahi_auth.domain.model_patterns import allows_no_more
from asahi_auth.domain.organizations import (
    SIGNUP,
    ActingKey,
    Actor,
    ApiKey,
    IssuedKey,
    Organization,
    key_id,
    name_of,
)
from asahi_auth.domain.pages import Page, position_of, token_after
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
from asahi_auth.domain.scopes import Scope, check_governs, check_scopes_given
from asahi_auth.domain.store import AuthStore, Transaction
from asahi_core.clock import Clock
from asahi_core.errors import InsufficientScope, InternalError, InvalidApiKey, NotFound, OrganizationMismatch
from asahi_core.ids import Ids
from asahi_core.keys import HASH_SCHEME, digest_key, mint_key

_ORGANIZATION_ID_LENGTH = 16
_FIRST_KEY = "first key"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new key shall be."""

    organization_id: str
    name: str
    scopes: tuple[Scope, ...]
    user_id: str = ""
    allowed_models: tuple[str, ...] = ()
    """Empty: as its maker."""
    expires_at: datetime | None = None


class Governance:
    """Acts on organisations and keys. What must hold when a change happens is checked in the change's transaction."""

    def __init__(
        self, store: AuthStore, clock: Clock, ids: Ids, *, signup_open: bool, revoked: Callable[[], None]
    ) -> None:
        """`revoked` is called after each revocation, so that watchers need not wait for the next poll."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._signup_open = signup_open
        self._revoked = revoked

    async def signup(self, name: str, user_id: str, email: str) -> tuple[Organization, IssuedKey]:
        """A new organisation with its first key.

        Raises:
            InsufficientScope: signing up is closed.
            InvalidRequest: a name or the address is not acceptable.
        """
        if not self._signup_open:
            raise InsufficientScope("Signing up is closed on this installation; ask its operator for a key.")
        check_name(name, "organization_name")
        check_name(user_id, "user_id")
        check_text(email, "email", MAX_EMAIL_LENGTH)
        organization_id = f"org_{self._ids.token(_ORGANIZATION_ID_LENGTH)}"
        organization = Organization(organization_id, name, user_id, email, self._clock.now())
        first = Wanted(organization_id, _FIRST_KEY, (Scope.ALL,), user_id)

        def sign_up(transaction: Transaction) -> IssuedKey:
            transaction.add_organization(organization)
            return self._issue(transaction, first, first.allowed_models, SIGNUP)

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
            models = wanted.allowed_models
            maker = self._acting_key(transaction, actor, wanted.organization_id)
            if maker is not None:
                check_scopes_given(maker.scopes, wanted.scopes)
                models = _models_given(maker.allowed_models, models)
                check_governs(maker.scopes)
            return self._issue(transaction, wanted, models, name_of(actor))

        return await self._store.change(create)

    async def list_keys(self, organization_id: str, asked_size: int, page_token: str) -> Page:
        """A page of the organisation's keys, newest first; `asked_size` 0: 100.

        Raises:
            InvalidRequest: the size or the token is not acceptable.
            OrganizationMismatch: there is no such organisation.
        """
        most = page_size(asked_size)
        position = position_of(page_token)
        if not await self._store.has_organization(organization_id):
            raise _no_organization()
        keys = await self._store.keys_after(organization_id, position, most + 1)
        page = tuple(keys[:most])
        return Page(page, token_after(page[-1]) if len(keys) > most else "")

    async def revoke_key(self, actor: Actor, organization_id: str, api_key_id: str) -> ApiKey:
        """The key, revoked for good; who repeats it gets it as it was revoked first.

        Raises:
            InvalidApiKey: the acting key is not valid (any more).
            InsufficientScope: the acting key may not govern.
            OrganizationMismatch: there is no such organisation, or it is not the actor's.
            NotFound: the organisation has no such key.
        """

        def revoke(transaction: Transaction) -> ApiKey:
            acting = self._acting_key(transaction, actor, organization_id)
            if acting is not None:
                check_governs(acting.scopes)
            key = _key_of(transaction, organization_id, api_key_id)
            if key.revoked_at is not None:
                return key
            transaction.revoke_key(api_key_id, self._clock.now(), name_of(actor))
            return _key_of(transaction, organization_id, api_key_id)

        key = await self._store.change(revoke)
        self._revoked()
        return key

    def _acting_key(self, transaction: Transaction, actor: Actor, organization_id: str) -> ApiKey | None:
        """The key that acts for the organisation; None: the operator does."""
        if not isinstance(actor, ActingKey):
            if not transaction.has_organization(organization_id):
                raise _no_organization()
            return None
        key = transaction.key(actor.api_key_id)
        if key is None or not key.is_valid(self._clock.now()):
            raise InvalidApiKey(REFUSED)
        if key.organization_id != organization_id:
            raise _no_organization()
        return key

    def _issue(
        self, transaction: Transaction, wanted: Wanted, allowed_models: tuple[str, ...], created_by: str
    ) -> IssuedKey:
        secret = mint_key(self._ids)
        digest = digest_key(secret)
        if digest is None:
            raise InternalError("A key was minted that is none.")
        if transaction.key(key_id(digest.prefix)) is not None:
            return self._issue(transaction, wanted, allowed_models, created_by)
        key = ApiKey(
            id=key_id(digest.prefix),
            sha256=digest.sha256,
            hash_scheme=HASH_SCHEME,
            organization_id=wanted.organization_id,
            name=wanted.name,
            user_id=wanted.user_id,
            scopes=wanted.scopes,
            allowed_models=allowed_models,
            created_at=self._clock.now(),
            created_by=created_by,
            expires_at=wanted.expires_at,
        )
        transaction.add_key(key)
        return IssuedKey(key, secret)


def _models_given(maker: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of the new key; raises InsufficientScope where they allow a model that the maker's do not."""
    if not maker:
        return wanted
    beyond = next((pattern for pattern in wanted if not allows_no_more(pattern, maker)), None)
    if beyond is not None:
        raise InsufficientScope(
            f"A key gives no more than it has: the pattern '{beyond}' allows models that the maker's "
            f"({', '.join(maker)}) may not.",
            param="allowed_models",
        )
    return wanted or maker


def _key_of(transaction: Transaction, organization_id: str, api_key_id: str) -> ApiKey:
    key = transaction.key(api_key_id)
    if key is None or key.organization_id != organization_id:
        raise NotFound("The organization has no API key with this id; list its keys for their ids.", param="api_key_id")
    return key


def _no_organization() -> OrganizationMismatch:
    return OrganizationMismatch(
        "There is no organization with the id in 'organization_id' that the caller may act for.",
        param="organization_id",
    )
