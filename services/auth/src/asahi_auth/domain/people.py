"""People of the configured OIDC issuer: what a verified token's claims say of who they are and what they may do."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from asahi_auth.domain.authentication import REFUSED, SUSPENDED
from asahi_auth.domain.organizations import Organization
from asahi_auth.domain.scopes import Scope
from asahi_core.clock import Clock
from asahi_core.errors import InvalidApiKey, OrganizationSuspended

MAX_TOKEN_LENGTH = 8192
_MAX_ID_LENGTH = 255
_LATEST_S = 253_402_300_799
"""The end of the year 9999."""

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """How the installation reads claims."""

    organization_claim: str
    """The claim with the organisation's id: a name, or names joined by dots for a claim inside another."""
    scopes_claim: str
    """The claim with what `scopes` are given for, a list or words with spaces between."""
    scopes: Mapping[str, Scope]
    """The scope that each value of the claim gives; other values give none."""
    skew_s: float
    """Seconds by which the issuer's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who a token is of."""

    subject: str
    organization_id: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    """When the token is accepted no longer: its `exp`, later by the skew that is granted."""


class Issuer(Protocol):
    """The OIDC issuer."""

    async def verified(self, token: str) -> Claims:
        """The claims of a token that the issuer has signed for this installation.

        Raises:
            InvalidApiKey: it has not.
            ServiceUnavailable: the issuer does not answer and its keys that are known do not tell.
        """
        ...


class Organizations(Protocol):
    """The organisations that people can act for."""

    async def find_organization(self, organization_id: str) -> Organization | None:
        """The organisation with this id, deleted or not."""
        ...


class People:
    """Tells valid tokens of people from all others."""

    def __init__(self, issuer: Issuer | None, organizations: Organizations, rules: ClaimRules, clock: Clock) -> None:
        self._issuer = issuer
        self._organizations = organizations
        self._rules = rules
        self._clock = clock

    async def authenticate(self, token: str) -> Person:
        """Who `token` is of.

        Raises:
            InvalidApiKey: it is not valid, or no issuer is configured; the words do not tell which.
            OrganizationSuspended: it is valid, its organisation is suspended.
            ServiceUnavailable: the issuer's keys cannot be had.
        """
        if self._issuer is None or len(token) > MAX_TOKEN_LENGTH:
            raise InvalidApiKey(REFUSED)
        person = person_of(await self._issuer.verified(token), self._rules, self._clock.now())
        organization = await self._organizations.find_organization(person.organization_id)
        if organization is None or organization.deleted_at is not None:
            raise InvalidApiKey(REFUSED)
        if organization.suspended_at is not None:
            raise OrganizationSuspended(SUSPENDED)
        return person


def person_of(claims: Claims, rules: ClaimRules, now: datetime) -> Person:
    """The person of whom a token with these claims is.

    Raises:
        InvalidApiKey: the claims name no subject or organisation, or are not valid at this time.
    """
    expires_s = _moment(claims, "exp")
    if expires_s is None or expires_s + rules.skew_s <= now.timestamp():
        raise InvalidApiKey(REFUSED)
    for claim in ("nbf", "iat"):
        begins_s = _moment(claims, claim)
        if begins_s is not None and begins_s - rules.skew_s > now.timestamp():
            raise InvalidApiKey(REFUSED)
    return Person(
        subject=_id(claims.get("sub")),
        organization_id=_id(_claim(claims, rules.organization_claim)),
        scopes=_scopes(_claim(claims, rules.scopes_claim), rules.scopes),
        expires_at=datetime.fromtimestamp(min(expires_s + rules.skew_s, _LATEST_S), UTC),
    )


def _moment(claims: Claims, name: str) -> float | None:
    """Seconds since 1970, None if the claim is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidApiKey(REFUSED)
    return min(value, _LATEST_S)


def _claim(claims: Claims, name: str) -> object:
    if name in claims:  # names may be addresses, which contain dots
        return claims[name]
    value: object = claims
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _id(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_LENGTH or not value.isprintable():
        raise InvalidApiKey(REFUSED)
    return value


def _scopes(value: object, given: Mapping[str, Scope]) -> tuple[Scope, ...]:
    words: Collection[object] = ()
    if isinstance(value, str):
        words = value.split()
    elif isinstance(value, list):
        words = value
    found = (given.get(word) for word in words if isinstance(word, str))
    return tuple(dict.fromkeys(scope for scope in found if scope is not None))
