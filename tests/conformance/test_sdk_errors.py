"""What goes wrong, as users of the official SDKs meet it: exceptions, retries, timeouts, calls that are given up."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.conformance.anthropic_cases import MODEL
from tests.conformance.conftest import NewKey
from tests.conformance.places import Place
from tests.installation import Installation
from tests.simulator import SimulatorControl

_OPENAIS = "gpt-4.1-nano"
_SATURATED, _NOT_ACCEPTED, _SILENT, _CUT, _BRIEFLY, _ENDLESS, _FAILING = (
    *("saturated", "not accepted", "silent", "cut short", "briefly", "endless", "failing"),
)
_WITHIN_S = 120.0


def _rule(text: str, mode: str, **params: Any) -> dict[str, Any]:
    return {"mode": mode, "match": {"contains": text}, "params": params}


@pytest.fixture(autouse=True)
def simulator(installation: Installation) -> Iterator[SimulatorControl]:
    """The provider, which fails on command."""
    control = SimulatorControl(installation.url_of("simulator"))
    control.rules(
        _rule(_SATURATED, "status", status=429, retry_after_s=0.01),
        _rule(_NOT_ACCEPTED, "status", status=401),
        _rule(_FAILING, "status", status=400, message="No such thing."),
        _rule(_SILENT, "hang"),
        _rule(_CUT, "cut", after_tokens=5),
        _rule(_ENDLESS, "endless"),
        {**_rule(_BRIEFLY, "status", status=500), "times": 1},
    )
    yield control
    control.rules()


def _messages(text: str = "Hello.") -> list[Any]:
    return [{"role": "user", "content": text}]


def _ask_anthropic(at: Place, **fields: Any) -> Any:
    stream = fields.pop("streamed", False)
    with at.anthropic() as sdk:
        question = {"model": MODEL, "max_tokens": 64, "messages": _messages(), **fields}
        if not stream:
            return sdk.messages.create(**question)
        return list(sdk.messages.create(**question, stream=True))


def _ask_openai(at: Place, **fields: Any) -> Any:
    stream = fields.pop("streamed", False)
    with at.openai() as sdk:
        question = {"model": _OPENAIS, "messages": _messages(), **fields}
        if not stream:
            return sdk.chat.completions.create(**question)
        return list(sdk.chat.completions.create(**question, stream=True))


def _ask_responses(at: Place, **fields: Any) -> Any:
    stream = fields.pop("streamed", False)
    with at.openai() as sdk:
        question = {"model": _OPENAIS, "input": fields.pop("messages", "Hello."), **fields}
        if not stream:
            return sdk.responses.create(**question)
        return list(sdk.responses.create(**question, stream=True))


_OPENAIS_WAYS = {"chat": _ask_openai, "responses": _ask_responses}
_BUDGET = {"x-asahi-routing": '{"cost_budget": 0.000000001}'}
_WRONG: dict[str, tuple[dict[str, Any], type[Exception], type[Exception]]] = {
    "an unknown model": ({"model": "gpt-6-lunar"}, anthropic.NotFoundError, openai.NotFoundError),
    "a wrong field": ({"extra_body": {"temperature": "hot"}}, anthropic.BadRequestError, openai.BadRequestError),
    "no messages": ({"messages": []}, anthropic.BadRequestError, openai.BadRequestError),
    "a provider's refusal": (
        {"messages": _messages(_FAILING)},
        anthropic.BadRequestError,
        openai.BadRequestError,
    ),
    "constraints that nobody meets": (
        {"model": "asahi", "extra_headers": _BUDGET},
        anthropic.UnprocessableEntityError,
        openai.UnprocessableEntityError,
    ),
    "another organization": (
        {"extra_body": {"organization_id": "org_of_another"}},
        anthropic.PermissionDeniedError,
        openai.PermissionDeniedError,
    ),
    "a saturated provider": (
        {"messages": _messages(_SATURATED)},
        anthropic.OverloadedError,
        openai.InternalServerError,
    ),
    "an operator's wrong key": (
        {"messages": _messages(_NOT_ACCEPTED)},
        anthropic.InternalServerError,
        openai.InternalServerError,
    ),
    "no time": (
        {"messages": _messages(_SILENT), "extra_headers": {"x-asahi-routing": '{"latency_budget_ms": 1500}'}},
        anthropic.GatewayTimeoutError,
        openai.InternalServerError,
    ),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("case", _WRONG)
def test_anthropics_sdk_raises_the_class_of_the_error(case: str, streamed: bool, asahi: Place) -> None:
    fields, kind, _ = _WRONG[case]
    with pytest.raises(kind) as raised:
        _ask_anthropic(asahi, **fields, streamed=streamed)
    error = raised.value
    assert isinstance(error, anthropic.APIStatusError)
    assert error.request_id == error.response.headers["x-asahi-request-id"]
    body: Any = error.body
    assert set(body) == {"type", "error", "request_id"}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", _OPENAIS_WAYS)
@pytest.mark.parametrize("case", _WRONG)
def test_openais_sdk_raises_the_class_of_the_error(case: str, api: str, streamed: bool, asahi: Place) -> None:
    fields, _, kind = _WRONG[case]
    with pytest.raises(kind) as raised:
        _OPENAIS_WAYS[api](asahi, **fields, streamed=streamed)
    error = raised.value
    assert isinstance(error, openai.APIStatusError)
    assert error.request_id == error.response.headers["x-asahi-request-id"]
    assert error.code


@pytest.mark.parametrize("key", ["wrong", "ask_mistyped"])
def test_a_wrong_key_is_an_authentication_error(key: str, asahi: Place) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        _ask_anthropic(asahi._replace(key=key))
    with pytest.raises(openai.AuthenticationError):
        _ask_openai(asahi._replace(key=key))


def test_a_bearer_token_is_as_good_as_x_api_key(asahi: Place) -> None:
    with anthropic.Anthropic(base_url=asahi.url, auth_token=asahi.key, api_key=None, max_retries=0) as sdk:
        assert sdk.messages.create(model=MODEL, max_tokens=64, messages=_messages()).content


def test_a_body_that_is_too_large_is_told_as_such(asahi: Place) -> None:
    with pytest.raises(anthropic.ContentTooLargeError):
        _ask_anthropic(asahi, messages=_messages("x" * (33 * 1024 * 1024)))


def test_what_a_key_may_not_do_is_a_permission_error(asahi: Place, new_key: NewKey) -> None:
    narrow = new_key(allowed_models=["gpt-4.1-*"])
    with pytest.raises(anthropic.PermissionDeniedError):
        _ask_anthropic(narrow)
    with anthropic.Anthropic(base_url=narrow.url, api_key=narrow.key, max_retries=0) as sdk:
        with pytest.raises(anthropic.PermissionDeniedError):
            sdk.messages.count_tokens(model=MODEL, messages=_messages())
        assert sdk.messages.count_tokens(model=_OPENAIS, messages=_messages()).input_tokens


def test_a_reached_limit_is_a_rate_limit_error_with_anthropics_headers(new_key: NewKey) -> None:
    limited = new_key(rate_limits={"requests_per_minute": 1})
    _ask_anthropic(limited)
    with pytest.raises(anthropic.RateLimitError) as raised:
        _ask_anthropic(limited)
    headers = raised.value.response.headers
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert float(headers["retry-after"]) > 0


@pytest.mark.parametrize("model", [MODEL, _OPENAIS])
def test_a_stream_that_breaks_off_raises_in_its_midst(model: str, asahi: Place) -> None:
    with asahi.anthropic() as sdk:
        stream = sdk.messages.create(model=model, max_tokens=64, messages=_messages(_CUT), stream=True)
        with pytest.raises(anthropic.APIStatusError) as raised:
            list(stream)
    assert raised.value.type == "api_error"
    with asahi.openai() as client:
        chunks = client.chat.completions.create(model=model, messages=_messages(_CUT), stream=True)
        with pytest.raises(openai.APIError):
            list(chunks)
        events = client.responses.create(model=model, input=_messages(_CUT), stream=True)
        with pytest.raises(openai.APIError):
            list(events)


def test_what_fails_once_is_tried_again_before_the_sdk_hears_of_it(asahi: Place) -> None:
    assert _ask_anthropic(asahi, messages=_messages(_BRIEFLY)).content


def test_the_sdk_tries_again_what_may_be_tried_again(asahi: Place) -> None:
    sent: list[Any] = []
    with asahi.anthropic(sent, max_retries=2) as sdk, pytest.raises(anthropic.OverloadedError):
        sdk.messages.create(model=MODEL, max_tokens=64, messages=_messages(_SATURATED))
    assert len(sent) == 3


def test_the_sdk_does_not_try_again_what_must_not_be(asahi: Place) -> None:
    sent: list[Any] = []
    once = {"idempotency-key": "once"}
    with asahi.anthropic(sent, max_retries=2) as sdk:
        sdk.messages.create(model=MODEL, max_tokens=64, messages=_messages(), extra_headers=once)
        with pytest.raises(anthropic.ConflictError):
            sdk.messages.create(model=MODEL, max_tokens=65, messages=_messages(), extra_headers=once)
    assert len(sent) == 2


def test_a_caller_s_own_timeout_ends_the_wait(asahi: Place) -> None:
    with asahi.anthropic(timeout=0.4) as sdk, pytest.raises(anthropic.APITimeoutError):
        sdk.messages.create(model=MODEL, max_tokens=64, messages=_messages(_SILENT))


def test_nobody_there_is_a_connection_error(asahi: Place) -> None:
    with pytest.raises(anthropic.APIConnectionError):
        _ask_anthropic(asahi._replace(url="http://127.0.0.1:9"))


def test_a_stream_that_is_left_is_ended_at_the_provider(asahi: Place, simulator: SimulatorControl) -> None:
    async def leave() -> str:
        async with asahi.async_anthropic() as sdk:
            stream = await sdk.messages.create(
                model=MODEL, max_tokens=50_000, messages=_messages(_ENDLESS), stream=True
            )
            first = await anext(aiter(stream))
            request_id: str = stream.response.headers["x-asahi-request-id"]
            assert first.type == "message_start"
            await stream.close()
            return request_id

    request_id = asyncio.run(leave())
    deadline = time.monotonic() + _WITHIN_S
    while [call["outcome"] for call in simulator.calls(request_id)] != ["client_left"]:
        assert time.monotonic() < deadline, simulator.calls(request_id)
        time.sleep(0.1)


def test_a_cancelled_question_is_given_up(asahi: Place, simulator: SimulatorControl) -> None:
    async def cancel() -> None:
        before = len(simulator.calls())
        async with asahi.async_anthropic() as sdk, asyncio.timeout(_WITHIN_S):
            asking = asyncio.create_task(
                sdk.messages.create(model=MODEL, max_tokens=64, messages=_messages(f"{_SILENT} and left"))
            )
            while len(simulator.calls()) == before:  # noqa: ASYNC110 - it is another process that is asked
                await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(cancel())
    deadline = time.monotonic() + _WITHIN_S
    while not any(call["outcome"] == "client_left" for call in simulator.calls()[-1:]):
        assert time.monotonic() < deadline, simulator.calls()[-1:]
        time.sleep(0.1)


def test_the_sdk_s_list_of_models_is_anthropics(asahi: Place) -> None:
    with asahi.anthropic() as sdk:
        listed = list(sdk.models.list())
        assert sdk.models.retrieve(MODEL).type == "model"
    assert MODEL in {model.id for model in listed}
