"""The OIDC issuer: its keys, fetched when they are needed and kept, and the signatures that they verify."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from structlog.typing import FilteringBoundLogger

from asahi_auth.domain.authentication import REFUSED
from asahi_auth.domain.people import Claims
from asahi_core.errors import InvalidApiKey, ServiceUnavailable

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"}), "secp521r1": frozenset({"ES512"})}
_LEAST_RSA_BITS = 2048
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_FETCH_S = 3.0
_MAX_WAITING = 1000
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of the issuer, with the algorithms that it may verify: by its kind and our list, never by the token."""

    key: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
    algorithms: frozenset[str]


class OidcIssuer:
    """Verifies tokens with the keys that the issuer publishes.

    A key that is not known is looked for at the issuer, by all who wait for one together, at most once in `pause_s`;
    known keys are looked up anew in the background after `keep_s` and serve on while the issuer is down.
    """

    def __init__(
        self, issuer: str, audience: str, log: FilteringBoundLogger, *, pause_s: float = 1.0, keep_s: float = 300.0
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._log = log
        self._pause_s = pause_s
        self._keep_s = keep_s
        self._keys: dict[str, _Key] = {}
        self._fetched_at: float | None = None
        self._began_at = float("-inf")
        self._next: asyncio.Task[bool] | None = None
        self._fetching: asyncio.Task[bool] | None = None
        self._waiting = 0

    async def verified(self, token: str) -> Claims:
        """The claims of a token that the issuer has signed for this audience.

        Raises:
            InvalidApiKey: it has not.
            ServiceUnavailable: it cannot be told, since the issuer does not answer.
        """
        kid, algorithm = _header(token)
        key = self._find(kid)
        if key is None:
            return self._decode(token, await self._awaited(kid), algorithm)
        if self._fetched_at is not None and _now() - self._fetched_at > self._keep_s:
            self._refresh()
        try:
            return self._decode(token, key, algorithm)
        except InvalidApiKey as error:
            # A token that names no key may be of the one that has taken this one's place.
            if kid is not None or not isinstance(error.__cause__, jwt.InvalidSignatureError):
                raise
        return self._decode(token, await self._awaited(kid, other_than=key), algorithm)

    def _decode(self, token: str, key: _Key, algorithm: str) -> Claims:
        if algorithm not in key.algorithms:
            raise InvalidApiKey(REFUSED)
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # Times are the domain's to judge, by the clock that it is given.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidApiKey(REFUSED) from error

    async def close(self) -> None:
        """Ends what is under way."""
        under_way = [task for task in (self._next, self._fetching) if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _find(self, kid: str | None) -> _Key | None:
        """The key with this id; without an id the only one, if there is but one (OpenID Connect Core 1.0, 10.1)."""
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _awaited(self, kid: str | None, *, other_than: _Key | None = None) -> _Key:
        """The key from the fetch under way, or from the next; raises InvalidApiKey if neither brings it."""
        if self._waiting >= _MAX_WAITING:
            raise _unavailable()
        self._waiting += 1
        try:
            if self._fetching is not None and not self._fetching.done():
                await asyncio.wait({self._fetching})
                key = self._find(kid)
                if key is not None and key != other_than:
                    return key
            fetched = await asyncio.shield(self._refresh())
        finally:
            self._waiting -= 1
        key = self._find(kid)
        if key is None or key == other_than:
            raise InvalidApiKey(REFUSED) if fetched else _unavailable()
        return key

    def _refresh(self) -> "asyncio.Task[bool]":
        """The next fetch, which begins after this call: what one under way brings may be older than the token."""
        if self._next is None:
            self._next = asyncio.create_task(self._fetch_when_due())
        return self._next

    async def _fetch_when_due(self) -> bool:
        """Whether the keys are the issuer's of now."""
        if self._fetching is not None:
            await asyncio.wait({self._fetching})
        await asyncio.sleep(max(0.0, self._began_at + self._pause_s - _now()))
        self._began_at = _now()
        self._fetching, self._next = asyncio.current_task(), None
        try:
            async with asyncio.timeout(_FETCH_S):
                self._keys = await self._fetch()
        except _FAILURES as error:
            self._log.warning("issuer_keys_not_fetched", error=f"{type(error).__name__}: {error}")
            return False
        self._fetched_at = _now()
        return True

    async def _fetch(self) -> dict[str, _Key]:
        async with aiohttp.ClientSession() as session:
            about = await _get(session, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if about.get("issuer") != self._issuer:
                raise ValueError("the discovery document names another issuer than ASAHI_OIDC_ISSUER")
            address = about.get("jwks_uri")
            secure = not self._issuer.startswith("https://") or str(address).startswith("https://")
            if not isinstance(address, str) or not secure:
                raise ValueError("the discovery document gives no https address of keys")
            listed = (await _get(session, address)).get("keys")
        if not isinstance(listed, list):
            raise ValueError("the issuer's document of keys has none")
        return dict(_usable(listed[:_MAX_KEYS]))


async def _get(session: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    """The JSON object at `address`; raises ValueError if that is too large or none."""
    async with session.get(address, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"the issuer answered with status {answer.status}")
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError(f"the issuer answered with more than {_MAX_BYTES} bytes")
    document = msgspec.json.decode(body)
    if not isinstance(document, dict):
        raise ValueError("the issuer did not answer with a JSON object")
    return document


def _usable(listed: list[object]) -> list[tuple[str, _Key]]:
    """The keys that can verify signatures, by id; what else an issuer lists is for others."""
    found = []
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid", ""), str):
            continue
        try:
            key = jwt.PyJWK(entry).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        algorithms = _algorithms(key)
        if "alg" in entry:
            algorithms &= {str(entry["alg"])}
        if algorithms:
            found.append((entry.get("kid", ""), _Key(key, algorithms)))
    return found


def _algorithms(key: object) -> frozenset[str]:
    match key:
        case RSAPublicKey() if key.key_size >= _LEAST_RSA_BITS:
            return _RSA
        case EllipticCurvePublicKey():
            return _CURVES.get(key.curve.name, frozenset())
        case Ed25519PublicKey():
            return frozenset({"EdDSA"})
        case _:
            return frozenset()


def _header(token: str) -> tuple[str | None, str]:
    """The id of the key, if any, and the algorithm that a token names; raises InvalidApiKey if it asks for more."""
    try:
        header: Mapping[str, object] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidApiKey(REFUSED) from error
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str) or "crit" in header or "b64" in header:
        raise InvalidApiKey(REFUSED)
    return kid, algorithm


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("The issuer's keys cannot be fetched at the moment; try again.", retry_after_s=1.0)


def _now() -> float:
    return asyncio.get_running_loop().time()
