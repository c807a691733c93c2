"""Errors as OpenAI's SDKs read them: one shape, written in one place."""

import math

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from asahi_core.context import current_call
from asahi_core.errors import AsahiError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from asahi_edge.api.json import json_response
from asahi_edge.api.schemas import ErrorBody, ErrorDetail


def error_response(error: AsahiError) -> Response:
    """`error` as the HTTP contract's body, status and headers."""
    detail = ErrorDetail(
        message=error.message,
        type=error.openai_type,
        code=error.code,
        param=error.param,
        request_id=current_call.get().request_id,
    )
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(int(error.retry_after_s * 1000))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response(ErrorBody(error=detail), status=error.http_status, headers=headers)


async def answer_asahi_error(request: Request, error: Exception) -> Response:
    """Answers an error of ours."""
    known = error if isinstance(error, AsahiError) else InternalError(str(error))
    request.scope["asahi"]["error"] = known.code
    return error_response(known)


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


async def answer_unknown_error(_request: Request, _error: Exception) -> Response:
    """Answers what should not have happened, without a word about its cause."""
    return error_response(InternalError("Something failed inside Asahi; the request id finds it in the log."))
