"""Answers in Anthropic's protocol: the provider's own, with `asahi` added; stored ones replayed as they would come."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.router.v1.router_pb2 import CountTokensResponse
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import ServiceUnavailable
from asahi_edge.api.message_replay import replayed
from asahi_router.providers.anthropic.assembly import assemble
from services.edge.tests.neighbours import ScriptedCompletion, native_answer
from services.edge.tests.serving import Served, serving

_PATH = "/v1/messages"
_ASK: dict[str, Any] = {"max_tokens": 99, "messages": [{"role": "user", "content": "What is 6 × 7?"}]}
_STREAM = _ASK | {"stream": True}
_USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}
_CITED = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}


def _body(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_provider",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": list(content) or [{"type": "text", "text": "42"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
        "x_unknown": {"kept": [1.0, 2]},
        **more,
    }


_CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": 'Ro"m,e', "deep": [{"a": [1.5]}]}}
_BODIES = {
    "text": _body(),
    "a stop sequence": _body(stop_reason="stop_sequence", stop_sequence="END"),
    "tool calls": _body(_CALL, {**_CALL, "id": "toolu_2", "input": {}}, stop_reason="tool_use"),
    "thoughts": _body(
        {"type": "thinking", "thinking": "Six sevens …", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "42"},
    ),
    "citations": _body({"type": "text", "text": "x", "citations": [_CITED]}),
    "a server's tool": _body(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "42"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "42"},
    ),
}


def _answers(served: Served, body: dict[str, Any], events: list[dict[str, Any]] | None = None) -> None:
    def script(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce()
        for told in events or []:
            call.pass_on(AnswerDelta(event_json=json.dumps(told, ensure_ascii=False).encode()))
        call.complete(native_answer(json.dumps(body).encode()))

    served.rig.router.script = script


def _events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The names and data of a stream's events."""
    found = []
    for block in filter(None, text.split("\n\n")):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES.keys())
async def test_a_plain_answer_is_the_providers_own_with_asahi_added_and_a_stored_one_is_a_new_answer(
    body: dict[str, Any],
) -> None:
    async with serving() as served:
        _answers(served, body)
        miss, hit = [(await served.ask(_PATH, _ASK)).json() for _ in range(2)]
    Message.model_validate(miss)
    asahi = miss.pop("asahi")
    assert miss == body
    assert (asahi["cache_hit"], asahi["cost_usd"] > 0) == (False, True)
    again = hit.pop("asahi")
    assert (again["cache_hit"], again["cache_tier"], again["cost_usd"]) == (True, 1, 0)
    assert hit["id"] == f"msg_{again['request_id']}" != body["id"]
    assert {**hit, "id": ""} == {**body, "id": ""}


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES.keys())
async def test_a_stored_answer_streams_to_anthropics_sdk_what_it_is_plain(body: dict[str, Any]) -> None:
    async with serving() as served:
        _answers(served, body)
        key = served.client.headers["authorization"].removeprefix("Bearer ")
        async with AsyncAnthropic(base_url=served.url, api_key=key, max_retries=0) as sdk:
            plain = json.loads((await sdk.messages.create(model="asahi", **_ASK)).to_json())
            async with sdk.messages.stream(model="asahi", **_ASK) as stream:
                final = await stream.get_final_message()
        assert len(served.rig.router.calls) == 1
    wanted = {name: value for name, value in plain.items() if name not in {"id", "asahi"}}
    seen = json.loads(final.to_json())
    assert {name: seen.get(name) for name in wanted} == wanted
    assert seen["id"] != plain["id"]


async def test_a_stored_answer_streams_in_anthropics_order() -> None:
    async with serving() as served:
        _answers(served, _BODIES["thoughts"])
        await served.ask(_PATH, _ASK)
        told = _events((await served.ask(_PATH, _STREAM)).text)
    names = [name for name, _ in told]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert [data["type"] for _, data in told] == names
    assert [("asahi" in data) for _, data in told] == [False] * (len(told) - 1) + [True]
    assert told[-1][1]["asahi"]["cache_tier"] == 1
    assert told[-2][1]["usage"] == _USAGE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('aé日😀"\\\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=3), json_values, max_size=3)
texts = st.text('ab é日😀"\\\n', max_size=20)
blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda text, cited: {"type": "text", "text": text, "citations": cited}, texts, st.lists(objects)),
    st.builds(lambda given: {"type": "tool_use", "id": "t", "name": "n", "input": given}, objects),
    st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, texts, texts),
    st.builds(lambda more: {"type": "some_new_block", "x": more}, objects),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(blocks, max_size=4), objects)
def test_whatever_is_stored_its_events_make_the_same_again(content: list[dict[str, Any]], more: dict[str, Any]) -> None:
    body = {**_body(*content, **{f"x_{name}": value for name, value in more.items()}), "content": content}
    events = [data for _, data in replayed(json.dumps(body).encode(), "msg_new")]
    assert json.loads(assemble(events)) == {**body, "id": "msg_new"}


_LIVE: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**_body(), "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4 é"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "some_new_delta", "x": 1}},
    {"type": "content_block_stop", "index": 0},
    {"type": "some_new_event", "x": {"a": 1}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": _USAGE},
    {"type": "message_stop"},
]


async def test_a_live_stream_is_the_providers_own_in_its_order_with_asahi_in_the_last_event() -> None:
    async with serving() as served:
        _answers(served, _body(), _LIVE)
        told = _events((await served.ask(_PATH, _STREAM)).text)
    asahi = told[-1][1].pop("asahi")
    assert told == [(data["type"], data) for data in _LIVE]
    assert asahi["cost_usd"] > 0


async def test_a_live_stream_that_breaks_off_ends_with_anthropics_error() -> None:
    def script(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce()
        call.pass_on(AnswerDelta(event_json=json.dumps(_LIVE[0]).encode()))
        call.break_off(ServiceUnavailable("It does not answer.", retry_after_s=1.0))

    async with serving() as served:
        served.rig.router.script = script
        answer = await served.ask(_PATH, _STREAM)
    (first, _), (last, error) = _events(answer.text)
    assert (first, last) == ("message_start", "error")
    assert set(error) == {"type", "error", "request_id"}
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert error["request_id"] == answer.headers["request-id"]


async def test_the_body_goes_to_the_router_byte_for_byte_and_the_protocols_headers_with_it() -> None:
    body = b'{ "messages":[{"role":"user","content":"caf\\u00e9"}], "x_new": {"a": 1.0}, "max_tokens": 5}'
    async with serving() as served:
        _answers(served, _body())
        headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "a-2026-01-01,b", "x_other": "no"}
        answer = await served.ask(_PATH, body, **headers)
        (call,) = served.rig.router.calls
    assert answer.status_code == 200
    native = call.task.prompt.native
    assert native.body == body
    assert dict(native.headers) == {"anthropic-version": "2023-06-01", "anthropic-beta": "a-2026-01-01,b"}


async def test_what_a_header_of_the_protocol_opens_sets_a_question_apart() -> None:
    async with serving() as served:
        _answers(served, _body())
        for headers, calls in (
            ({}, 1),
            ({"anthropic_version": "2023-06-01"}, 1),
            ({"anthropic_beta": "a"}, 2),
            ({"anthropic_beta": "b"}, 3),
            ({"anthropic_beta": "a"}, 3),
        ):
            await served.ask(_PATH, _ASK, **headers)
            assert len(served.rig.router.calls) == calls


@pytest.mark.parametrize("name", ["anthropic-workspace-id", "anthropic-user-profile-id", "anthropic-beta"])
async def test_a_header_that_cannot_be_passed_on_is_named(name: str) -> None:
    async with serving() as served:
        answer = await served.ask(_PATH, _ASK, **{name: "é{}"[1:]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert name in answer.json()["error"]["message"]


async def test_metadata_names_the_end_user() -> None:
    async with serving() as served:
        _answers(served, _body())
        await served.ask(_PATH, _ASK | {"metadata": {"user_id": "ann"}})
        (call,) = served.rig.router.calls
    assert call.task.payer.user_id == "ann"


async def test_what_asahi_itself_needs_is_checked_and_named(subtests: pytest.Subtests) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": 4}, "model"),
        ({"system": 4}, "system"),
        ({"stream": "yes"}, "stream"),
    ]
    async with serving() as served:
        for fields, param in wrong:
            with subtests.test(json.dumps(fields)):
                answer = await served.ask(_PATH, _ASK | fields)
                error = answer.json()["error"]
                assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
                assert param in error["message"]
        assert served.rig.router.calls == []


_COUNT = {"messages": _ASK["messages"], "tools": [{"name": "n", "input_schema": {}}], "x_new": 1}


async def test_a_count_is_the_providers_own_with_asahi_added() -> None:
    async with serving() as served:
        served.rig.router.count = CountTokensResponse(
            input_tokens=7,
            model="claude-haiku-5-5",
            provider="anthropic",
            answer_json=b'{"input_tokens":7,"x":{"a":1.0}}',
        )
        answer = await served.ask(f"{_PATH}/count_tokens", _COUNT | {"model": "claude-haiku-5-5"})
        (asked,) = served.rig.router.counted
        assert served.rig.router.calls == []
    assert answer.status_code == 200, answer.text
    body = answer.json()
    asahi = body.pop("asahi")
    assert body == {"input_tokens": 7, "x": {"a": 1.0}}
    assert (asahi["estimated"], asahi["model"], asahi["provider"]) == (False, "claude-haiku-5-5", "anthropic")
    assert asahi["request_id"] == answer.headers["x-asahi-request-id"]
    assert json.loads(asked.prompt.native.body) == _COUNT | {"model": "claude-haiku-5-5"}


async def test_an_estimate_says_that_it_is_one() -> None:
    async with serving() as served:
        body = (await served.ask(f"{_PATH}/count_tokens", _COUNT)).json()
    assert (body["input_tokens"], body["asahi"]["estimated"]) == (12, True)


async def test_a_count_is_a_request_to_the_limits_but_no_tokens() -> None:
    async with serving() as served:
        served.auth.says.policy.rate_limits.requests_per_minute = 2
        served.auth.says.policy.rate_limits.tokens_per_minute = 1
        answers = [await served.ask(f"{_PATH}/count_tokens", _COUNT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert answers[2].json()["error"]["type"] == "rate_limit_error"


async def test_limits_are_told_in_anthropics_headers_too_on_failures_as_well() -> None:
    async with serving() as served:
        _answers(served, _body())
        served.auth.says.policy.rate_limits.requests_per_minute = 1
        served.auth.says.policy.rate_limits.tokens_per_minute = 9000
        told = [await served.ask(_PATH, _ASK), await served.ask(_PATH, _ASK)]
    assert [answer.status_code for answer in told] == [200, 429]
    now = served.rig.clock.now()
    for answer in told:
        assert answer.headers["anthropic-ratelimit-requests-limit"] == "1"
        assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
        reset = datetime.fromisoformat(answer.headers["anthropic-ratelimit-requests-reset"])
        assert timedelta(0) <= reset - now <= timedelta(seconds=62)
        assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert told[0].headers["anthropic-ratelimit-tokens-limit"] == "9000"
