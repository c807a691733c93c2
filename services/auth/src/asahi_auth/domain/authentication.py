"""Whose key it is."""

import hmac

from asahi_auth.domain.organizations import Principal, key_id
from asahi_auth.domain.rules import check_digest
from asahi_auth.domain.store import AuthStore
from asahi_core.clock import Clock
from asahi_core.errors import InvalidApiKey, OrganizationSuspended
from asahi_core.keys import HASH_SCHEME, KeyDigest

REFUSED = "The API key is missing or not valid. Send 'Authorization: Bearer ask_…' with a key of this installation."

SUSPENDED = "The operator has suspended the organization; ask them why."


class Authentication:
    """Tells valid keys from all others."""

    def __init__(self, store: AuthStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def authenticate(self, digest: KeyDigest) -> Principal:
        """The key with this digest, its organisation and policy.

        Raises:
            InvalidApiKey: it is unknown, revoked or expired; the words do not tell which.
            InvalidRequest: no key has such a digest.
            OrganizationSuspended: the key is valid, its organisation is suspended.
        """
        check_digest(digest.prefix, digest.sha256)
        principal = await self._store.find_principal(key_id(digest.prefix))
        key = principal.key if principal is not None else None
        if (
            principal is None
            or key is None
            or key.hash_scheme != HASH_SCHEME
            or not hmac.compare_digest(key.sha256, digest.sha256)
            or not key.is_valid(self._clock.now())
        ):
            raise InvalidApiKey(REFUSED)
        if principal.organization.suspended_at is not None:
            raise OrganizationSuspended(SUSPENDED)
        return principal
