"""What a new key shall be, and that it is no more than its maker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from asahi_auth.domain.acting import Acting
from asahi_auth.domain.budgets import budgets_given
from asahi_auth.domain.limits import limits_given
from asahi_auth.domain.model_patterns import allows_no_more
from asahi_auth.domain.scopes import Scope
from asahi_core.errors import InsufficientScope


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
    """None: as its maker."""
    rate_limits: Mapping[str, Any] = field(default_factory=dict)
    """Empty: as its maker."""
    budgets: tuple[Mapping[str, Any], ...] = ()
    """Beside its maker's, as the HTTP contract writes them."""


def given(maker: Acting, wanted: Wanted) -> Wanted:
    """What the new key shall be, with what its maker has where nothing is said.

    Raises:
        InsufficientScope: it would have more than its maker.
    """
    key = maker.key
    if key is None:
        return wanted
    if key.expires_at is not None and wanted.expires_at is not None and wanted.expires_at > key.expires_at:
        raise InsufficientScope(
            f"A key gives no more than it has: it expires at {key.expires_at.isoformat()}.", param="expires_at"
        )
    return replace(
        wanted,
        allowed_models=_models_given(key.allowed_models, wanted.allowed_models),
        expires_at=wanted.expires_at or key.expires_at,
        rate_limits=limits_given(key.rate_limits, wanted.rate_limits),
        budgets=budgets_given(key.budgets, wanted.budgets),
    )


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
