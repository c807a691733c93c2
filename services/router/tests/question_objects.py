"""The objects of which questions are made, by the names of the translation tables: of SDKs' types, and of bodies."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import typing_extensions

from asahi_router.domain.translation.fates import Entry, Fate, Table

_WRAPPERS = (Required, NotRequired, typing_extensions.Required, typing_extensions.NotRequired, Annotated)
_OTHER = "other"
"""An object of several kinds."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a body."""

    name: str
    path: str
    fields: dict[str, Any]


def missing_fields(root: type, table: Table) -> list[str]:
    """What `table` does not say of the request type `root` and of all that it may hold."""
    missing: set[str] = set()
    seen: set[tuple[str, type]] = set()
    waiting = [("request", root)]
    while waiting:
        name, kind = waiting.pop()
        if (name, kind) in seen:
            continue
        seen.add((name, kind))
        entries = table.get(name, table.get(f"{name.partition(':')[0]}:*"))
        if isinstance(entries, Entry):
            continue
        if entries is None:
            missing.add(name)
            continue
        for field, hint in get_type_hints(kind).items():
            entry = entries.get(field)
            if entry is None:
                missing.add(f"{name}: {field}")
            elif entry.fate in {Fate.CARRIED, Fate.TRANSLATED} and not entry.whole:
                waiting += [(_name(name, field, _kind_of(member)), member) for member in _members(hint)]
    return sorted(missing)


def objects_of(body: dict[str, Any], name: str = "request", path: str = "") -> Iterator[Found]:
    """Every object of a body that is a question, outermost first."""
    yield Found(name, path, body)
    for field, value in body.items():
        here = f"{path}.{field}" if path else field
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, dict):
                where = f"{here}[{index}]" if isinstance(value, list) else here
                yield from objects_of(item, _name(name, field, item.get("type") or item.get("role")), where)


def _name(parent: str, field: str, kind: str | None) -> str:
    return f"{field}:{kind}" if kind else f"{parent}/{field}"


def _members(hint: Any) -> list[type]:
    """The objects that a field may hold, in lists as well; what maps any name to any value is none."""
    origin = get_origin(hint)
    if origin in _WRAPPERS:
        return _members(get_args(hint)[0])
    if origin in (Literal, dict):
        return []
    if origin in (Union, types.UnionType) or origin is not None:
        return [member for argument in get_args(hint) for member in _members(argument)]
    return [hint] if typing_extensions.is_typeddict(hint) else []


def _kind_of(kind: type) -> str | None:
    hints = get_type_hints(kind)
    for name in ("type", "role"):
        hint = hints.get(name)
        while get_origin(hint) in (*_WRAPPERS, Union):
            hint = get_args(hint)[0]
        if get_origin(hint) is Literal:
            values = get_args(hint)
            return str(values[0]) if len(values) == 1 else _OTHER
        if hint is not None:
            return _OTHER
    return None
