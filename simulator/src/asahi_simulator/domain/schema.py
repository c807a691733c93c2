"""An example document for a JSON schema: the simple cases that tools and structured answers use."""

from collections.abc import Callable, Mapping
from typing import Any

_TEXT = ("a clear example", "a short note", "the first option", "a typical value", "an open point")
_FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "email": "person@example.com",
    "uri": "https://example.com/",
    "uuid": "3f2b8c1e-5d47-4a90-9c36-7e1d2a4b6c80",
    "ipv4": "192.0.2.1",
}
_DEEPEST = 12


def example(schema: Mapping[str, Any], seed: int) -> Any:
    """A document that fits `schema`; different seeds choose different texts, numbers and members of enums."""
    return _Examples(schema, seed).of(schema, 0)


class _Examples:
    def __init__(self, root: Mapping[str, Any], seed: int) -> None:
        self._root = root
        self._seed = seed
        self._makers: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._text,
            "integer": lambda schema, depth: int(self._number(schema, depth)),
            "number": self._number,
            "boolean": lambda _schema, _depth: self._choose(2) == 0,
        }

    def of(self, schema: Any, depth: int) -> Any:
        plain = self._plain(schema, depth)
        if "const" in plain:
            return plain["const"]
        if plain.get("enum"):
            return plain["enum"][self._choose(len(plain["enum"]))]
        make = self._makers.get(_type_of(plain))
        return make(plain, depth) if make is not None else None

    def _plain(self, schema: Any, depth: int) -> Mapping[str, Any]:
        """`schema` with its references followed, its alternatives chosen and its conjunctions folded in."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping) or depth > _DEEPEST:
                return {"const": None}
            if "$ref" in schema:
                schema = self._resolve(str(schema["$ref"]))
            elif schema.get("anyOf") or schema.get("oneOf"):
                schema = (schema.get("anyOf") or schema["oneOf"])[0]
            elif schema.get("allOf"):
                schema = self._merged(schema)
            else:
                return schema
        return {"const": None}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Every property while shallow, then the required ones, so that a recursive schema ends."""
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or ()
        wanted = [name for name in properties if depth < _DEEPEST // 2 or name in required]
        return {name: self.of(properties[name], depth + 1) for name in wanted}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        wanted = int(schema.get("minItems", min(2, schema.get("maxItems", 2))))
        if depth >= _DEEPEST // 2:
            wanted = int(schema.get("minItems", 0))
        return [self.of(schema.get("items", {}), depth + 1) for _ in range(wanted)]

    def _text(self, schema: Mapping[str, Any], _depth: int) -> str:
        text = _FORMATS.get(str(schema.get("format")), _TEXT[self._choose(len(_TEXT))])
        text = text.ljust(int(schema.get("minLength", 0)), ".")
        return text[: int(schema.get("maxLength", len(text)))]

    def _number(self, schema: Mapping[str, Any], _depth: int) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 101) - ("exclusiveMaximum" in schema))
        step = schema.get("multipleOf", 1)
        first = -(-least // step) * step
        steps = max(0, int((most - first) // step))
        return float(first + self._choose(steps + 1) * step)

    def _choose(self, alternatives: int) -> int:
        return self._seed % alternatives

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name:
                found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return found

    def _merged(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """`schema` with the members of its `allOf` folded in."""
        merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
        for member in schema["allOf"]:
            for name, value in self._plain(member, 0).items():
                if name == "properties":
                    merged[name] = {**merged.get(name, {}), **value}
                elif name == "required":
                    merged[name] = [*merged.get(name, ()), *value]
                else:
                    merged[name] = value
        return merged


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    return str(kind)
