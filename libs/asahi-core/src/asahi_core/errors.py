"""The errors that Asahi's services raise: one class per code of the HTTP contract.

A domain raises them; `asahi_core.rpc.status` carries them over gRPC and the edge writes them as HTTP. The class
holds what is fixed for a code (both statuses, the type that OpenAI's SDKs switch on), the instance what happened.
"""

from typing import ClassVar


class AsahiError(Exception):
    """An error that a caller may see. `message` says what happened, with which value, and what to do."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    openai_type: ClassVar[str] = "server_error"
    should_retry: ClassVar[bool | None] = None
    """Overrides the SDKs' own rule (retry 408, 409, 429 and 5xx); None leaves it to them."""

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.billed = False
        """Whether a provider bills something for what ended so. Known only where it was found; not told to others."""


class InternalError(AsahiError):
    """Something broke that the caller can do nothing about; the log has the cause under the request's id."""


class InvalidRequest(AsahiError):
    """The request cannot be understood; `param` names the field."""

    code = "invalid_request"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"
    openai_type = "invalid_request_error"


class UnsupportedByModel(InvalidRequest):
    """The model named does not take a field that was sent."""

    code = "unsupported_by_model"


class ContextLengthExceeded(InvalidRequest):
    """The prompt is longer than the window of any allowed model."""

    code = "context_length_exceeded"


class InvalidApiKey(AsahiError):
    """The key is missing, malformed, unknown, revoked or expired."""

    code = "invalid_api_key"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"
    openai_type = "authentication_error"


class InsufficientScope(AsahiError):
    """The key lacks the scope that the path asks for."""

    code = "insufficient_scope"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"
    openai_type = "permission_error"


class ModelNotAllowed(InsufficientScope):
    """The key or its organisation may not use the model."""

    code = "model_not_allowed"


class PriceUnknown(InsufficientScope):
    """The model has no known price, and the call may not cost an unknown amount."""

    code = "price_unknown"


class OrganizationMismatch(InsufficientScope):
    """The request names an organisation that the key does not act for."""

    code = "organization_mismatch"


class OrganizationSuspended(InsufficientScope):
    """The operator has suspended the organisation that the key acts for."""

    code = "organization_suspended"


class NotFound(AsahiError):
    """No such thing, or not the caller's: the words are the same."""

    code = "not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"
    openai_type = "not_found_error"


class ModelNotFound(NotFound):
    """The catalog lacks the model that was named."""

    code = "model_not_found"


class MethodNotAllowed(AsahiError):
    """The path does not serve this HTTP method."""

    code = "method_not_allowed"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"
    openai_type = "invalid_request_error"


class VersionConflict(AsahiError):
    """The thing was changed meanwhile: it is not at the version that the caller expected."""

    code = "version_conflict"
    http_status = 409
    grpc_status = "ABORTED"
    openai_type = "invalid_request_error"
    should_retry = False


class IdempotencyConflict(AsahiError):
    """The Idempotency-Key was used with another body."""

    code = "idempotency_conflict"
    http_status = 409
    grpc_status = "ALREADY_EXISTS"
    openai_type = "invalid_request_error"
    should_retry = False


class IdempotencyReplayUnavailable(AsahiError):
    """The request was made before, and its answer is not kept; it is not made again, for that could cost again."""

    code = "idempotency_replay_unavailable"
    http_status = 409
    grpc_status = "ABORTED"
    openai_type = "invalid_request_error"
    should_retry = False


class RequestTooLarge(AsahiError):
    """The body is over the configured limit."""

    code = "request_too_large"
    http_status = 413
    grpc_status = "OUT_OF_RANGE"
    openai_type = "invalid_request_error"


class HeadersTooLarge(AsahiError):
    """The headers and the URL are over the configured limit."""

    code = "headers_too_large"
    http_status = 431
    grpc_status = "OUT_OF_RANGE"
    openai_type = "invalid_request_error"


class UnsupportedMediaType(AsahiError):
    """The body is not JSON."""

    code = "unsupported_media_type"
    http_status = 415
    grpc_status = "INVALID_ARGUMENT"
    openai_type = "invalid_request_error"


class NoModelSatisfies(AsahiError):
    """No allowed model can meet the constraints; the message names the one that binds, and by how much."""

    code = "no_model_satisfies"
    http_status = 422
    grpc_status = "FAILED_PRECONDITION"
    openai_type = "invalid_request_error"


class RateLimitExceeded(AsahiError):
    """A limit on requests or tokens is reached; always with `retry_after_s`."""

    code = "rate_limit_exceeded"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    openai_type = "rate_limit_error"


class BudgetReserved(RateLimitExceeded):
    """Only the holds of calls under way stand between this call and its budget; always with `retry_after_s`."""

    code = "budget_reserved"


class InsufficientQuota(AsahiError):
    """A budget is spent."""

    code = "insufficient_quota"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    openai_type = "insufficient_quota"
    should_retry = False


class NotImplementedYet(AsahiError):
    """A documented path, field or header that this version does not serve yet."""

    code = "not_implemented"
    http_status = 501
    grpc_status = "UNIMPLEMENTED"
    openai_type = "server_error"
    should_retry = False


class ProviderError(AsahiError):
    """Every candidate provider refused, for a reason that is not load."""

    code = "provider_error"
    http_status = 502
    grpc_status = "ABORTED"
    openai_type = "server_error"


class UpstreamInterrupted(ProviderError):
    """The provider, or the flight that carried the answer, ended before the answer did; nothing is billed for it."""

    code = "upstream_interrupted"


class ServiceUnavailable(AsahiError):
    """A service or provider that is needed does not answer; always with `retry_after_s`."""

    code = "service_unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    openai_type = "server_error"


class Overloaded(ServiceUnavailable):
    """A needed service, or every provider, is saturated."""

    code = "overloaded"
    grpc_status = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(AsahiError):
    """The caller's latency budget or the server's own limit ran out."""

    code = "deadline_exceeded"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"
    openai_type = "server_error"
    should_retry = False


class Cancelled(AsahiError):
    """The caller gave the call up; nobody is there to see it."""

    code = "cancelled"
    http_status = 499
    grpc_status = "CANCELLED"


def _tree(root: type[AsahiError]) -> dict[str, type[AsahiError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


ERRORS_BY_CODE: dict[str, type[AsahiError]] = _tree(AsahiError) | {InternalError.code: InternalError}
