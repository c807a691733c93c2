"""Schemas of structs as a reader wants them: what is required first, limits beside the kind, no defaults of null."""

from collections.abc import Sequence
from typing import Any

import msgspec

from asahi_edge.api.json import Dollars
from asahi_edge.api.openapi.components import REFERENCE


def struct_schemas(structs: Sequence[type]) -> dict[str, Any]:
    """The schemas of `structs` and of all that they contain, by name."""
    _, found = msgspec.json.schema_components(structs, schema_hook=_schema_of, ref_template=REFERENCE)
    return {name: _whole(schema) for name, schema in sorted(found.items())}


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    required = schema.get("required", [])
    fields = schema.get("properties", {})
    order = [*required, *(name for name in fields if name not in required)]
    return {**schema, "properties": {name: _field(fields[name]) for name in order}}


def _field(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with what may be null told in its kind, where that is one kind."""
    found = {name: value for name, value in schema.items() if name != "default" or value is not None}
    if "enum" in found:
        found["type"] = _kind_of(found["enum"])
    options = found.get("anyOf", [])
    null = {"type": "null"}
    if len(options) == 2 and null in options:
        one = _field(next(option for option in options if option != null))
        if "$ref" not in one and "anyOf" not in one:
            del found["anyOf"]
            found = {**one, **found, "type": [one["type"], "null"]}
            if "enum" in found:
                found["enum"] = [*found["enum"], None]
    return found


def _kind_of(values: Sequence[Any]) -> str | list[str]:
    kind = "string" if any(isinstance(value, str) for value in values) else "integer"
    return [kind, "null"] if None in values else kind


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is Dollars:
        return {"type": "number", "description": "Dollars, exact to nine decimals.", "examples": [0.000123456]}
    raise NotImplementedError(kind)
