"""Anthropic's messages, seen through the official SDK."""

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError
from anthropic.types import MessageParam, TextBlock, ThinkingBlock, ToolParam, ToolUseBlock

from asahi_simulator.domain.tokens import split
from simulator.tests.running import RunningSimulator

MODEL = "claude-sonnet-5-5"
QUESTION: list[MessageParam] = [{"role": "user", "content": "How do I plan a small garden?"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
LONG = "Consider every one of these words with care. " * 150


async def test_a_plain_answer_counts_its_tokens_exactly(anthropic: AsyncAnthropic) -> None:
    answer = await anthropic.messages.create(model=MODEL, max_tokens=500, messages=QUESTION)
    assert isinstance(answer.content[0], TextBlock)
    assert answer.usage.output_tokens == len(split(answer.content[0].text))
    assert (answer.model, answer.stop_reason) == (MODEL, "end_turn")
    counted = await anthropic.messages.count_tokens(model=MODEL, messages=QUESTION)
    assert counted.input_tokens == answer.usage.input_tokens


async def test_a_stream_comes_in_anthropic_s_order(simulator: RunningSimulator) -> None:
    body = {"model": MODEL, "max_tokens": 3, "messages": QUESTION, "stream": True}
    events = [event.split("\n") for event in simulator.post("/v1/messages", body).text.split("\n\n") if event]
    names = [event[0].removeprefix("event: ") for event in events]
    data: list[dict[str, Any]] = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [entry["type"] for entry in data] == names
    assert data[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert data[-2]["usage"]["output_tokens"] == 3


async def test_the_sdk_puts_a_stream_together_to_the_plain_answer(anthropic: AsyncAnthropic) -> None:
    plain = await anthropic.messages.create(model=MODEL, max_tokens=500, messages=QUESTION)
    async with anthropic.messages.stream(model=MODEL, max_tokens=500, messages=QUESTION) as stream:
        streamed = await stream.get_final_message()
    assert streamed.content[0].model_dump()["text"] == plain.content[0].model_dump()["text"]
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert streamed.stop_reason == "end_turn"


async def test_a_stop_sequence_is_named(anthropic: AsyncAnthropic) -> None:
    answer = await anthropic.messages.create(model=MODEL, max_tokens=500, messages=QUESTION, stop_sequences=["."])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", ".")


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
async def test_a_forced_tool_is_called(anthropic: AsyncAnthropic, choice: Any) -> None:
    answer = await anthropic.messages.create(
        model=MODEL, max_tokens=500, messages=QUESTION, tools=[WEATHER], tool_choice=choice
    )
    assert answer.stop_reason == "tool_use"
    assert isinstance(answer.content[0], ToolUseBlock)
    assert answer.content[0].name == "get_weather"
    assert isinstance(answer.content[0].input["city"], str)


async def test_a_tool_named_in_the_question_is_called_and_streamed(anthropic: AsyncAnthropic) -> None:
    async with anthropic.messages.stream(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "Call get_weather now"}], tools=[WEATHER]
    ) as stream:
        answer = await stream.get_final_message()
    assert isinstance(answer.content[0], ToolUseBlock)
    assert answer.content[0].input["city"]


async def test_a_tool_s_result_is_answered_in_words(anthropic: AsyncAnthropic) -> None:
    messages: Any = [
        {"role": "user", "content": "Call get_weather"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
    ]
    answer = await anthropic.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=[WEATHER])
    assert isinstance(answer.content[0], TextBlock)


async def test_a_marked_prefix_is_written_once_then_read(anthropic: AsyncAnthropic) -> None:
    system: Any = [
        {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ]
    first, second = [
        (await anthropic.messages.create(model=MODEL, max_tokens=5, system=system, messages=QUESTION)).usage
        for _ in range(2)
    ]
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_1h_input_tokens == len(split(LONG))
    assert first.cache_creation.ephemeral_5m_input_tokens == len(split("Be brief."))
    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    assert second.input_tokens == first.input_tokens


async def test_nothing_is_cached_without_a_mark(anthropic: AsyncAnthropic) -> None:
    for _ in range(2):
        answer = await anthropic.messages.create(model=MODEL, max_tokens=5, system=LONG, messages=QUESTION)
        assert answer.usage.cache_creation_input_tokens == 0
        assert answer.usage.cache_read_input_tokens == 0


async def test_a_schema_is_answered_with_a_fitting_document(anthropic: AsyncAnthropic) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}}
    answer = await anthropic.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=QUESTION,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert isinstance(answer.content[0], TextBlock)
    assert json.loads(answer.content[0].text)["color"] in {"red", "blue"}


def test_a_wrong_body_is_refused_in_anthropic_s_shape(simulator: RunningSimulator) -> None:
    answer = simulator.post("/v1/messages", {"model": MODEL, "messages": QUESTION})
    body = answer.json()
    assert answer.status_code == 400
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert "max_tokens" in body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]


async def test_too_many_marks_are_refused(anthropic: AsyncAnthropic) -> None:
    block: Any = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    with pytest.raises(BadRequestError, match="maximum of 4 blocks"):
        await anthropic.messages.create(model=MODEL, max_tokens=5, system=[block] * 5, messages=QUESTION)


async def test_models_are_listed_in_anthropic_s_shape(anthropic: AsyncAnthropic) -> None:
    names = [model.id async for model in anthropic.models.list()]
    assert MODEL in names
    assert (await anthropic.models.retrieve(MODEL)).lifecycle == "active"


async def test_thoughts_are_shown_signed_billed_and_refused_once_touched(anthropic: AsyncAnthropic) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    plain = await anthropic.messages.create(**asked, messages=QUESTION)
    async with anthropic.messages.stream(**asked, messages=QUESTION) as stream:
        streamed = await stream.get_final_message()
    thought, said = plain.content
    assert isinstance(thought, ThinkingBlock)
    assert isinstance(said, TextBlock)
    assert [block.model_dump(exclude={"parsed_output"}) for block in streamed.content] == [
        block.model_dump() for block in plain.content
    ]
    assert plain.usage.output_tokens == streamed.usage.output_tokens
    assert plain.usage.output_tokens == len(split(said.text)) + len(split(thought.thinking))
    again: Any = {"role": "assistant", "content": [thought.to_dict(), said.to_dict()]}
    on: list[Any] = [*QUESTION, again, {"role": "user", "content": "Go on."}]
    assert (await anthropic.messages.create(**asked, messages=on)).content
    thought.thinking += " touched"
    touched: Any = {"role": "assistant", "content": [thought.to_dict(), said.to_dict()]}
    with pytest.raises(BadRequestError, match="Invalid `signature` in `thinking` block"):
        await anthropic.messages.create(**asked, messages=[*QUESTION, touched, on[-1]])
