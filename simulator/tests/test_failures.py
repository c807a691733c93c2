"""The ways in which the simulator fails when it is told to."""

import json
import re
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic import RateLimitError as AnthropicRateLimitError
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    InternalServerError,
    RateLimitError,
)
from openai.types.chat import ChatCompletionMessageParam

from simulator.tests.running import RunningSimulator

MODEL = "gpt-6-sol"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How do I plan a small garden?"}]
OPENAI_BODY = {"model": MODEL, "messages": QUESTION}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": OPENAI_BODY,
    "/v1/messages": {"model": MODEL, "messages": QUESTION, "max_tokens": 500},
}
PATHS = list(BODIES)


def _received_until_cut(url: str, body: dict[str, Any]) -> str:
    """What came of a stream before its connection broke."""
    received = ""
    with httpx2.stream("POST", url, json={**body, "stream": True}) as answer:
        try:
            for text in answer.iter_text():
                received += text
        except httpx2.RemoteProtocolError:
            return received
    raise AssertionError("the stream came to its end")


async def test_a_status_comes_with_retry_after_as_often_as_told(
    simulator: RunningSimulator, openai: AsyncOpenAI
) -> None:
    simulator.rules({"mode": "status", "times": 2, "params": {"status": 429, "retry_after_s": 1.5}})
    for _ in range(2):
        with pytest.raises(RateLimitError) as failed:
            await openai.chat.completions.create(model=MODEL, messages=QUESTION)
        assert failed.value.response.headers["retry-after"] == "1.5"
        assert failed.value.code == "rate_limit_exceeded"
    await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    assert simulator.state()[0]["struck"] == 2
    assert simulator.totals()["prompt_tokens"] == simulator.calls()[-1]["prompt_tokens"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503, 529])
async def test_any_status_can_be_asked_for(simulator: RunningSimulator, openai: AsyncOpenAI, status: int) -> None:
    simulator.rules({"mode": "status", "params": {"status": status, "message": "told so", "code": "why"}})
    with pytest.raises(APIStatusError) as failed:
        await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    assert failed.value.status_code == status
    assert failed.value.code == "why"
    assert "told so" in failed.value.message


async def test_anthropic_s_errors_have_its_types(simulator: RunningSimulator, anthropic: AsyncAnthropic) -> None:
    simulator.rules({"mode": "status", "params": {"status": 529}})
    answer = simulator.post("/v1/messages", BODIES["/v1/messages"])
    assert answer.status_code == 529
    assert answer.json()["error"]["type"] == "overloaded_error"
    simulator.rules({"mode": "status", "params": {"status": 429}})
    with pytest.raises(AnthropicRateLimitError):
        await anthropic.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "x"}])


def test_a_rule_strikes_only_what_it_matches(simulator: RunningSimulator) -> None:
    simulator.rules(
        {
            "mode": "status",
            "match": {"model": "gpt-5*", "api": "openai", "stream": False, "attempt": "2", "contains": "garden"},
        }
    )
    path = "/v1/chat/completions"
    matching = {"model": "gpt-5.5", "messages": QUESTION}
    second = {"x-asahi-attempt": "2"}
    assert simulator.post(path, matching, **second).status_code == 500
    assert simulator.post(path, matching).status_code == 200
    assert simulator.post(path, OPENAI_BODY, **second).status_code == 200
    assert simulator.post(path, {**matching, "stream": True}, **second).status_code == 200
    other = [{"role": "user", "content": "Something else"}]
    assert simulator.post(path, {**matching, "messages": other}, **second).status_code == 200
    assert simulator.post("/v1/messages", {**BODIES["/v1/messages"], "model": "gpt-5.5"}, **second).status_code == 200


def test_calls_can_be_let_through_first(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "status", "skip": 2, "times": 1})
    statuses = [simulator.post("/v1/chat/completions", OPENAI_BODY).status_code for _ in range(4)]
    assert statuses == [200, 200, 500, 200]


def test_a_probability_strikes_a_share_of_calls(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "status", "probability": 0.5})
    statuses = [simulator.post("/v1/chat/completions", OPENAI_BODY).status_code for _ in range(60)]
    assert 10 < statuses.count(500) < 50


async def test_a_hanging_call_is_ended_by_its_caller_and_bills_nothing(
    simulator: RunningSimulator, openai: AsyncOpenAI
) -> None:
    simulator.rules({"mode": "hang"})
    with pytest.raises(APITimeoutError):
        await openai.with_options(timeout=0.2).chat.completions.create(model=MODEL, messages=QUESTION)
    call = simulator.calls()[0]
    assert (call["status"], call["prompt_tokens"]) == (0, 0)


async def test_a_dropped_call_gets_no_answer(simulator: RunningSimulator, openai: AsyncOpenAI) -> None:
    simulator.rules({"mode": "drop", "times": 1})
    with pytest.raises(APIConnectionError):
        await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    assert [call["outcome"] for call in simulator.calls()] == ["cut", "answered"]


@pytest.mark.parametrize("path", PATHS)
def test_a_plain_answer_is_cut_in_its_midst_and_billed(simulator: RunningSimulator, path: str) -> None:
    simulator.rules({"mode": "cut"})
    with pytest.raises(httpx2.RemoteProtocolError):
        simulator.post(path, BODIES[path])
    call = simulator.calls()[0]
    assert call["outcome"] == "cut"
    assert call["completion_tokens"] > 0


@pytest.mark.parametrize("tokens", [0, 1, 9])
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_is_cut_after_so_many_tokens(simulator: RunningSimulator, path: str, tokens: int) -> None:
    simulator.rules({"mode": "cut", "params": {"after_tokens": tokens}})
    received = _received_until_cut(simulator.url + path, BODIES[path])
    contents = re.findall(r'"content":"[^"]' if "chat" in path else r'"text_delta"', received)
    assert len(contents) == tokens
    call = simulator.calls()[0]
    assert (call["outcome"], call["completion_tokens"], call["reported"]) == ("cut", tokens, None)


@pytest.mark.parametrize("path", PATHS)
def test_malformed_answers_are_no_json(simulator: RunningSimulator, path: str) -> None:
    simulator.rules({"mode": "malformed", "params": {"after_tokens": 2}})
    plain = simulator.post(path, BODIES[path])
    assert plain.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        plain.json()
    events = simulator.post(path, {**BODIES[path], "stream": True}).text.split("\n\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(events[-2].split("data: ")[1])
    assert simulator.calls()[1]["completion_tokens"] == 2


async def test_an_error_in_the_midst_of_a_stream_is_raised_by_the_sdk(
    simulator: RunningSimulator, openai: AsyncOpenAI
) -> None:
    simulator.rules({"mode": "stream_error", "params": {"after_tokens": 3, "message": "out of luck"}})
    received: list[str] = []

    async def receive() -> None:
        async for chunk in await openai.chat.completions.create(model=MODEL, messages=QUESTION, stream=True):
            received.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - what came before the error counts

    with pytest.raises(APIError, match="out of luck"):
        await receive()
    assert len([text for text in received if text]) == 3
    with pytest.raises(InternalServerError):
        await openai.chat.completions.create(model=MODEL, messages=QUESTION)


def test_anthropic_s_stream_error_is_an_event(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "stream_error", "params": {"status": 529}})
    text = simulator.post("/v1/messages", {**BODIES["/v1/messages"], "stream": True}).text
    last = text.split("\n\n")[-2]
    assert last.startswith("event: error\n")
    assert json.loads(last.split("data: ")[1])["error"]["type"] == "overloaded_error"
    assert "message_stop" not in text


@pytest.mark.parametrize(
    ("params", "factor"), [({"usage": "zero"}, 0), ({"usage": "factor", "factor": 3}, 3), ({"usage": "missing"}, None)]
)
def test_wrong_usage_is_reported_but_not_billed(
    simulator: RunningSimulator, params: dict[str, Any], factor: int | None
) -> None:
    simulator.rules({"mode": "usage", "params": params})
    body = {**OPENAI_BODY, "stream": True, "stream_options": {"include_usage": True}}
    plain = simulator.post("/v1/chat/completions", OPENAI_BODY).json()
    streamed = simulator.post("/v1/chat/completions", body).text.split("\n\n")[-3]
    for call in simulator.calls():
        billed = call["completion_tokens"]
        assert billed > 0
        if factor is None:
            assert call["reported"] is None
        else:
            assert call["reported"]["completion_tokens"] == factor * billed
    if factor is None:
        assert "usage" not in plain
        assert '"finish_reason":"stop"' in streamed
    else:
        assert plain["usage"]["completion_tokens"] == factor * simulator.calls()[0]["completion_tokens"]
        assert json.loads(streamed.removeprefix("data: "))["usage"] == plain["usage"]


def test_empty_answers_have_no_content(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "empty"})
    assert simulator.post("/v1/chat/completions", OPENAI_BODY).json()["choices"] == []
    assert simulator.post("/v1/messages", BODIES["/v1/messages"]).json()["content"] == []
    assert "content_block" not in simulator.post("/v1/messages", {**BODIES["/v1/messages"], "stream": True}).text


@pytest.mark.parametrize(
    ("mode", "finish", "stop_reason"),
    [
        ("refusal", "stop", "refusal"),
        ("content_filter", "content_filter", "refusal"),
        ("truncated", "length", "max_tokens"),
    ],
)
def test_answers_that_end_badly_say_so(simulator: RunningSimulator, mode: str, finish: str, stop_reason: str) -> None:
    simulator.rules({"mode": mode})
    openai, anthropic = (simulator.post(path, BODIES[path]).json() for path in PATHS)
    assert openai["choices"][0]["finish_reason"] == finish
    assert anthropic["stop_reason"] == stop_reason
    for path, reason in zip(PATHS, (finish, stop_reason), strict=True):
        streamed = simulator.post(path, {**BODIES[path], "stream": True}).text
        assert re.findall(r'"(?:finish|stop)_reason":"(\w+)"', streamed) == [reason]


async def test_a_refusal_is_told_apart_from_an_answer(simulator: RunningSimulator, openai: AsyncOpenAI) -> None:
    simulator.rules({"mode": "refusal"})
    plain = await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    async with openai.chat.completions.stream(model=MODEL, messages=QUESTION) as stream:
        streamed = await stream.get_final_completion()
    assert plain.choices[0].message.content is None
    assert plain.choices[0].message.refusal
    assert streamed.choices[0].message.refusal == plain.choices[0].message.refusal


async def test_a_tool_is_called_when_a_rule_says_so(simulator: RunningSimulator, openai: AsyncOpenAI) -> None:
    simulator.rules({"mode": "tool_calls"})
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION, tools=[tool])
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_rule_says_which_tool_is_called_with_what(simulator: RunningSimulator, openai: AsyncOpenAI) -> None:
    simulator.rules({"mode": "tool_calls", "params": {"arguments": {"look_up": {"word": "rain"}}}})
    tools: Any = [{"type": "function", "function": {"name": name}} for name in ("translate", "look_up")]
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION, tools=tools)
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [("look_up", '{"word":"rain"}')]


def test_a_rule_sets_text_and_length(simulator: RunningSimulator) -> None:
    simulator.rules(
        {"mode": "answer", "times": 1, "params": {"text": "Exactly this."}},
        {"mode": "answer", "params": {"answer_tokens": 2000}},
    )
    texts = [simulator.post("/v1/chat/completions", OPENAI_BODY).json() for _ in range(2)]
    assert texts[0]["choices"][0]["message"]["content"] == "Exactly this."
    assert texts[1]["usage"]["completion_tokens"] == 2000


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"mode": "status"}, "Not a list of rules"),
        ([{"mode": "explode"}], "Invalid enum value 'explode'"),
        ([{"mode": "cut", "params": {"after": 3}}], "unknown field `after`"),
        ([{"mode": "slow"}], "mode slow needs"),
        ([{"mode": "status", "params": {"status": 200}}], "status must be 400 to 599"),
        ([{"mode": "status", "probability": 2}], "probability must be 0 to 1"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(simulator: RunningSimulator, rules: Any, words: str) -> None:
    answer = simulator.put("/control", rules)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert simulator.state() == []
