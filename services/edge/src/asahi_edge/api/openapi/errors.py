"""Errors in the OpenAPI document: what each status means, its headers, and an example of each code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asahi_core import errors
from asahi_core.errors import AsahiError
from asahi_edge.api.openapi.components import media, reference
from asahi_edge.api.schemas.errors import AnthropicErrorBody, ErrorBody

_REQUEST_ID = "01a20da6-23de-7451-967a-afcb49443661"
MEANINGS = {
    400: "The request cannot be understood; `param` names the field.",
    401: "The key is missing or not valid.",
    403: "The key may not do this.",
    404: "No such thing, or not yours.",
    409: "It was changed meanwhile, or the `Idempotency-Key` was used for what cannot be told again.",
    413: "The body is over the configured limit.",
    415: "The body is not declared as JSON.",
    422: "No allowed model meets the constraints; the message says which one binds, and by how much.",
    429: "Too many requests, or a budget is in the way; try again after `retry-after`, if it is there.",
    431: "The headers are over the configured limit.",
    501: "A documented field or header that this version does not serve yet.",
    502: "The provider refused, for a reason that is not load.",
    503: "A needed service or provider does not answer, or is saturated; try again after `retry-after`.",
    504: "The latency budget or the server's limit ran out.",
    529: "Every provider is saturated; try again after `retry-after`.",
}


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """An error as a caller may meet it."""

    kind: type[AsahiError]
    message: str
    param: str | None = None


EXAMPLES = (
    ErrorExample(
        errors.InvalidRequest,
        "routing_mode: Invalid enum value 'cheapest', accepted: autopilot, guided, explicit.",
        "routing_mode",
    ),
    ErrorExample(
        errors.UnsupportedByModel,
        "gpt-6-sol does not take 'stop' as it was sent; models that do: gpt-4.1, gpt-4.1-mini, gpt-4.1-nano, ….",
        "stop",
    ),
    ErrorExample(
        errors.ContextLengthExceeded,
        "The prompt has about 1250000 tokens; the largest window of an allowed model is 1050000 (gpt-6-astra), 200000 "
        "too few. Shorten the prompt.",
        "messages",
    ),
    ErrorExample(
        errors.InvalidApiKey,
        "The API key is missing or not valid. Send 'Authorization: Bearer ask_…' with a key of this installation.",
    ),
    ErrorExample(errors.InsufficientScope, "This path needs the scope 'analytics'; the key has: infer."),
    ErrorExample(errors.ModelNotAllowed, "The key may not use 'gpt-6-astra'; it may use claude-*.", "model_override"),
    ErrorExample(
        errors.PriceUnknown,
        "The price of 'my-own-model' is not known, so that a cost budget cannot be kept; leave it out.",
        "cost_budget",
    ),
    ErrorExample(
        errors.OrganizationMismatch,
        "The key does not act for the organization named in 'organization_id'; leave the field out or send the "
        "organization of the key.",
        "organization_id",
    ),
    ErrorExample(errors.NotFound, "No such request; it may not be recorded yet.", "request_id"),
    ErrorExample(errors.ModelNotFound, "There is no model 'gpt-6-lunar'; did you mean gpt-6-luna?", "model_override"),
    ErrorExample(errors.VersionConflict, "The policy is at version 4, not 3; read it again.", "version"),
    ErrorExample(
        errors.IdempotencyConflict,
        "This Idempotency-Key was used with another body; take another key for this one.",
    ),
    ErrorExample(
        errors.IdempotencyReplayUnavailable,
        "The request with this Idempotency-Key was made, and its answer is not kept. It is not made again, for that "
        "could cost again; take another key if it shall be.",
    ),
    ErrorExample(errors.RequestTooLarge, "The body has 40000000 bytes; at most 33554432 are taken."),
    ErrorExample(
        errors.UnsupportedMediaType,
        "The body is declared as 'application/x-www-form-urlencoded'; send JSON with the header "
        "'Content-Type: application/json'.",
    ),
    ErrorExample(
        errors.NoModelSatisfies,
        "The latency budget of 200 ms binds: the quickest that meets the other constraints is gpt-4.1-nano "
        "with 1288 ms expected, 1088 ms more.",
        "latency_budget_ms",
    ),
    ErrorExample(
        errors.RateLimitExceeded, "There were 5 signups from this address within the last minute; try again in 12 s."
    ),
    ErrorExample(
        errors.BudgetReserved,
        "Of the organization's budget of 50 $ a month per organization, 49.2 $ are spent and 0.8 $ are held by calls "
        "under way; try again when they have ended.",
    ),
    ErrorExample(
        errors.InsufficientQuota,
        "Of the organization's budget of 50 $ a month per organization, 49.99 $ are spent, and this call may cost up "
        "to 0.02 $. It begins anew at 2026-12-01T00:00:00Z.",
    ),
    ErrorExample(
        errors.HeadersTooLarge, "Headers and query have more than 65536 bytes together, which is the most taken."
    ),
    ErrorExample(
        errors.NotImplementedYet,
        "A workflow is not quoted: what later steps cost depends on what earlier ones answer. Leave 'steps' out.",
        "steps",
    ),
    ErrorExample(errors.ProviderError, "gpt-6-luna at openai does not accept the operator's key."),
    ErrorExample(errors.ServiceUnavailable, "The router service does not answer; try again shortly."),
    ErrorExample(errors.Overloaded, "gpt-6-luna at openai takes no more requests at the moment. Try again shortly."),
    ErrorExample(
        errors.DeadlineExceeded, "The answer did not come within the call's time; allow more or ask for less."
    ),
)


def openai_body(example: ErrorExample) -> dict[str, Any]:
    """The example in the shape of OpenAI's SDKs."""
    kind = example.kind
    detail = {"message": example.message, "type": kind.openai_type, "code": kind.code, "param": example.param}
    return {"error": {**detail, "request_id": _REQUEST_ID}}


def anthropic_body(example: ErrorExample, type_of: Callable[[str, int], str]) -> dict[str, Any]:
    """The example in the shape of Anthropic's SDKs; `type_of`: their types by code and status."""
    error = {"type": type_of(example.kind.code, example.kind.http_status), "message": example.message}
    return {"type": "error", "error": error, "request_id": _REQUEST_ID}


def error_name(status: int, shape: str) -> str:
    """The name of a response among the document's components."""
    return f"error{status}" if shape == "openai" else f"error{status}{shape.capitalize()}"


def error_responses(type_of: Callable[[str, int], str]) -> dict[str, Any]:
    """Every error response by name: in OpenAI's shape, in Anthropic's, and for paths that answer in either."""
    found: dict[str, Any] = {}
    for status in MEANINGS:
        anthropic = {e.kind.code: anthropic_body(e, type_of) for e in EXAMPLES if _anthropic_status(e) == status}
        openai = {e.kind.code: openai_body(e) for e in EXAMPLES if e.kind.http_status == status}
        if openai:
            found[error_name(status, "openai")] = _response(status, media(reference(ErrorBody), openai))
        if anthropic:
            found[error_name(status, "anthropic")] = _response(status, media(reference(AnthropicErrorBody), anthropic))
        if openai and status != 529:
            both = {"anyOf": [reference(ErrorBody), reference(AnthropicErrorBody)]}
            named = {**openai, **{f"{code}, Anthropic's shape": body for code, body in anthropic.items()}}
            found[error_name(status, "either")] = _response(status, media(both, named))
    return found


def _anthropic_status(example: ErrorExample) -> int:
    return 529 if example.kind is errors.Overloaded else example.kind.http_status


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    names = ["x-request-id", "request-id", "x-asahi-request-id"]
    if status in {429, 503, 529}:
        names += ["retry-after", "retry-after-ms"]
    if status in {409, 429, 501, 504}:
        names.append("x-should-retry")
    if status == 401:
        names.append("www-authenticate")
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"description": MEANINGS[status], "headers": headers, "content": content}
