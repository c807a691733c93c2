"""Refuses JSON that parsers read differently: names given twice, nesting so deep or parts so many that some give up.

All matter because a body goes on to a provider: what Asahi checked must be what the provider reads.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from asahi_core.errors import InvalidRequest

MAX_DEPTH = 128
MAX_VALUES, MAX_NODES = 1_000_000, 100_000
"""A list takes thirty times the memory that it has in the body, and its share of every collection of garbage."""
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
"""Possessive: a text of megabytes leaves nothing behind to go back to."""


def require_few_values(body: bytes) -> None:
    """Raises InvalidRequest if `body` has more than `MAX_VALUES` values or `MAX_NODES` lists and objects."""
    if _within(*_parts(body)):
        return
    values, nodes = _parts(_TEXTS.sub(b"", body))
    if not _within(values, nodes):
        raise InvalidRequest(
            f"The body has {nodes} lists and objects, and {values} values; at most {MAX_NODES} and {MAX_VALUES} are "
            "taken."
        )


def _parts(body: bytes) -> tuple[int, int]:
    """Values and nodes, those that are written in texts included."""
    nodes = body.count(b"[") + body.count(b"{")
    return body.count(b",") + nodes, nodes


def _within(values: int, nodes: int) -> bool:
    return values <= MAX_VALUES and nodes <= MAX_NODES


def require_shallow(body: bytes, decoded: dict[str, Any]) -> None:
    """Raises InvalidRequest if objects and lists are nested more than `MAX_DEPTH` deep."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    level: list[Any] = [decoded]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise InvalidRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")


def require_unique_names(body: bytes, decoded: dict[str, Any], encode: Callable[[Any], bytes]) -> None:
    """Raises InvalidRequest if an object of `body` has a name twice; `decoded` has lost all but the last.

    Every pair that was lost had a colon: if `decoded`, written again, has as many, nothing was lost. (A colon may also
    be written as an escape; only such bodies, and those that have lost something, are read with care.)
    """
    escaped = b"\\u003a" in body or b"\\u003A" in body
    if not escaped and body.count(b":") == encode(decoded).count(b":"):
        return
    json.loads(body, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            shown = name[:100]
            raise InvalidRequest(f"The body has the field {shown!r} twice in one object; send it once.", param=shown)
        names.add(name)
