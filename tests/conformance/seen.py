"""What an SDK's user sees of an answer, without what is another with every answer."""

from typing import Any

_EVERY_TIME = frozenset({"id", "created", "asahi"})
"""Ids and times are new with every answer; `asahi` is what Asahi documents that it adds."""


def of(value: Any) -> Any:
    """`value` (models, lists, built-ins) as built-ins, with the types of the models."""
    if hasattr(value, "to_dict"):
        return {"type of it": type(value).__name__, **timeless(value.to_dict(exclude_unset=False, mode="json"))}
    if isinstance(value, list | tuple):
        return [of(item) for item in value]
    if isinstance(value, dict):
        return {name: of(item) for name, item in value.items()}
    return value


def timeless(value: Any) -> Any:
    """`value` of built-ins without that. Ids of tool calls are part of the answer: they stay."""
    if isinstance(value, dict):
        is_call = value.get("type") in {"tool_use", "function"} or "function" in value
        kept = _EVERY_TIME - {"id"} if is_call else _EVERY_TIME
        return {name: timeless(item) for name, item in value.items() if name not in kept}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value
