"""The table of errors: every class to gRPC and back, with its field and pause; what is not ours is translated."""

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Metadata

from asahi_core.errors import (
    ERRORS_BY_CODE,
    AsahiError,
    DeadlineExceeded,
    InternalError,
    NotImplementedYet,
    Overloaded,
    ServiceUnavailable,
)
from asahi_core.rpc.status import (
    error_from_bytes,
    error_from_rpc,
    error_from_status,
    status_from_error,
    to_rpc_status,
)

_OPENAI_TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "insufficient_quota",
    "server_error",
}
_ALL = sorted(ERRORS_BY_CODE.values(), key=lambda kind: kind.code)


def _classes(root: type[AsahiError]) -> set[type[AsahiError]]:
    return {root}.union(*map(_classes, root.__subclasses__()))


def test_every_class_has_a_code_of_its_own_in_the_table() -> None:
    assert set(_ALL) == _classes(AsahiError) - {AsahiError}
    assert {code: kind.code for code, kind in ERRORS_BY_CODE.items()} == {code: code for code in ERRORS_BY_CODE}


@pytest.mark.parametrize("kind", _ALL, ids=lambda kind: kind.code)
def test_statuses_and_types_are_ones_that_callers_know(kind: type[AsahiError]) -> None:
    assert 400 <= kind.http_status < 600
    assert kind.openai_type in _OPENAI_TYPES
    assert kind.grpc_status in grpc.StatusCode.__members__
    assert kind.grpc_status != "OK"


@pytest.mark.parametrize("param", [None, "messages[3]"])
@pytest.mark.parametrize("retry_after_s", [None, 0.0, 0.25, 90.0])
@pytest.mark.parametrize("kind", _ALL, ids=lambda kind: kind.code)
def test_every_error_comes_back_as_it_was_raised(
    kind: type[AsahiError], param: str | None, retry_after_s: float | None
) -> None:
    error = kind("What happened: é.", param=param, retry_after_s=retry_after_s)
    sent = to_rpc_status(error)
    trailing = Metadata(*sent.trailing_metadata)
    raised = AioRpcError(sent.code, Metadata(), trailing, details=sent.details)
    for back in (error_from_status(status_from_error(error)), error_from_rpc(raised, "cache")):
        assert type(back) is kind
        assert (back.message, back.param, back.retry_after_s) == (error.message, param, retry_after_s)
    assert sent.code is grpc.StatusCode[kind.grpc_status]
    assert str(error) == error.message


def test_an_error_in_a_message_comes_back_and_a_stranger_is_internal() -> None:
    error = Overloaded("All are busy.", retry_after_s=2.0)
    back = error_from_bytes(status_from_error(error).SerializeToString())
    assert (type(back), back.message, back.retry_after_s) == (Overloaded, "All are busy.", 2.0)
    assert type(error_from_bytes(Status(code=5, message="secret path").SerializeToString())) is InternalError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ServiceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNKNOWN, ServiceUnavailable),
        (grpc.StatusCode.UNIMPLEMENTED, InternalError),
    ],
)
def test_the_transports_own_words_name_the_service_and_never_its_address(
    code: grpc.StatusCode, kind: type[AsahiError]
) -> None:
    raised = AioRpcError(code, Metadata(), Metadata(), details="ipv4:10.0.0.7:50052: connection refused")
    error = error_from_rpc(raised, "cache")
    assert type(error) is kind
    assert "cache" in error.message
    assert "10.0.0.7" not in error.message
    assert (error.retry_after_s is not None) == isinstance(error, ServiceUnavailable)


def test_a_code_of_a_newer_version_is_judged_by_its_status() -> None:
    status = status_from_error(ServiceUnavailable("Gone.", retry_after_s=1.0))
    for detail in status.details:
        detail.value = detail.value.replace(b"service_unavailable", b"service_of_tomorrow")
    assert error_from_status(status) is None
    trailing = Metadata(("grpc-status-details-bin", status.SerializeToString()))
    assert type(error_from_rpc(AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), trailing), "cache")) is (
        ServiceUnavailable
    )


def test_what_must_not_be_retried_says_so() -> None:
    told = {kind.code for kind in _ALL if kind.should_retry is False}
    assert {NotImplementedYet.code, DeadlineExceeded.code} <= told
    assert ServiceUnavailable.should_retry is None
