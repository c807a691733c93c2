"""The whole OpenAPI document."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from asahi_edge.api.errors import anthropic_type
from asahi_edge.api.openapi.components import HEADERS, example_components
from asahi_edge.api.openapi.errors import error_responses
from asahi_edge.api.openapi.structs import struct_schemas
from asahi_edge.api.schemas import (
    analytics,
    anthropic,
    embeddings,
    errors,
    figures,
    health,
    inference,
    models,
    openai,
    outlook,
    reconciliation,
    responses,
)
from asahi_edge.api.schemas.governance import (
    alerts,
    api_keys,
    audit,
    cache,
    compliance,
    invites,
    organizations,
    policies,
    prices,
    receipts,
    signup,
    usage,
)

_STRUCTS = (
    inference.InferBody,
    inference.InferAnswer,
    inference.CacheExpectation,
    inference.QuoteAnswer,
    inference.StreamDecision,
    inference.StreamDelta,
    inference.AsahiObject,
    inference.RoutingHeader,
    inference.FeedbackBody,
    openai.ChatBody,
    responses.ResponsesBody,
    responses.InputItemList,
    responses.DeletedResponse,
    embeddings.EmbeddingsBody,
    anthropic.MessagesBody,
    anthropic.CountTokensBody,
    anthropic.CountTokensAnswer,
    inference.FeedbackAnswer,
    errors.ErrorBody,
    errors.AnthropicErrorBody,
    signup.SignupBody,
    signup.SignupAnswer,
    api_keys.ApiKeyBody,
    api_keys.ApiKeyView,
    api_keys.ApiKeyList,
    api_keys.RotationBody,
    api_keys.RotatedKey,
    organizations.OrganizationBody,
    organizations.OrganizationView,
    organizations.OrganizationList,
    invites.InviteBody,
    invites.InviteView,
    invites.InviteList,
    policies.PolicyBody,
    policies.PolicyView,
    policies.PolicyHistory,
    prices.PricesBody,
    prices.PricesAnswer,
    prices.RepricingBody,
    prices.RepricingAnswer,
    alerts.AlertsAnswer,
    usage.UsageAnswer,
    cache.CacheInvalidationBody,
    cache.CacheInvalidationAnswer,
    audit.AuditList,
    compliance.ComplianceAnswer,
    receipts.ErasureReceipt,
    models.Catalog,
    models.OpenAIModelList,
    models.OpenAIModel,
    models.AnthropicModelList,
    models.AnthropicModel,
    analytics.CostSummaryAnswer,
    analytics.InferenceList,
    analytics.CachePerformanceAnswer,
    analytics.MetricsAnswer,
    figures.BreakdownAnswer,
    figures.TrendsAnswer,
    figures.LatencyAnswer,
    figures.UsageRowView,
    outlook.ForecastAnswer,
    outlook.AnomaliesAnswer,
    outlook.RecommendationsAnswer,
    reconciliation.CostReport,
    reconciliation.ImportAnswer,
    reconciliation.ReconciliationAnswer,
    health.HealthView,
    health.ProbeView,
)
_TAGS = [
    {"name": "Start here", "description": "Get an organization and its first key."},
    {"name": "Inference", "description": "Asahi's own API, with budgets, routing and prices."},
    {"name": "OpenAI-compatible", "description": "Change the base URL of an OpenAI SDK, nothing else."},
    {"name": "Anthropic-compatible", "description": "Change the base URL of an Anthropic SDK, nothing else."},
    {"name": "Models", "description": "What there is to choose from."},
    {"name": "Analytics", "description": "What was spent and saved."},
    {"name": "Governance", "description": "Organizations, keys, policies, usage, cache and audit."},
    {"name": "Health", "description": "State of the installation."},
]
_KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"x-api-key": []}]
_ADMIN: list[dict[str, list[str]]] = [*_KEY, {"x-admin-secret": []}]
_OPERATOR: list[dict[str, list[str]]] = [{"x-admin-secret": []}]
_OPERATORS_PATHS = ("/governance/organizations", "/governance/invites", "/governance/repricings")
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer ask_…`, as OpenAI's SDKs do.",
    },
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key, as Anthropic's SDKs send it.",
    },
    "x-admin-secret": {
        "type": "apiKey",
        "in": "header",
        "name": "x-admin-secret",
        "description": "The operator's secret, in place of a key; names the organization in every call.",
    },
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
        )
        document["components"] = {
            "schemas": struct_schemas(_STRUCTS),
            "examples": example_components(),
            "responses": error_responses(anthropic_type),
            "headers": HEADERS,
            "securitySchemes": _SCHEMES,
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _drop_what_the_framework_adds(operation)
                operation["security"] = _security(path)
        app.openapi_schema = document
    return app.openapi_schema


def _security(path: str) -> list[dict[str, list[str]]]:
    if path == "/signup" or path.startswith("/health"):
        return []
    if path.startswith(_OPERATORS_PATHS):
        return _OPERATOR
    return _ADMIN if path.startswith("/governance/") else _KEY


def _drop_what_the_framework_adds(operation: dict[str, Any]) -> None:
    """FastAPI has a 422 of its own for every parameter, where ours are 400, and words of its own beside references."""
    responses = operation["responses"]
    schema = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("$ref", "").endswith("HTTPValidationError"):
        del responses["422"]
    for status, response in responses.items():
        if "$ref" in response:
            responses[status] = {"$ref": response["$ref"]}
