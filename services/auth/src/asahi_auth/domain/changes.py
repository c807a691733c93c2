"""What was done by whom, as the audit chain is told in the transaction of the change itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asahi_auth.domain.organizations import SIGNUP, Actor, ApiKey, name_of
from asahi_core.context import current_call

INSTALLATION = ""
"""In place of an organisation's id: the change is of the installation (invites)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who changes something, and from where."""

    actor: str
    address: str = ""
    """Empty: unknown."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was done."""

    organization_id: str
    """Whose chain it belongs to; empty: the installation's."""
    occurred_at: datetime
    origin: Origin
    action: str
    """What was done, for example `api_key.create`."""
    target: str
    """Id of what it was done to; empty where it was done to `user_id`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What changed, as JSON, without secrets and without names of end users."""
    user_id: str = ""
    """The end user that it was done to, to be kept under a pseudonym only."""
    request_id: str = field(default_factory=lambda: current_call.get().request_id)


def origin_of(actor: Actor) -> Origin:
    """Where a change by `actor` comes from."""
    return Origin(name_of(actor), actor.address)


def origin_of_signup(address: str) -> Origin:
    """Where a change comes from while nobody acts yet."""
    return Origin(SIGNUP, address)


def details_of(key: ApiKey) -> dict[str, Any]:
    """What a new key may do."""
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "allowed_models": list(key.allowed_models),
        "expires_at": key.expires_at.isoformat() if key.expires_at is not None else None,
        "rate_limits": dict(key.rate_limits),
        "budgets": list(map(dict, key.budgets)),
    }
