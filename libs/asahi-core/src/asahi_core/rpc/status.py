"""The one translation between Asahi's errors and gRPC statuses (google.rpc.Status with typed details)."""

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from asahi_core.errors import (
    ERRORS_BY_CODE,
    AsahiError,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    ServiceUnavailable,
)

DOMAIN = "asahi"
_DETAILS = "grpc-status-details-bin"
_RETRY_AFTER_S = 1.0
_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What gRPC itself says of a connection that was reset or a process that died; errors of ours carry their details."""


def status_from_error(error: AsahiError) -> Status:
    """`error` as a google.rpc.Status: ErrorInfo carries the code, BadRequest the field, RetryInfo the pause."""
    status = Status(code=_number(error.grpc_status), message=error.message)
    _pack(status, ErrorInfo(domain=DOMAIN, reason=error.code))
    if error.param is not None:
        field = BadRequest.FieldViolation(field=error.param, description=error.message)
        _pack(status, BadRequest(field_violations=[field]))
    if error.retry_after_s is not None:
        pause = Duration()
        pause.FromMilliseconds(int(error.retry_after_s * 1000))
        _pack(status, RetryInfo(retry_delay=pause))
    return status


def error_from_status(status: Status) -> AsahiError | None:
    """The error that `status_from_error` put into `status`, or None if it was not one of ours."""
    info, request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details:
        for message in (info, request, retry):
            if detail.TypeName() == message.DESCRIPTOR.full_name:
                detail.Unpack(message)
    kind = ERRORS_BY_CODE.get(info.reason) if info.domain == DOMAIN else None
    if kind is None:
        return None
    param = request.field_violations[0].field if request.field_violations else None
    pause = retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None
    return kind(status.message, param=param, retry_after_s=pause)


def error_from_bytes(status: bytes) -> AsahiError:
    """The error in a serialized google.rpc.Status that another process put into a message."""
    return error_from_status(Status.FromString(status)) or InternalError("The call failed elsewhere in Asahi.")


def error_from_rpc(error: grpc.aio.AioRpcError, service: str) -> AsahiError:
    """What a failed call to `service` means to a caller of Asahi."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS:
            known = error_from_status(Status.FromString(value if isinstance(value, bytes) else value.encode()))
            if known is not None:
                return known
    return error_from_code(error.code(), service)


def error_from_code(code: grpc.StatusCode, service: str) -> AsahiError:
    """What a status that carries no error of ours means: the transport's own word about `service`."""
    match code:
        case code if code in _BROKEN:
            message = f"The {service} service does not answer; try again shortly."
            return ServiceUnavailable(message, retry_after_s=_RETRY_AFTER_S)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"The {service} service is saturated; try again shortly.", retry_after_s=_RETRY_AFTER_S)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"The {service} service did not answer within the call's deadline.")
        case _:
            return InternalError(f"The {service} service failed ({code.name}); the request id finds it in the log.")


def to_rpc_status(error: AsahiError) -> "RpcStatus":
    """`error` in the form that `context.abort_with_status` takes."""
    status = status_from_error(error)
    return RpcStatus(
        getattr(grpc.StatusCode, error.grpc_status), error.message, ((_DETAILS, status.SerializeToString()),)
    )


class RpcStatus(grpc.Status):
    """A status as grpc's servers take it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, bytes], ...]) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def _number(name: str) -> int:
    number: int = getattr(grpc.StatusCode, name).value[0]
    return number


def _pack(status: Status, message: ErrorInfo | BadRequest | RetryInfo) -> None:
    detail = Any()
    detail.Pack(message)
    status.details.append(detail)
