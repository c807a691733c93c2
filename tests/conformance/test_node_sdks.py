"""Node's official SDKs, pointed at Asahi and at the provider itself: users see the same, from the cache as well."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.conformance import anthropic_cases, openai_cases, seen
from tests.conformance.conftest import NewKey
from tests.conformance.node_sdks import NodeError, NodeSdks, node_sdks
from tests.conformance.places import Place
from tests.conformance.test_anthropic_sdk import CACHED_BY_THE_PROVIDER, without_usage
from tests.installation import Installation
from tests.simulator import SimulatorControl

_SATURATED, _SILENT, _ENDLESS, _CUT, _FAILING = "saturated", "silent", "endless", "cut short", "failing"
_WITHIN_S = 120.0
_CASES = {"openai": openai_cases, "anthropic": anthropic_cases}
_WHOLE = {
    "openai": ("created", "with response", "by the stream's helper"),
    "anthropic": ("created", "with response", "by the stream's helper", "by the beta's path"),
}
"""Ways that end with all of the answer."""
_EVENTS = {"openai": ("by events", "by events with usage"), "anthropic": ("by events",)}
_RESPONSES = ("a response", "a response by events", "a response by the stream's helper")


class _Case(NamedTuple):
    sdk: str
    way: str
    name: str

    @property
    def question(self) -> dict[str, Any]:
        asked: dict[str, Any] = _CASES[self.sdk].CASES[self.name]
        return asked

    @property
    def kept(self) -> bool:
        """Whether a cache keeps the answer, and its user sees it as the new one."""
        return self.name not in _CASES[self.sdk].NEVER_KEPT and self.way in _WHOLE[self.sdk]

    def __str__(self) -> str:
        return f"{self.sdk}, {self.way}: {self.name}"


ALL = [
    _Case(sdk, way, name)
    for sdk, cases in _CASES.items()
    for name in cases.CASES
    for way in (*_WHOLE[sdk], *_EVENTS[sdk])
]


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSdks]:
    """The SDKs."""
    with node_sdks() as running:
        yield running


@pytest.fixture
def simulator(installation: Installation) -> Iterator[SimulatorControl]:
    """The provider, which fails on command."""
    control = SimulatorControl(installation.url_of("simulator"))
    control.rules(
        _rule(_SATURATED, "status", status=429, retry_after_s=0.01),
        _rule(_FAILING, "status", status=400, message="No such thing."),
        _rule(_SILENT, "hang"),
        _rule(_CUT, "cut", after_tokens=5),
        _rule(_ENDLESS, "endless"),
    )
    yield control
    control.rules()


def _rule(text: str, mode: str, **params: Any) -> dict[str, Any]:
    return {"mode": mode, "match": {"contains": text}, "params": params}


def _said(sdk: str, text: str, **fields: Any) -> dict[str, Any]:
    """A question of one sentence."""
    bound = {"max_tokens": 64} if sdk == "anthropic" else {}
    return {"model": _CASES[sdk].MODEL, "messages": [{"role": "user", "content": text}], **bound, **fields}


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in ALL])
def test_an_answer_is_the_providers_new_and_from_the_cache(
    case: _Case, node: NodeSdks, direct: Place, asahi: Place
) -> None:
    places = [direct, asahi, *([asahi] if case.kept else [])]
    answers = [seen.timeless(node.ask(case.sdk, case.way, at, case.question)) for at in places]
    if case.name in CACHED_BY_THE_PROVIDER:
        answers = [without_usage(answer) for answer in answers]
    assert answers[1:] == answers[:1] * (len(answers) - 1)


@pytest.mark.parametrize("sdk", _CASES)
def test_a_loop_of_tools_and_a_parsed_answer_go_as_with_the_provider(
    sdk: str, node: NodeSdks, direct: Place, asahi: Place
) -> None:
    looped = _CASES[sdk].CASES["tools called at once"]
    for way, question in (("by a loop of tools", looped), ("parsed", _said(sdk, "Plan a trip."))):
        wanted = seen.timeless(node.ask(sdk, way, direct, question))
        assert wanted["calls"] if "calls" in wanted else wanted["parsed"]
        assert seen.timeless(node.ask(sdk, way, asahi, question)) == wanted
        assert seen.timeless(node.ask(sdk, way, asahi, question)) == wanted


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "claude-haiku-5-5"])
def test_a_response_is_the_same_plain_streamed_and_cached(model: str, node: NodeSdks, asahi: Place) -> None:
    question = {"model": model, "input": "Say something of rivers.", "store": False}
    plain, events, helped = (seen.timeless(node.ask("openai", way, asahi, question)) for way in _RESPONSES)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    texts = {_text_of(one) for one in (plain, events[-1]["response"], helped)}
    assert len(texts) == 1
    assert texts != {""}
    assert node.ask("openai", "a parsed response", asahi, {**question, "input": "Plan a trip."}).keys() == {
        "city",
        "days",
    }


def _text_of(response: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for item in response["output"] for part in item.get("content", ()))


@pytest.mark.parametrize("sent", ["a text", ["one", "two"], [5, 6, 7]], ids=str)
@pytest.mark.parametrize("fields", [{}, {"dimensions": 16}, {"encoding_format": "float"}], ids=str)
def test_vectors_are_the_providers(
    sent: Any, fields: dict[str, Any], node: NodeSdks, direct: Place, asahi: Place
) -> None:
    question = {"model": "text-embedding-3-small", "input": sent, **fields}
    wanted = seen.timeless(node.ask("openai", "embedded", direct, question))
    assert seen.timeless(node.ask("openai", "embedded", asahi, question)) == wanted
    assert seen.timeless(node.ask("openai", "embedded", asahi, question)) == wanted


@pytest.mark.parametrize("name", [name for name in anthropic_cases.CASES if name not in ("an end user", "a tier")])
def test_tokens_are_counted_as_the_provider_counts_them(name: str, node: NodeSdks, direct: Place, asahi: Place) -> None:
    allowed = {"messages", "model", "system", "tools", "tool_choice", "thinking", "output_config", "extra_headers"}
    question = {field: value for field, value in anthropic_cases.CASES[name].items() if field in allowed}
    wanted, found = (node.ask("anthropic", "counted", at, question)["input_tokens"] for at in (direct, asahi))
    assert found == wanted


_BUDGET = {"x-asahi-routing": '{"cost_budget": 0.000000001}'}
_NO_TIME = {"x-asahi-routing": '{"latency_budget_ms": 1500}'}
_WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "an unknown model": ("Hello.", {"model": "gpt-6-lunar"}, "NotFoundError", "NotFoundError"),
    "a wrong field": ("Hello.", {"temperature": "hot"}, "BadRequestError", "BadRequestError"),
    "no messages": ("Hello.", {"messages": []}, "BadRequestError", "BadRequestError"),
    "a provider's refusal": (_FAILING, {}, "BadRequestError", "BadRequestError"),
    "constraints that nobody meets": (
        "Hello.",
        {"model": "asahi", "extra_headers": _BUDGET},
        "UnprocessableEntityError",
        "UnprocessableEntityError",
    ),
    "another organization": (
        "Hello.",
        {"organization_id": "org_of_another"},
        "PermissionDeniedError",
        "PermissionDeniedError",
    ),
    "a saturated provider": (_SATURATED, {}, "OverloadedError", "InternalServerError"),
    "no time": (_SILENT, {"extra_headers": _NO_TIME}, "GatewayTimeoutError", "InternalServerError"),
}


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("way", ["created", "by events"])
@pytest.mark.parametrize("sdk", _CASES)
@pytest.mark.parametrize("case", _WRONG)
def test_an_error_is_of_the_class_that_the_sdk_has_for_it(
    case: str, sdk: str, way: str, node: NodeSdks, asahi: Place
) -> None:
    text, fields, anthropics, openais = _WRONG[case]
    with pytest.raises(NodeError) as raised:
        node.ask(sdk, way, asahi, _said(sdk, text, **fields))
    assert raised.value.kinds[0] == (openais if sdk == "openai" else anthropics)
    assert raised.value.told["named"], "the request's id is not told"
    assert sdk == "anthropic" or raised.value.told["code"]


@pytest.mark.parametrize("sdk", _CASES)
def test_keys_and_limits_are_told_by_class(sdk: str, node: NodeSdks, asahi: Place, new_key: NewKey) -> None:
    limited = new_key(rate_limits={"requests_per_minute": 1})
    node.ask(sdk, "created", limited, _said(sdk, "Once."))
    for at, wanted in (
        (asahi._replace(key="wrong"), "AuthenticationError"),
        (new_key(allowed_models=["nothing-*"]), "PermissionDeniedError"),
        (limited, "RateLimitError"),
        (asahi._replace(url="http://127.0.0.1:9"), "APIConnectionError"),
    ):
        with pytest.raises(NodeError) as raised:
            node.ask(sdk, "created", at, _said(sdk, "Twice."))
        assert raised.value.kinds[0] == wanted


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("sdk", _CASES)
def test_a_stream_that_breaks_off_throws_in_its_midst(sdk: str, node: NodeSdks, asahi: Place) -> None:
    with pytest.raises(NodeError) as raised:
        node.ask(sdk, "by events", asahi, _said(sdk, _CUT))
    assert "APIError" in raised.value.kinds


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("sdk", _CASES)
def test_the_sdk_tries_again_what_may_be_tried_again_and_nothing_else(sdk: str, node: NodeSdks, asahi: Place) -> None:
    with pytest.raises(NodeError) as raised:
        node.ask(sdk, "created", asahi, _said(sdk, _SATURATED), {"maxRetries": 2})
    assert raised.value.told["sent"] == 3
    headers = {"idempotency-key": f"once-{sdk}"}
    node.ask(sdk, "created", asahi, _said(sdk, "One.", extra_headers=headers), {"maxRetries": 2})
    with pytest.raises(NodeError) as raised:
        node.ask(sdk, "created", asahi, _said(sdk, "Two.", extra_headers=headers), {"maxRetries": 2})
    assert raised.value.kinds[0] == "ConflictError"
    assert raised.value.told["sent"] == 1


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("sdk", _CASES)
def test_a_caller_s_own_timeout_ends_the_wait(sdk: str, node: NodeSdks, asahi: Place) -> None:
    with pytest.raises(NodeError) as raised:
        node.ask(sdk, "created", asahi, _said(sdk, _SILENT), {"timeout": 400})
    assert raised.value.kinds[0] == "APIConnectionTimeoutError"


@pytest.mark.parametrize("sdk", _CASES)
def test_who_leaves_or_gives_up_ends_the_call_at_the_provider(
    sdk: str, node: NodeSdks, asahi: Place, simulator: SimulatorControl
) -> None:
    assert node.ask(sdk, "left", asahi, _said(sdk, _ENDLESS, max_tokens=20_000)) == 3
    _require_left(simulator)
    assert node.ask(sdk, "given up", asahi, _said(sdk, f"{_SILENT} and given up")) == "APIUserAbortError"
    _require_left(simulator)


def _require_left(simulator: SimulatorControl) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while [call["outcome"] for call in simulator.calls()[-1:]] != ["client_left"]:
        assert time.monotonic() < deadline, simulator.calls()[-1:]
        time.sleep(0.1)


@pytest.mark.parametrize("sdk", _CASES)
def test_the_list_of_models_is_the_sdks_own(sdk: str, node: NodeSdks, asahi: Place) -> None:
    listed = node.ask(sdk, "models", asahi, {})
    assert {"asahi", "gpt-4.1-nano", "claude-haiku-5-5", "text-embedding-3-small"} <= {model["id"] for model in listed}
