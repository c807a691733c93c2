"""Who may open which path, for whose data: the rules by which `docs/governance.md` is written and the edge is held.

    python -m tests.access_matrix

The rows come from the edge's OpenAPI document: a new path has a row, and is asked, without anybody thinking of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.api_contract import OPERATOR, PUBLIC, Operation, openapi_document, operations
from tests.documents import ROOT

PAGE = ROOT / "docs" / "governance.md"
SCOPES = ("infer", "analytics", "admin", "all")
CALLERS = (*SCOPES, OPERATOR)
STATES = {"revoked": "401", "expired": "401", "suspended": "403"}
"""What a key without effect is answered with, on every path that needs one."""
Whose = Literal["own", "foreign", "unknown"]
WHOSE: tuple[Whose, ...] = ("own", "foreign", "unknown")
OPENS = "yes"
_OPENED_BY = {
    "infer": {"infer", "admin", "all"},
    "analytics": {"analytics", "admin", "all"},
    "admin": {"admin", "all", OPERATOR},
    OPERATOR: {OPERATOR},
}
_THINGS = ("api_key_id", "invite_id", "response_id")
_MARKED = re.compile(r"(?<=<!-- generated: access -->\n).*?(?=\n<!-- end of access -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request names something that belongs to somebody."""

    where: Literal["path", "query", "body"]
    name: str

    @property
    def is_organization(self) -> bool:
        """Whether it names an organisation; otherwise a key, an invite, a response or a request."""
        return self.name in {"organization_id", "org_id"}


@dataclass(frozen=True, slots=True)
class Row:
    """A method of a path."""

    operation: Operation
    places: tuple[Place, ...]
    """Organisations first."""
    body: Any
    """The first example of its body; None: it has none."""

    @property
    def label(self) -> str:
        """The row's name."""
        return f"{self.operation.method} {self.operation.path}"

    def expected(self, caller: str, whose: Whose, place: Place | None) -> str:
        """`yes`, or the status that refuses `caller` whose request names at `place` what is `whose`."""
        scope = self.operation.scope
        if scope == PUBLIC:
            return OPENS
        if caller not in _OPENED_BY[scope]:
            return "401" if caller == OPERATOR else "403"
        if whose != "own" and place is not None and self._is_refused(caller, whose, place):
            return "403" if place.is_organization else "404"
        return OPENS

    def cell(self, caller: str) -> str:
        """The table's cell: own, and foreign and unknown where they differ."""
        place = self.places[-1] if self.places else None
        told = [self.expected(caller, whose, place) for whose in WHOSE]
        return told[0] if len(set(told)) == 1 else " / ".join(told)

    def _is_refused(self, caller: str, whose: Whose, place: Place) -> bool:
        """Whether naming what is not the caller's is. The operator acts for all who are there."""
        return whose == "unknown" or caller != OPERATOR or not place.is_organization


def rows(document: dict[str, Any]) -> list[Row]:
    """A row for every method of every path."""
    return [Row(one, tuple(_places(one, document)), _example(one, document)) for one in operations(document)]


def _places(operation: Operation, document: dict[str, Any]) -> Iterator[Place]:
    body = _body_schema(operation, document)
    if "{org_id}" in operation.path:
        yield Place("path", "org_id")
    for query in operation.query:
        if query["name"] in {"organization_id", "org_id"}:
            yield Place("query", query["name"])
    if "organization_id" in body.get("properties", {}):
        yield Place("body", "organization_id")
    for name in _THINGS:
        if f"{{{name}}}" in operation.path:
            yield Place("path", name)
    if "request_id" in body.get("required", ()):
        yield Place("body", "request_id")


def _spec(operation: Operation, document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][operation.path][operation.method.lower()]
    return found


def _body_schema(operation: Operation, document: dict[str, Any]) -> dict[str, Any]:
    content = _spec(operation, document).get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    schema: dict[str, Any] = document["components"]["schemas"].get(name, {})
    return schema


def _example(operation: Operation, document: dict[str, Any]) -> Any:
    content = _spec(operation, document).get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in content.get("examples", {}).values():
        return document["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"]
    return None


def table(document: dict[str, Any]) -> str:
    """The table of the page."""
    head = ("path", *CALLERS, *STATES)
    lines = [head, tuple("---" for _ in head)]
    lines += [
        (f"`{row.label}`", *(row.cell(caller) for caller in CALLERS), *STATES.values())
        for row in rows(document)
        if row.operation.scope != PUBLIC
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def page_with(part: str, page: str) -> str:
    """`page` with the table as it should be."""
    if not _MARKED.search(page):
        raise ValueError(f"{PAGE.name} has no marker for the table")
    return _MARKED.sub(lambda _: f"\n{part}\n", page)


def main() -> None:
    """Writes the page anew."""
    PAGE.write_text(page_with(table(openapi_document()), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
