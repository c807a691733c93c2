"""What a provider's HTTP status, error body and headers mean."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

from asahi_router.domain.provider import FailureKind, ProviderFailure, Received

_KEY = re.compile(r"\b(?:sk|ask|pk|key|Bearer)[-_ ][^\s'\",.]{6,}")
_MOST_CHARACTERS = 500
_STATUSES = {
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.UNAUTHORIZED,
    408: FailureKind.FAILED,
    409: FailureKind.FAILED,
    425: FailureKind.FAILED,
    429: FailureKind.RATE_LIMITED,
    502: FailureKind.FAILED,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}
_TYPES = {
    "overloaded_error": FailureKind.OVERLOADED,
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    "authentication_error": FailureKind.UNAUTHORIZED,
    "permission_error": FailureKind.UNAUTHORIZED,
    "billing_error": FailureKind.UNAUTHORIZED,
    "insufficient_quota": FailureKind.UNAUTHORIZED,
    "invalid_request_error": FailureKind.REFUSED,
    "not_found_error": FailureKind.REFUSED,
    "request_too_large": FailureKind.REFUSED,
}
_SPENT = frozenset({"insufficient_quota", "billing_error"})


class _Error(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str


_error_body = msgspec.json.Decoder(_ErrorBody)


def failure_from_status(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderFailure:
    """The failure that an answer with an error status tells."""
    error = _error(body)
    kind = _STATUSES.get(status)
    if kind is None:
        kind = FailureKind.REFUSED if 400 <= status < 500 else FailureKind.FAILED
    if error.type in _SPENT or error.code in _SPENT:
        kind = FailureKind.UNAUTHORIZED
    message = clean(error.message) or f"it answered HTTP {status}"
    return ProviderFailure(kind, message, retry_after_s=retry_after_s(headers, now), param=error.param)


def failure_from_event(event: bytes, received: Received, *, begun: bool) -> ProviderFailure:
    """The failure that an error in the midst of a stream tells; `begun`: part of the answer had come."""
    error = _error(event)
    told = error.type if error.type in _TYPES else str(error.code)
    return failure_told(error.message, told, received, begun=begun)


def failure_told(message: str, code: str | None, received: Received, *, begun: bool) -> ProviderFailure:
    """The failure that a stream's own event tells in these words; `begun`: part of the answer had come."""
    kind = FailureKind.INTERRUPTED if begun else _TYPES.get(code or "", FailureKind.FAILED)
    return ProviderFailure(kind, clean(message) or "it broke its answer off", received=received)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the provider asks to be left alone: `retry-after-ms`, else `retry-after` (RFC 9110, 10.2.3)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if not value:
            return None
        if value[0].isdigit():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def clean(message: str) -> str:
    """A provider's words as a caller may see them: short, and without anything that looks like a key."""
    return _KEY.sub("[redacted]", " ".join(message.split()))[:_MOST_CHARACTERS]


def _error(body: bytes) -> _Error:
    try:
        error = _error_body.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error()
    return _Error(error) if isinstance(error, str) else error
