"""Organisations, their keys, and who acts on them: the values that everything here is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asahi_auth.domain.scopes import Scope


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant."""

    id: str
    name: str
    """A label, not unique."""
    user_id: str
    """Who signed up."""
    email: str
    """Where to reach them; empty: unknown."""
    created_at: datetime
    policy_version: int = 0
    """Of its present policy; 0: it was never changed."""
    suspended_at: datetime | None = None
    """Since when its keys open nothing."""
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    """`key_` and the prefix of the key."""
    sha256: bytes = field(repr=False)
    """SHA-256 of the whole key."""
    hash_scheme: str
    """How `sha256` was made."""
    organization_id: str
    name: str
    user_id: str
    """End user or member that it belongs to; empty: none."""
    scopes: tuple[Scope, ...]
    allowed_models: tuple[str, ...]
    """Glob patterns of model ids; empty: all."""
    created_at: datetime
    created_by: str
    """Key id, `operator` or `signup`."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    """As `created_by`; empty: not revoked."""
    rate_limits: Mapping[str, Any] = field(default_factory=dict)
    """Its own limits, as the HTTP contract writes them; empty: none."""
    budgets: tuple[Mapping[str, Any], ...] = ()
    """Its own budgets, as the HTTP contract writes them."""
    last_used_at: datetime | None = None
    rotated_from: str = ""
    """The key that it replaced; empty: none."""
    rotated_to: str = ""
    """The key that replaced it; empty: none did."""
    principal_id: str = ""
    """The first key of its line of rotations; empty: itself."""

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret form, which is shown once."""

    key: ApiKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Invite:
    """Lets one organisation sign up."""

    id: str
    code_sha256: bytes = field(repr=False)
    note: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    organization_id: str = ""
    """The organisation that used it."""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A policy in one version."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was set (`domain.policy`)."""
    version: int = 0
    """0: it was never changed."""
    updated_at: datetime | None = None
    updated_by: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """A key, with what its organisation says to it."""

    key: ApiKey
    organization: Organization
    policy: PolicyVersion


@dataclass(frozen=True, slots=True)
class ActingKey:
    """A key acts."""

    api_key_id: str
    address: str = ""
    """Where the call came from; empty: unknown."""


@dataclass(frozen=True, slots=True)
class ActingOperator:
    """The operator of the installation acts."""

    address: str = ""


@dataclass(frozen=True, slots=True)
class ActingPerson:
    """A person of the OIDC issuer acts, whose token was verified."""

    subject: str
    organization_id: str
    scopes: tuple[Scope, ...]
    address: str = ""


Actor = ActingKey | ActingOperator | ActingPerson

SIGNUP = "signup"
"""Made by signing up, where nobody acts yet."""


def name_of(actor: Actor) -> str:
    """`actor` as it is kept beside what it did."""
    match actor:
        case ActingKey():
            return actor.api_key_id
        case ActingPerson():
            return f"person:{actor.subject}"
        case ActingOperator():
            return "operator"


def key_id(prefix: str) -> str:
    """Id of the key with this prefix."""
    return f"key_{prefix}"
