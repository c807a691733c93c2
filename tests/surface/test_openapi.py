"""The OpenAPI document is a reference: nothing without a description, nothing without an example, all of it true."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from tests.api_contract import openapi_document
from tests.installation import Installation

DOCUMENT = openapi_document()
OPERATIONS = [
    pytest.param(operation, id=f"{method.upper()} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
SCHEMAS = DOCUMENT["components"]["schemas"]
_OPEN = {"alerts", "exploration", "document_id", "tag"}
"""Fields of later versions: their form is not told yet."""


def resolved(node: Any) -> Any:
    """What a reference refers to."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Body and answers of an operation: where, media type, content."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "body", media, content
    for status, response in operation["responses"].items():
        for media, content in resolved(response)["content"].items():
            yield status, media, content


def examples(content: dict[str, Any]) -> list[Any]:
    """All examples of a content."""
    return [resolved(one)["value"] for one in content.get("examples", {}).values()] + [
        content[name] for name in ("example",) if name in content
    ]


def fits(schema: dict[str, Any], value: Any) -> None:
    """Raises if `value` does not fit `schema`."""
    jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    ).validate(value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_says_what_it_is(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["description"]
    for field, value in schema["properties"].items():
        known = resolved(value)
        assert value.get("description") or known.get("description"), field
        kinds = known.get("anyOf", [known])
        assert field in _OPEN or all("type" in resolved(k) or "enum" in resolved(k) for k in kinds), field


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_words_security_and_examples_that_fit(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert re.fullmatch(r"[a-z0-9_]+", operation["operationId"])
    assert len(operation["tags"]) == 1
    assert "security" in operation
    for parameter in operation.get("parameters", ()):
        assert parameter["description"]
    for where, media, content in contents(operation):
        shown = examples(content)
        assert shown, f"{where} {media} has no example"
        if media == "application/json":
            for example in shown:
                fits(content["schema"], example)
    for response in operation["responses"].values():
        assert resolved(response)["description"]
        assert "x-request-id" in resolved(response)["headers"]


def test_tags_come_in_the_order_a_newcomer_reads() -> None:
    order = [tag["name"] for tag in DOCUMENT["tags"]]
    assert order[:2] == ["Start here", "Inference"]
    used = {operation["tags"][0] for methods in DOCUMENT["paths"].values() for operation in methods.values()}
    assert used == set(order)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_placeholder_of_a_path_is_a_parameter(path: str) -> None:
    for operation in DOCUMENT["paths"][path].values():
        told = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert told == set(re.findall(r"{(\w+)}", path))


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_only_signup_and_health_need_no_key_and_only_governance_takes_the_operators_secret() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            schemes = {name for one in operation["security"] for name in one}
            if path == "/signup" or path.startswith("/health"):
                assert schemes == set()
            elif path.startswith(("/governance/organizations", "/governance/invites", "/governance/repricings")):
                assert schemes == {"x-admin-secret"}
            else:
                assert {"bearer", "x-api-key"} <= schemes
                assert ("x-admin-secret" in schemes) == path.startswith("/governance/")


def test_the_edge_serves_the_document_and_pages_with_assets_of_its_own(surface: Installation) -> None:
    with httpx2.Client(base_url=surface.url, timeout=30.0, verify=False) as client:
        assert client.get("/openapi.json").json() == DOCUMENT
        for page in ("/docs", "/redoc"):
            text = client.get(page).text
            links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", text)
            assert links
            for link in links:
                assert link.startswith("/"), f"{page} takes {link} from elsewhere"
                assert client.get(link).status_code == 200, link
