"""Small pieces of the OpenAPI document: references, media types, headers."""

from collections.abc import Mapping
from typing import Any

from asahi_edge.api.openapi.examples import EXAMPLES

REFERENCE = "#/components/schemas/{name}"


def reference(kind: type) -> dict[str, str]:
    """A reference to the schema of a struct."""
    return {"$ref": REFERENCE.format(name=kind.__name__)}


def media(schema: Mapping[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON body of `schema` with its examples by name."""
    return {"application/json": {"schema": schema, "examples": {n: {"value": v} for n, v in examples.items()}}}


def struct_media(kind: type) -> dict[str, Any]:
    """A JSON body that is a struct, with the examples there are of it."""
    return referring_media(reference(kind), kind.__name__)


def referring_media(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON body of `schema` with references to the examples of `name`: FastAPI leaves nulls out of what it copies."""
    examples = {title: {"$ref": f"#/components/examples/{_key(name, title)}"} for title in EXAMPLES[name]}
    return {"application/json": {"schema": schema, "examples": examples}}


def example_components() -> dict[str, Any]:
    """Every example by its key."""
    return {
        _key(name, title): {"summary": title, "value": value}
        for name, titled in EXAMPLES.items()
        for title, value in titled.items()
    }


def _key(name: str, title: str) -> str:
    return f"{name}.{title}".replace(" ", "-").replace(",", "")


def _header(description: str, schema: dict[str, Any], example: str) -> dict[str, Any]:
    return {"description": description, "schema": schema, "example": example}


_TEXT: dict[str, Any] = {"type": "string"}
_AMOUNT: dict[str, Any] = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_ID = "01a20da6-23de-7451-967a-afcb49443661"
HEADERS = {
    "x-request-id": _header(
        "The caller's `x-request-id` if it sent a safe one, else Asahi's id.", _TEXT, "my-label-17"
    ),
    "request-id": _header("The same, where Anthropic's SDKs look for it.", _TEXT, "my-label-17"),
    "x-asahi-request-id": _header("Asahi's own id of the request, `request_id` in bodies.", _TEXT, _ID),
    "retry-after": _header("Seconds to wait before another try.", {"type": "string", "pattern": "^[0-9]+$"}, "1"),
    "retry-after-ms": _header("The same in milliseconds.", {"type": "string", "pattern": "^[0-9]+$"}, "1000"),
    "x-should-retry": _header("Tells SDKs whether another try makes sense.", {"enum": ["true", "false"]}, "false"),
    "www-authenticate": _header("How to authenticate.", _TEXT, "Bearer"),
    "x-asahi-model": _header("The model that answered.", _TEXT, "gpt-6.1-terra"),
    "x-asahi-cache": _header("`miss`, `hit; tier=N`, `coalesced` or `bypass`.", _TEXT, "hit; tier=1"),
    "x-asahi-cost-usd": _header("Dollars spent on this call; not on streams that begin before.", _AMOUNT, "0.000448"),
    "x-asahi-savings-usd": _header("Dollars saved; not on streams that begin before.", _AMOUNT, "0.000448"),
    "x-asahi-max-tokens": _header(
        "Most tokens of the answer, where the policy set that limit because the call has a budget.",
        {"type": "string", "pattern": "^[0-9]+$"},
        "4096",
    ),
    "x-asahi-degraded": _header("Services that were left aside because they did not answer.", _TEXT, "cache"),
    "x-asahi-warning": _header(
        "Fields of the body that were ignored.",
        _TEXT,
        "ignored unknown field 'tempratur' (did you mean 'temperature'?)",
    ),
    "etag": _header("The version of the policy, for `If-Match`.", _TEXT, '"3"'),
    "age": _header("Seconds since a cached answer was given.", {"type": "string", "pattern": "^[0-9]+$"}, "12"),
}
ALWAYS = ("x-request-id", "request-id", "x-asahi-request-id")
ON_INFERENCE = (
    *ALWAYS, "x-asahi-model", "x-asahi-cache", "x-asahi-cost-usd", "x-asahi-savings-usd", "x-asahi-max-tokens",
    "x-asahi-degraded", "age",
)  # fmt: skip


def header_references(names: tuple[str, ...]) -> dict[str, Any]:
    """References to response headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Without an example: the page would send it with every request that is tried out."""
    return {"name": name, "in": "header", "description": description, "schema": schema}


_TAG = "[A-Za-z0-9_.-]{1,64}=[A-Za-z0-9_.-]{1,128}"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "x-request-id": _parameter(
        "x-request-id",
        "Your label for the request, such as `my-label-17`: up to 128 letters, digits and `._:/+=@-`; anything else is "
        "replaced.",
        {"type": "string", "maxLength": 128},
    ),
    "cache-control": _parameter(
        "Cache-Control",
        "`no-cache`: do not answer from the cache. `no-store`: nor keep the answer. `max-age=N`: from the cache only "
        "if it is no older than N seconds.",
        {"type": "string"},
    ),
    "x-asahi-cache": _parameter(
        "x-asahi-cache",
        "`off`: leave the cache aside. `exact`: only answers to the very same request. Absent: `on`.",
        {"type": "string", "enum": ["on", "off", "exact"]},
    ),
    "x-asahi-tags": _parameter(
        "x-asahi-tags",
        "Up to ten `name=value` for cost attribution, by commas, such as `team=search,stage=production`.",
        {"type": "string", "pattern": f"^{_TAG}(,{_TAG}){{0,9}}$"},
    ),
    "idempotency-key": _parameter(
        "Idempotency-Key",
        "Not served by this version (501): to ignore it would bill a repeat twice.",
        {"type": "string", "maxLength": 255},
    ),
    "x-asahi-routing": {
        "name": "x-asahi-routing",
        "in": "header",
        "description": 'The routing fields of `/infer`, as JSON, such as `{"latency_budget_ms": 5000}`.',
        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(name="RoutingHeader")}}},
    },
    "if-match": _parameter(
        "If-Match",
        'The ETag that the policy must still have, such as `"3"`; otherwise 409. As `version` in the body.',
        {"type": "string"},
    ),
    "anthropic-version": _parameter(
        "anthropic-version",
        "Any, such as `2023-06-01`, selects Anthropic's shape of answers and errors.",
        {"type": "string"},
    ),
    "anthropic-beta": _parameter(
        "anthropic-beta",
        "Features of Anthropic's API that the body uses; goes on to a provider of the same protocol.",
        {"type": "string"},
    ),
}


def parameters(*names: str) -> list[dict[str, Any]]:
    """Header parameters by name."""
    return [_PARAMETERS[name] for name in names]
