"""The OpenAPI document: routes from FastAPI, schemas from the structs that validate and answer."""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from asahi_edge.api import schemas
from asahi_edge.api.json import Dollars

_REF = "#/components/schemas/{name}"
_DOCUMENTED = (
    schemas.InferBody,
    schemas.InferAnswer,
    schemas.StreamDecision,
    schemas.StreamDelta,
    schemas.AsahiObject,
    schemas.ErrorBody,
    schemas.SignupBody,
    schemas.SignupAnswer,
    schemas.ApiKeyBody,
    schemas.ApiKeyView,
    schemas.ApiKeyList,
    schemas.CostSummaryAnswer,
    schemas.Catalog,
    schemas.OpenAIModelList,
    schemas.OpenAIModel,
    schemas.AnthropicModelList,
    schemas.MetricsAnswer,
    schemas.InferenceList,
    schemas.CachePerformanceAnswer,
    schemas.UsageAnswer,
    schemas.CacheInvalidationBody,
    schemas.CacheInvalidationAnswer,
    schemas.FeedbackBody,
    schemas.FeedbackAnswer,
    schemas.AnthropicErrorBody,
    schemas.HealthView,
    schemas.ProbeView,
)
_MEANINGS = {
    400: "The request cannot be understood; `param` names the field.",
    401: "The key is missing or not valid.",
    403: "The key may not do this.",
    404: "No such thing, or not yours.",
    413: "The body is over the configured limit.",
    415: "The body is not JSON.",
    422: "No allowed model meets the constraints; the message says which one binds, and by how much.",
    501: "A documented path, field or header that this version does not serve yet.",
    502: "The provider refused, for a reason that is not load.",
    503: "A needed service or provider does not answer; see `retry-after`.",
    504: "The latency budget or the server's limit ran out.",
}
EVENTS = {"text/event-stream": {"schema": {"type": "string", "description": "With `stream`: server-sent events."}}}
PLAIN_TEXT = {"text/plain": {"schema": {"type": "string", "description": "Prometheus' text format."}}}
_TAGS = [
    {"name": "Start here", "description": "Get an organization and a key."},
    {"name": "Inference", "description": "Asahi's own API, with budgets, routing and prices."},
    {"name": "OpenAI-compatible", "description": "Change the base URL of an OpenAI SDK, nothing else."},
    {"name": "Anthropic-compatible", "description": "Change the base URL of an Anthropic SDK, nothing else."},
    {"name": "Models", "description": "What there is to choose from."},
    {"name": "Analytics", "description": "What was spent and saved."},
    {"name": "Governance", "description": "Keys, usage and cache of an organization."},
    {"name": "Health", "description": "State of the installation."},
]


def documented(
    *,
    answer: type,
    errors: Sequence[int],
    body: type | None = None,
    optional_body: bool = False,
    status: int = 200,
    also: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Arguments of a route decorator: the schemas of its body, its answer and its errors.

    `also` holds further media types of the answer.
    """
    content = _json(_ref(answer)) | (also or {})
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": (answer.__doc__ or "").strip(), "content": content}
    }
    for code in errors:
        responses[code] = {"description": _MEANINGS[code], "content": _json(_ref(schemas.ErrorBody))}
    extra = {}
    if body is not None:
        extra["requestBody"] = {"required": not optional_body, "content": _json(_ref(body))}
    return {"status_code": status, "responses": responses, "openapi_extra": extra}


def documented_later() -> dict[str, Any]:
    """Arguments of the route decorator of a path that this version does not serve."""
    responses: dict[int | str, dict[str, Any]] = {
        code: {"description": _MEANINGS[code], "content": _json(_ref(schemas.ErrorBody))}
        for code in (401, 403, 501, 503)
    }
    return {"status_code": 501, "responses": responses}


def documented_openai_chat() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/chat/completions`, whose bodies are OpenAI's."""
    message = {
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"type": "string"}, "content": {}},
        "additionalProperties": True,
    }
    body = {
        "type": "object",
        "description": "OpenAI's request; fields not listed here are passed to the provider.",
        "required": ["messages"],
        "properties": {
            "model": {"type": ["string", "null"], "description": "Omitted, `asahi` or `auto`: Asahi chooses."},
            "messages": {"type": "array", "minItems": 1, "items": message},
        },
        "additionalProperties": True,
        "example": {"model": "asahi", "messages": [{"role": "user", "content": "Explain async/await in Python."}]},
    }
    answer = {
        "type": "object",
        "description": "OpenAI's answer, with `asahi` added.",
        "properties": {"asahi": _ref(schemas.AsahiObject)},
        "additionalProperties": True,
    }
    arguments = documented(answer=schemas.AsahiObject, errors=(400, 401, 403, 404, 413, 415, 422, 501, 502, 503, 504))
    arguments["responses"][200] = {"description": "The provider's answer.", "content": _json(answer) | EVENTS}
    arguments["openapi_extra"] = {"requestBody": {"required": True, "content": _json(body)}}
    return arguments


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
        )
        _, components = msgspec.json.schema_components(_DOCUMENTED, schema_hook=_dollars_schema, ref_template=_REF)
        parts = document.setdefault("components", {})
        parts["schemas"] = dict(sorted(components.items()))
        parts["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "`ask_…`"},
            "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        document["security"] = [{"key": []}, {"x-api-key": []}]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _drop_framework_errors(operation)
                if path == "/signup" or path.startswith("/health"):
                    operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


def _drop_framework_errors(operation: dict[str, Any]) -> None:
    """FastAPI announces a 422 of its own for every parameter; ours are 400."""
    schema = operation["responses"].get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("$ref", "").endswith("HTTPValidationError"):
        del operation["responses"]["422"]


def _dollars_schema(kind: type) -> dict[str, Any]:
    if kind is Dollars:
        return {"type": "number", "description": "Dollars, exact to nine decimals.", "examples": [0.000123456]}
    raise NotImplementedError(kind)


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
