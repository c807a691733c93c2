"""What keys open."""

from collections.abc import Collection
from enum import StrEnum

from asahi_core.errors import InsufficientScope


class Scope(StrEnum):
    """What a key opens, as people write it."""

    INFER = "infer"
    """Inference, quotes, models, feedback."""
    ANALYTICS = "analytics"
    """Metrics and analytics."""
    ADMIN = "admin"
    """Everything of the key's own organisation, governance included."""
    ALL = "all"
    """The same as admin."""


_GOVERN = {Scope.ADMIN, Scope.ALL}
"""They open everything, so who governs may give any scope."""


def check_governs(scopes: Collection[Scope]) -> None:
    """Raises InsufficientScope unless `scopes` open governance."""
    if _GOVERN.isdisjoint(scopes):
        raise InsufficientScope(f"Keys are governed with the scope 'admin'; the key has '{_names(scopes)}'.")


def _names(scopes: Collection[Scope]) -> str:
    return ", ".join(scopes)
