"""Organisations, their keys, and who acts on them: the values that everything here is about."""

from dataclasses import dataclass, field
from datetime import datetime

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

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret form, which is shown once."""

    key: ApiKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ActingKey:
    """A key acts."""

    api_key_id: str


@dataclass(frozen=True, slots=True)
class ActingOperator:
    """The operator of the installation acts."""


Actor = ActingKey | ActingOperator

SIGNUP = "signup"
"""Made by signing up, where nobody acts yet."""


def name_of(actor: Actor) -> str:
    """`actor` as it is kept beside what it did."""
    return actor.api_key_id if isinstance(actor, ActingKey) else "operator"


def key_id(prefix: str) -> str:
    """Id of the key with this prefix."""
    return f"key_{prefix}"
