"""Limits of keys: what a new key may have of what its maker has."""

from collections.abc import Mapping
from typing import Any

from asahi_core.errors import InsufficientScope

_NAMES = ("requests_per_minute", "tokens_per_minute")


def limits_given(maker: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "rate_limits") -> dict[str, Any]:
    """The limits of a new key, its maker's where nothing is said; as the HTTP contract writes them.

    Raises:
        InsufficientScope: one is above the maker's.
    """
    given: dict[str, Any] = {}
    for name in _NAMES:
        most, asked = maker.get(name), wanted.get(name)
        if most is not None and asked is not None and asked > most:
            message = f"A key gives no more than it has: '{path}.{name}' is {asked}, its maker's {most}."
            raise InsufficientScope(message, param=f"{path}.{name}")
        if asked is not None or most is not None:
            given[name] = asked if asked is not None else most
    if "per_user" in maker or "per_user" in wanted:
        per_user = limits_given(maker.get("per_user", {}), wanted.get("per_user", {}), f"{path}.per_user")
        if per_user:
            given["per_user"] = per_user
    return given
