"""What keys open, and who may give what to a new key."""

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


_EVERYTHING = frozenset(Scope)


def opened_by(scopes: Collection[Scope]) -> frozenset[Scope]:
    """All that `scopes` open: each itself, admin and all everything."""
    if Scope.ADMIN in scopes or Scope.ALL in scopes:
        return _EVERYTHING
    return frozenset(scopes)


def check_scopes_given(maker: Collection[Scope], wanted: Collection[Scope]) -> None:
    """Raises InsufficientScope if `wanted` open more than the maker's own."""
    beyond = opened_by(wanted) - opened_by(maker)
    if beyond:
        raise InsufficientScope(
            f"A key gives no more than it has: '{_names(wanted)}' is asked for, the maker has '{_names(maker)}'.",
            param="scopes",
        )


def check_governs(scopes: Collection[Scope]) -> None:
    """Raises InsufficientScope unless `scopes` open governance."""
    if Scope.ADMIN not in opened_by(scopes):
        raise InsufficientScope(f"Keys are governed with the scope 'admin'; the key has '{_names(scopes)}'.")


def _names(scopes: Collection[Scope]) -> str:
    return ", ".join(scopes)
