"""Whose key it is."""

import hmac

from asahi_auth.domain.organizations import ApiKey, key_id
from asahi_auth.domain.rules import check_digest
from asahi_auth.domain.store import AuthStore
from asahi_core.clock import Clock
from asahi_core.errors import InvalidApiKey
from asahi_core.keys import HASH_SCHEME, KeyDigest

REFUSED = "The API key is missing or not valid. Send 'Authorization: Bearer ask_…' with a key of this installation."


class Authentication:
    """Tells valid keys from all others."""

    def __init__(self, store: AuthStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def authenticate(self, digest: KeyDigest) -> ApiKey:
        """The key with this digest.

        Raises:
            InvalidApiKey: it is unknown, revoked or expired; the words do not tell which.
            InvalidRequest: no key has such a digest.
        """
        check_digest(digest.prefix, digest.sha256)
        key = await self._store.find_key(key_id(digest.prefix))
        if (
            key is None
            or key.hash_scheme != HASH_SCHEME
            or not hmac.compare_digest(key.sha256, digest.sha256)
            or not key.is_valid(self._clock.now())
        ):
            raise InvalidApiKey(REFUSED)
        return key
