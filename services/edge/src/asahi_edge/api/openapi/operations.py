"""What a route says about itself to the OpenAPI document: arguments of its decorator."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from starlette.responses import StreamingResponse

from asahi_edge.api.openapi.anthropic import MESSAGE
from asahi_edge.api.openapi.components import (
    ALWAYS,
    ON_INFERENCE,
    header_references,
    parameters,
    referring_media,
    struct_media,
)
from asahi_edge.api.openapi.embeddings import EMBEDDINGS
from asahi_edge.api.openapi.errors import error_name
from asahi_edge.api.openapi.examples import EXAMPLES
from asahi_edge.api.openapi.openai import CHAT_ANSWER
from asahi_edge.api.openapi.responses import RESPONSE
from asahi_edge.api.openapi.streams import CHAT_EVENTS, INFER_EVENTS, MESSAGE_EVENTS, RESPONSE_EVENTS
from asahi_edge.api.schemas.anthropic import CountTokensAnswer, CountTokensBody, MessagesBody
from asahi_edge.api.schemas.embeddings import EmbeddingsBody
from asahi_edge.api.schemas.figures import UsageRowView
from asahi_edge.api.schemas.inference import InferAnswer, InferBody, QuoteAnswer
from asahi_edge.api.schemas.openai import ChatBody
from asahi_edge.api.schemas.responses import ResponsesBody

Shape = Literal["openai", "anthropic", "either"]
_INFERENCE_ERRORS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 501, 502, 503, 504)
PLAIN_TEXT = {
    name: {"schema": {"type": "string", "description": "Prometheus' text format."}, "example": example}
    for name, example in (
        ("text/plain", "asahi_organization_requests_total 2.0\n"),
        ("application/openmetrics-text", "asahi_organization_requests_total 2.0\n# EOF\n"),
    )
}


def documented(
    *,
    summary: str,
    answer: type,
    errors: Sequence[int],
    body: type | None = None,
    optional_body: bool = False,
    status: int = 200,
    also: dict[str, Any] | None = None,
    unhealthy: int | None = None,
) -> dict[str, Any]:
    """Arguments of a route decorator: summary, and the schemas of its body, its answer and its errors.

    `also` holds further media types of the answer; `unhealthy` a status at which the same answer means no.
    """
    content = struct_media(answer) | (also or {})
    responses = {status: _answered(answer.__doc__ or "", content)} | _errors(errors)
    if unhealthy is not None:
        responses[unhealthy] = _answered("The same, saying no.", struct_media(answer))
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": not optional_body, "content": struct_media(body)}
    return {"summary": summary, "status_code": status, "responses": responses, "openapi_extra": extra}


def documented_export() -> dict[str, Any]:
    """Arguments of the route decorator of `/analytics/export`, which answers lines."""
    row = next(iter(EXAMPLES["UsageRowView"].values()))
    content = {
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "A JSON object a line, each a UsageRowView."},
            "example": json.dumps(row) + "\n",
        },
        "text/csv": {
            "schema": {"type": "string", "description": "The same fields by column, after a line of their names."},
            "example": ",".join(UsageRowView.__struct_fields__) + "\r\n",
        },
    }
    answer = _answered("Usage rows, oldest first.", content)
    return {
        "summary": "Usage rows",
        "response_class": StreamingResponse,
        "responses": {200: answer} | _errors((400, 401, 403, 503, 504)),
    }


def documented_models(*, summary: str, openai: type, anthropic: type, errors: Sequence[int]) -> dict[str, Any]:
    """Arguments of the route decorator of a path that OpenAI and Anthropic both have."""
    shapes = [struct_media(kind)["application/json"] for kind in (openai, anthropic)]
    content = {
        "application/json": {
            "schema": {"anyOf": [shape["schema"] for shape in shapes]},
            "examples": {
                f"{owner}'s shape": next(iter(shape["examples"].values()))
                for owner, shape in zip(("OpenAI", "Anthropic"), shapes, strict=True)
            },
        }
    }
    return {
        "summary": summary,
        "responses": {200: _answered(openai.__doc__ or "", content)} | _errors(errors, "either"),
        "openapi_extra": {"parameters": parameters("anthropic-version")},
    }


def documented_infer() -> dict[str, Any]:
    """Arguments of the route decorator of `/infer`."""
    arguments = documented(
        summary="Ask a question",
        body=InferBody,
        answer=InferAnswer,
        also=INFER_EVENTS,
        errors=_INFERENCE_ERRORS,
    )
    arguments["responses"][200]["headers"] = header_references((*ON_INFERENCE, "x-asahi-warning"))
    names = ("x-request-id", "cache-control", "x-asahi-cache", "x-asahi-tags", "idempotency-key")
    arguments["openapi_extra"]["parameters"] = parameters(*names)
    return arguments


def documented_quote() -> dict[str, Any]:
    """Arguments of the route decorator of `/quote`, whose body is that of `/infer`."""
    errors = tuple(status for status in _INFERENCE_ERRORS if status not in (409, 429, 501, 502, 504))
    arguments = documented(summary="Ask for a quote", body=InferBody, answer=QuoteAnswer, errors=errors)
    arguments["responses"][200]["headers"] = header_references((*ALWAYS, "x-asahi-warning"))
    arguments["openapi_extra"]["parameters"] = parameters("x-request-id", "cache-control", "x-asahi-cache")
    return arguments


def documented_openai_chat() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/chat/completions`, whose bodies are OpenAI's."""
    return _documented_openai(
        "Continue a conversation", ChatBody, referring_media(CHAT_ANSWER, "ChatAnswer") | CHAT_EVENTS
    )


def documented_responses() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/responses`, whose bodies are OpenAI's."""
    content = referring_media(RESPONSE, "ResponseAnswer") | RESPONSE_EVENTS
    return _documented_openai("Create a response", ResponsesBody, content)


def documented_embeddings() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/embeddings`, whose bodies are OpenAI's."""
    return _documented_openai("Embed texts", EmbeddingsBody, referring_media(EMBEDDINGS, "EmbeddingsAnswer"))


def documented_stored_response() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/responses/{response_id}`, which answers what was answered before."""
    content = referring_media(RESPONSE, "ResponseAnswer") | RESPONSE_EVENTS
    answer = _answered("The response as it was answered.", content)
    return {"summary": "A stored response", "responses": {200: answer} | _errors((400, 401, 403, 404, 503))}


def _documented_openai(summary: str, body: type, content: dict[str, Any]) -> dict[str, Any]:
    answer = _answered("The provider's answer, with `asahi` added.", content)
    answer["headers"] = header_references(ON_INFERENCE)
    names = ("x-request-id", "cache-control", "x-asahi-cache", "x-asahi-tags", "x-asahi-routing", "idempotency-key")
    return {
        "summary": summary,
        "responses": {200: answer} | _errors(_INFERENCE_ERRORS),
        "openapi_extra": {
            "requestBody": {"required": True, "content": struct_media(body)},
            "parameters": parameters(*names),
        },
    }


def documented_messages() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/messages`, whose bodies are Anthropic's."""
    content = referring_media(MESSAGE, "MessageAnswer") | MESSAGE_EVENTS
    answer = _answered("The provider's answer, with `asahi` added.", content)
    answer["headers"] = header_references(ON_INFERENCE)
    names = (
        *("x-request-id", "anthropic-version", "anthropic-beta", "cache-control", "x-asahi-cache", "x-asahi-tags"),
        *("x-asahi-routing", "idempotency-key"),
    )
    return {
        "summary": "Continue a conversation",
        "responses": {200: answer} | _errors(_INFERENCE_ERRORS, "anthropic"),
        "openapi_extra": {
            "requestBody": {"required": True, "content": struct_media(MessagesBody)},
            "parameters": parameters(*names),
        },
    }


def documented_count_tokens() -> dict[str, Any]:
    """Arguments of the route decorator of `/v1/messages/count_tokens`."""
    answer = _answered(CountTokensAnswer.__doc__ or "", struct_media(CountTokensAnswer))
    answer["headers"] = header_references((*ALWAYS, "x-asahi-model"))
    errors = tuple(status for status in _INFERENCE_ERRORS if status != 501)
    return {
        "summary": "Count tokens",
        "responses": {200: answer} | _errors(errors, "anthropic"),
        "openapi_extra": {
            "requestBody": {"required": True, "content": struct_media(CountTokensBody)},
            "parameters": parameters("x-request-id", "anthropic-version", "anthropic-beta", "x-asahi-routing"),
        },
    }


def _answered(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description.strip(), "headers": header_references(ALWAYS), "content": content}


def _errors(statuses: Sequence[int], shape: Shape = "openai") -> dict[int | str, dict[str, Any]]:
    """The statuses of a path's errors, and that of every path."""
    told = {*statuses, 431} | ({529} if shape == "anthropic" and 503 in statuses else set())
    return {status: {"$ref": f"#/components/responses/{error_name(status, shape)}"} for status in sorted(told)}
