"""Reads the annotated values of a chart: each key with its comment, its default and what values it takes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
_ANNOTATION = "# @schema "
_NAMES = {
    "secret": {"pattern": "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"},
    "label": {"pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
}
_QUANTITY: Schema = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(m|[kMGT]i?)?$"}
_AMOUNTS: Schema = {
    "type": "object",
    "properties": {
        "cpu": {"anyOf": [_QUANTITY, {"type": "number"}]},
        "memory": _QUANTITY,
        "ephemeral-storage": _QUANTITY,
    },
    "additionalProperties": False,
}
_OF: dict[str, Schema] = {
    "quantity": _QUANTITY,
    "resources": {
        "type": "object",
        "properties": {"requests": _AMOUNTS, "limits": _AMOUNTS},
        "required": ["requests"],
        "additionalProperties": False,
    },
    "probe": {
        "type": "object",
        "properties": {
            name: {"type": "integer", "minimum": 1} for name in ("periodSeconds", "timeoutSeconds", "failureThreshold")
        },
        "required": ["periodSeconds", "timeoutSeconds", "failureThreshold"],
        "additionalProperties": False,
    },
    "subchart": {"type": "object", "properties": {"enabled": {"type": "boolean"}}},
}


@dataclass(frozen=True, slots=True)
class Value:
    """A key of values.yaml. One with `inner` is a map whose keys are known."""

    name: str
    comment: str
    default: Any
    schema: Schema
    inner: tuple["Value", ...] = ()
    lines: tuple[str, ...] = field(default=(), repr=False)
    """As they stand in the source, without annotations."""


def read_values(path: Path, service: str) -> list[Value]:
    """The top-level keys of an annotated source, `@service@` replaced.

    Raises:
        ValueError: a key has no comment.
    """
    lines = path.read_text(encoding="utf-8").replace("@service@", service).splitlines()
    node = yaml.compose("\n".join(lines))
    assert isinstance(node, yaml.MappingNode)
    return list(_values(node, lines, path.name))


def schema_of(values: list[Value] | tuple[Value, ...]) -> Schema:
    """The closed schema of a map with these keys."""
    return {
        "type": "object",
        "properties": {value.name: _described(value) for value in values},
        "additionalProperties": False,
    }


def leaves(values: list[Value] | tuple[Value, ...], above: str = "") -> Iterator[tuple[str, Value]]:
    """Every key that takes a value, by its dotted name."""
    for value in values:
        name = f"{above}{value.name}"
        if value.inner:
            yield from leaves(value.inner, f"{name}.")
        else:
            yield name, value


def _described(value: Value) -> Schema:
    schema = schema_of(value.inner) if value.inner else value.schema
    return {"description": value.comment, **schema} if value.comment else schema


def _values(node: yaml.MappingNode, lines: list[str], file: str) -> Iterator[Value]:
    for key, content in node.value:
        comment, annotation = _comment(lines, key.start_mark.line)
        default = yaml.safe_load(yaml.serialize(content))
        fixed = any(name in annotation for name in ("$of", "additionalProperties"))
        nested = isinstance(content, yaml.MappingNode) and content.value and not fixed
        inner = tuple(_values(content, lines, file)) if nested and isinstance(content, yaml.MappingNode) else ()
        if not comment and not inner:
            raise ValueError(f"{file}:{key.start_mark.line + 1}: {key.value} has no comment")
        yield Value(key.value, comment, default, _schema(default, annotation), inner, _source(key, content, lines))


def _comment(lines: list[str], at: int) -> tuple[str, Schema]:
    first = at
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    above = [line.strip() for line in lines[first:at]]
    told = [line.removeprefix("#").strip() for line in above if not line.startswith(_ANNOTATION)]
    noted = [json.loads(line.removeprefix(_ANNOTATION)) for line in above if line.startswith(_ANNOTATION)]
    return " ".join(told), noted[0] if noted else {}


def _source(key: yaml.Node, content: yaml.Node, lines: list[str]) -> tuple[str, ...]:
    first, last = key.start_mark.line, content.end_mark.line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    if content.end_mark.column:
        last += 1
    block = [line for line in lines[first:last] if not line.strip().startswith(_ANNOTATION)]
    while block and (not block[-1].strip() or block[-1].startswith("#")):
        block.pop()
    return tuple(block)


def _schema(default: Any, annotation: Schema) -> Schema:
    more = dict(annotation)
    of, name = more.pop("$of", None), more.pop("$name", None)
    if of is not None:
        return _OF[of]
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    schema: Schema = {"type": kinds[type(default)], **(_NAMES[name] if name else {}), **more}
    if schema["type"] == "array" and "items" not in schema:
        schema["items"] = {"type": "object"}
    return schema
