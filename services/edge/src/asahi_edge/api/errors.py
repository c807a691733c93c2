"""Errors as OpenAI's and Anthropic's SDKs read them, written in one place."""

import math

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from asahi_core.context import current_call
from asahi_core.errors import (
    AsahiError,
    InsufficientQuota,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
)
from asahi_edge.api.json import json_response
from asahi_edge.api.schemas.errors import AnthropicErrorBody, AnthropicErrorDetail, ErrorBody, ErrorDetail

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    504: "timeout_error",
}
_ANTHROPIC_TYPES_BY_CODE = {Overloaded.code: "overloaded_error", InsufficientQuota.code: "billing_error"}


def error_body(error: AsahiError, request_id: str | None = None) -> ErrorBody:
    """`error` as the HTTP contract's body, of the current request unless another is named."""
    return ErrorBody(
        error=ErrorDetail(
            message=error.message,
            type=error.openai_type,
            code=error.code,
            param=error.param,
            request_id=request_id or current_call.get().request_id,
        )
    )


def wants_anthropic_shape(request: Request) -> bool:
    """Whether the caller speaks Anthropic's protocol, errors included."""
    path = request.url.path
    if path.startswith("/v1/models"):
        return "anthropic-version" in request.headers
    return is_anthropic(path)


def is_anthropic(path: str) -> bool:
    """Whether all who send to `path` speak Anthropic's protocol."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def anthropic_error_body(error: AsahiError, request_id: str | None = None) -> AnthropicErrorBody:
    """`error` as Anthropic's SDKs read it, of the current request unless another is named."""
    detail = AnthropicErrorDetail(anthropic_type(error.code, error.http_status), error.message)
    return AnthropicErrorBody(error=detail, request_id=request_id or current_call.get().request_id)


def anthropic_type(code: str, status: int) -> str:
    """The type that Anthropic's SDKs know an error by."""
    return _ANTHROPIC_TYPES_BY_CODE.get(code) or _ANTHROPIC_TYPES.get(status, "api_error")


def error_response(request: Request, error: AsahiError) -> Response:
    """`error` as the HTTP contract's body, status and headers."""
    anthropic = wants_anthropic_shape(request)
    body = anthropic_error_body(error) if anthropic else error_body(error)
    return json_response(body, status=error_status(error, anthropic=anthropic), headers=error_headers(error))


def error_status(error: AsahiError, *, anthropic: bool) -> int:
    """The status that `error` is answered with."""
    return 529 if anthropic and error.code == Overloaded.code else error.http_status


def error_headers(error: AsahiError) -> dict[str, str]:
    """The headers that say what to do about `error`."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(int(error.retry_after_s * 1000))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


async def answer_asahi_error(request: Request, error: Exception) -> Response:
    """Answers an error of ours."""
    known = error if isinstance(error, AsahiError) else InternalError(str(error))
    request.scope["asahi"]["error"] = known.code
    return error_response(request, known)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answers what the framework found: no such path, no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    known: AsahiError
    if status == 404:
        known = NotFound(f"There is no {request.url.path!r} here; /docs lists the paths.")
    elif status == 405:
        known = MethodNotAllowed(f"{request.url.path} does not take {request.method}; /docs lists what it takes.")
    else:
        known = InvalidRequest("The request cannot be read.")
    response = await answer_asahi_error(request, known)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def answer_unknown_error(request: Request, _error: Exception) -> Response:
    """Answers what should not have happened, without a word about its cause."""
    return error_response(request, InternalError("Something failed inside Asahi; the request id finds it in the log."))
