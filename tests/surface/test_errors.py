"""Every error of the contract that can be caused, as its caller sees it: status, headers, body, and nothing billed."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import pytest
from anthropic import Anthropic, AuthenticationError, InternalServerError, NotFoundError
from openai import (
    APIStatusError,
    BadRequestError,
    ConflictError,
    OpenAI,
    PermissionDeniedError,
    UnprocessableEntityError,
)

from asahi_edge.api.errors import anthropic_type
from tests.error_coverage import faults
from tests.installation import Installation, Organization
from tests.surface.embedding_rows import EMBEDDING_ROWS
from tests.surface.rows import CHAT, MESSAGES, ROWS, Row
from tests.test_streams import events_of

_CASES = [
    pytest.param(row, path, stream, id=f"{row} on {path}, {'streamed' if stream else 'plain'}")
    for row in sorted((*ROWS, *EMBEDDING_ROWS), key=lambda row: row.broken)
    for path in row.paths
    for stream in row.streams
]
_DETAIL = {"message", "type", "code", "param", "request_id"}


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60.0, verify=False) as made:
        yield made


@pytest.fixture
def without(surface: Installation, request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the row wants broken is dead meanwhile."""
    broken = request.node.callspec.params["row"].broken
    if not broken:
        yield
        return
    surface[broken].kill()
    try:
        yield
    finally:
        surface[broken].start()
        surface[broken].wait_ready()


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(("row", "path", "stream"), _CASES)
def test_an_error_is_told_as_the_contract_says(
    row: Row, path: str, stream: bool, client: httpx2.Client, caller: Organization
) -> None:
    answer = row.question.ask(client, caller, path, stream=stream)
    if row.begun:
        assert answer.status_code == 200, answer.text
        name, body = events_of(answer)[-1]
        assert name == ("" if path == CHAT else "error")
    else:
        assert answer.status_code == row.status_on(path), answer.text
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
    error = body["error"]
    if path == MESSAGES:
        assert (set(body), body["type"]) == ({"type", "error", "request_id"}, "error")
        assert error == {"type": anthropic_type(row.code, row.status), "message": error["message"]}
        request_id = body["request_id"]
    else:
        assert set(error) == _DETAIL
        assert (error["code"], error["type"], error["param"]) == (row.code, row.type, row.param_on(path))
        request_id = error["request_id"]
    for words in row.says:
        assert words in error["message"]
    assert request_id == answer.headers["x-asahi-request-id"]
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == request_id
    for header, value in row.headers.items():
        assert value in {"", answer.headers[header]}
    if not row.begun:
        assert ("retry-after" in answer.headers) == ("retry-after" in row.headers)
        assert ("x-should-retry" in answer.headers) == ("x-should-retry" in row.headers)
    _require_discreet(error["message"], caller, row)


def _require_discreet(message: str, caller: Organization, row: Row) -> None:
    """No key, prompt, address or trace in a message."""
    assert caller.key not in message
    assert row.question.text not in message
    for secret in ("127.0.0.1", "Traceback", "asahi_", ".py"):
        assert secret not in message


def test_every_error_that_can_be_raised_has_a_row() -> None:
    assert faults() == []


def test_the_callers_own_label_comes_back_on_errors(client: httpx2.Client, surface: Installation) -> None:
    for label, kept in (("my-label-17", True), ("not safe <br>", False)):
        answer = client.post(f"{surface.url}/infer", headers={"x-request-id": label}, json={"prompt": "x"})
        own = answer.headers["x-asahi-request-id"]
        assert answer.json()["error"]["request_id"] == own
        assert answer.headers["x-request-id"] == answer.headers["request-id"] == (label if kept else own)


@pytest.mark.parametrize(
    ("wrong", "raised"),
    [
        ({"model": "gpt-6-lunar"}, APIStatusError),
        ({"temperature": "hot"}, BadRequestError),
        ({"extra_headers": {"x-asahi-routing": '{"cost_budget": 0.000001}'}}, UnprocessableEntityError),
        ({"extra_body": {"organization_id": "org_of_another"}}, PermissionDeniedError),
    ],
)
def test_openais_sdk_raises_the_class_of_the_error(caller: Organization, wrong: Any, raised: type[Exception]) -> None:
    with (
        OpenAI(base_url=f"{caller.installation.url}/v1", api_key=caller.key) as sdk,
        pytest.raises(raised) as told,
    ):
        sdk.chat.completions.create(**{"model": "asahi", "messages": [{"role": "user", "content": "x"}], **wrong})
    assert isinstance(told.value, APIStatusError)
    assert told.value.code
    assert told.value.request_id == told.value.response.headers["x-asahi-request-id"]


def test_openais_sdk_does_not_try_again_what_would_be_refused_again(
    caller: Organization, surface: Installation
) -> None:
    before, once = _requests_logged(surface), {"idempotency-key": "once"}
    with OpenAI(base_url=f"{surface.url}/v1", api_key=caller.key, default_headers=once) as sdk:
        sdk.chat.completions.create(model="asahi", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(ConflictError):
            sdk.chat.completions.create(model="asahi", messages=[{"role": "user", "content": "y"}])
    deadline = time.monotonic() + 120
    while _requests_logged(surface) - before < 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # what was answered is logged a moment later
    assert _requests_logged(surface) - before == 2


def _requests_logged(surface: Installation) -> int:
    return surface["edge"].log.read_text(errors="replace").count(f'"path":"{CHAT}"')


class _Told(NamedTuple):
    """A question to a path that answers in Anthropic's shape, and the error."""

    method: str
    path: str
    headers: dict[str, str]
    status: int
    type: str


_ANTHROPIC = [
    pytest.param(_Told("POST", "/v1/messages", {}, 400, "invalid_request_error"), id="an empty question"),
    pytest.param(_Told("POST", "/v1/messages/count_tokens", {}, 400, "invalid_request_error"), id="nothing to count"),
    pytest.param(
        _Told("POST", "/v1/messages", {"authorization": "Bearer x"}, 401, "authentication_error"), id="a wrong key"
    ),
    pytest.param(_Told("GET", "/v1/messages", {}, 405, "invalid_request_error"), id="a wrong method"),
    pytest.param(
        _Told("POST", "/v1/messages", {"x-huge": "x" * 100_000}, 431, "invalid_request_error"), id="huge headers"
    ),
    pytest.param(_Told("GET", "/v1/messages/unknown", {}, 404, "not_found_error"), id="an unknown path"),
    pytest.param(
        _Told("GET", "/v1/models/unknown", {"anthropic-version": "2023-06-01"}, 404, "not_found_error"), id="a model"
    ),
]


@pytest.mark.parametrize("told", _ANTHROPIC)
def test_anthropics_paths_tell_errors_in_anthropics_shape(
    told: _Told, caller: Organization, client: httpx2.Client
) -> None:
    answer = client.request(
        told.method,
        f"{caller.installation.url}{told.path}",
        headers={**caller.headers, **told.headers},
        json={} if told.method == "POST" else None,
    )
    assert answer.status_code == told.status, answer.text
    body = answer.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert body["error"]["type"] == told.type
    assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-asahi-request-id"]


def test_the_same_path_tells_openais_callers_in_openais_shape(caller: Organization, client: httpx2.Client) -> None:
    answer = client.get(f"{caller.installation.url}/v1/models/unknown", headers=caller.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_anthropics_sdk_raises_the_class_of_the_error(caller: Organization) -> None:
    url = caller.installation.url
    with Anthropic(base_url=url, api_key=caller.key, max_retries=0) as sdk:
        with pytest.raises(NotFoundError):
            sdk.models.retrieve("unknown")
        with pytest.raises(InternalServerError) as told:
            sdk.messages.create(model="gpt-4.1-nano", max_tokens=5, messages=[{"role": "user", "content": "saturated"}])
        assert told.value.status_code == 529
    with Anthropic(base_url=url, api_key="wrong", max_retries=0) as sdk, pytest.raises(AuthenticationError):
        sdk.models.retrieve("unknown")
