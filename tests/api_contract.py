"""Writes the tables of docs/API_CONTRACT.md from the edge's OpenAPI document and the table of errors.

    python -m tests.api_contract

The page's prose is written by hand; what stands between a marker and its end is made here.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from asahi_core.errors import ERRORS_BY_CODE, AsahiError, Cancelled
from asahi_edge.api.app import build_app
from asahi_edge.api.services import EdgeServices
from tests.documents import ROOT

PAGE = ROOT / "docs" / "API_CONTRACT.md"
SCOPES = ("infer", "analytics", "admin")
OPERATOR = "operator"
PUBLIC = "none"
_REQUIRED = "required"
_MARKED = re.compile(
    r"(?P<begin><!-- generated: (?P<name>\w+) -->\n).*?(?P<end>\n<!-- end of (?P=name) -->)", re.DOTALL
)
_REF = "#/components/schemas/"
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_SIZES = (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries"))


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    tag: str
    summary: str
    statuses: tuple[str, ...]
    schemas: tuple[str, ...]
    """Of its body and its answer, by name."""
    query: tuple[dict[str, Any], ...]
    keyless: bool
    """Whether keys do not open it, but the operator's secret."""

    @property
    def scope(self) -> str:
        """The scope of the keys that open it; `none`: it needs no key; `operator`: the operator's secret opens it."""
        if self.path == "/signup" or self.path.startswith("/health"):
            return PUBLIC
        if self.path == "/metrics" or self.path.startswith("/analytics/"):
            return "analytics"
        if self.keyless:
            return OPERATOR
        return "admin" if self.path.startswith("/governance/") else "infer"


def openapi_document() -> dict[str, Any]:
    """The document that the edge serves at `/openapi.json`, without a running edge."""
    return build_app(cast(EdgeServices, None), asyncio.Event()).openapi()


def operations(document: dict[str, Any]) -> list[Operation]:
    """All of them, tag by tag in the order of the document's tags."""
    order = [tag["name"] for tag in document["tags"]]
    found = [
        Operation(
            method=method.upper(),
            path=path,
            tag=operation["tags"][0],
            summary=_first_line(operation.get("description") or operation["summary"]),
            statuses=tuple(sorted(operation["responses"])),
            schemas=tuple(_schemas_of(operation)),
            query=tuple(one for one in operation.get("parameters", ()) if one["in"] == "query"),
            keyless=operation["security"] == [{"x-admin-secret": []}],
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda one: order.index(one.tag))


def tables(document: dict[str, Any]) -> dict[str, str]:
    """The generated parts of the page by name."""
    found = operations(document)
    return {
        "paths": _path_tables(found),
        "query": _query_table(found),
        "bodies": _body_tables(document["components"]["schemas"], found),
        "errors": _error_table(),
    }


def page_with(parts: dict[str, str], page: str) -> str:
    """`page` with its generated parts as they should be."""
    unknown = {match["name"] for match in _MARKED.finditer(page)} ^ parts.keys()
    if unknown:
        raise ValueError(f"{PAGE.name}: no such marker, or no such part: {', '.join(sorted(unknown))}")
    return _MARKED.sub(lambda match: f"{match['begin']}\n{parts[match['name']]}\n{match['end']}", page)


def _path_tables(served: list[Operation]) -> str:
    parts = []
    for tag in dict.fromkeys(one.tag for one in served):
        rows = (
            (_name(one), one.summary, one.scope, ", ".join(f"[`{s}`](#{s.lower()})" for s in one.schemas) or "OpenAI's",
             " ".join(one.statuses))
            for one in served if one.tag == tag
        )  # fmt: skip
        parts.append(f"### {tag}\n\n{_table(('path', 'does', 'scope', 'body, answer', 'statuses'), rows)}")
    return "\n\n".join(parts)


def _query_table(served: list[Operation]) -> str:
    rows = (
        (
            _name(one),
            f"`{query['name']}`",
            _kind(query["schema"]),
            _default(query["schema"], query.get("required", False)),
            _cell(query.get("description", "")),
        )
        for one in served
        for query in one.query
    )
    return _table(("path", "parameter", "type", "default", "meaning"), rows)


def _body_tables(schemas: dict[str, Any], served: list[Operation]) -> str:
    wanted = dict.fromkeys(name for one in served for name in one.schemas)
    for name in schemas:  # those that streams carry, and errors, are named by no JSON body
        wanted.setdefault(name)
    reached: dict[str, None] = {}
    for name in wanted:
        _reach(name, schemas, reached)
    return "\n\n".join(_body_table(name, schemas[name]) for name in reached)


def _reach(name: str, schemas: dict[str, Any], reached: dict[str, None]) -> None:
    """Adds a schema, and after it those that it names."""
    if name in reached:
        return
    reached[name] = None
    for inner in _names_in(schemas[name]):
        _reach(inner, schemas, reached)


def _body_table(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{field}`", _kind(value), _default(value, field in required), _cell(value.get("description", "")))
        for field, value in schema.get("properties", {}).items()
    ]
    about = _first_line(schema.get("description", ""))
    if all(default == _REQUIRED for _, _, default, _ in rows):
        table = _table(("field", "type", "meaning"), ((field, kind, meaning) for field, kind, _, meaning in rows))
    else:
        table = _table(("field", "type", "default", "meaning"), rows)
    return f"### {name}\n\n{about}\n\n{table}"


def _error_table() -> str:
    known = [error for code, error in ERRORS_BY_CODE.items() if error is not Cancelled]
    known.sort(key=lambda error: (error.http_status, error.code))
    rows = (
        (str(error.http_status), f"`{error.code}`", f"`{error.openai_type}`", _cell(_about(error)), _retried(error))
        for error in known
    )
    return _table(("status", "code", "type", "when", "SDKs try again"), rows)


def _about(error: type[AsahiError]) -> str:
    if error.http_status == 500:
        return "Something broke inside Asahi; the log has the cause under the request's id."
    return _first_line(error.__doc__ or "").replace("organisation", "organization")


def _retried(error: type[AsahiError]) -> str:
    retries = error.http_status >= 500 if error.should_retry is None else error.should_retry
    by_status = error.should_retry is None and error.http_status in {408, 409, 429}
    return "yes" if retries or by_status else "no"


def _kind(schema: dict[str, Any]) -> str:
    """What a value looks like, in a few words."""
    if "anyOf" in schema:
        return "; or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    elif isinstance(schema.get("additionalProperties"), dict):
        kind = f"object of {_kind(schema['additionalProperties'])}"
    limits = [f"{sign} {_number(schema[name])}" for name, sign in _LIMITS.items() if name in schema]
    sizes = [
        f"{schema.get(least, 0)} to {_number(schema[most])} {units}" for least, most, units in _SIZES if most in schema
    ]
    return ", ".join([kind, *limits, *sizes])


def _number(value: float) -> str:
    return f"{value:,}".replace(",", " ")


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return _REQUIRED
    return f"`{str(schema['default']).lower()}`" if schema.get("default") not in (None, "") else "none"


def _schemas_of(operation: dict[str, Any]) -> Iterator[str]:
    for part in (operation.get("requestBody", {}), *_good(operation["responses"])):
        for media in part.get("content", {}).values():
            if "$ref" in media["schema"]:
                yield media["schema"]["$ref"].removeprefix(_REF)


def _good(responses: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (response for status, response in responses.items() if status.startswith("2"))


def _names_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(_REF)
        for value in schema.values():
            yield from _names_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _names_in(value)


def _name(operation: Operation) -> str:
    return f"`{operation.method} {operation.path}`"


def _first_line(text: str) -> str:
    return text.strip().partition("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Writes the page anew."""
    PAGE.write_text(page_with(tables(openapi_document()), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
