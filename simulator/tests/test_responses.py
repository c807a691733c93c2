"""OpenAI's responses, seen through the official SDK."""

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types.responses import Response
from pydantic import BaseModel

from asahi_simulator.domain.tokens import split
from simulator.tests.running import RunningSimulator

MODEL = "gpt-6-sol"
QUESTION = "How do I plan a small garden?"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "strict": None,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK: dict[str, Any] = {"type": "function", "name": "get_time", "strict": None, "parameters": {}}


async def _both(openai: AsyncOpenAI, **question: Any) -> tuple[Response, list[Any]]:
    """The answer, plain and as events, which end with the same."""
    plain = await openai.responses.create(model=MODEL, **question)
    async with openai.responses.stream(model=MODEL, **question) as stream:
        events: list[Any] = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == f"response.{plain.status}"
    assert _said(events[-1].response) == _said(plain)
    assert events[-1].response.usage == plain.usage
    return plain, events


def _said(response: Response) -> list[Any]:
    anew = {"id": "", "call_id": "", "parsed_arguments": None}
    return [item.to_dict() | anew | {"content": _texts(item)} for item in response.output]


def _texts(item: Any) -> Any:
    return [part.to_dict() | {"parsed": None} for part in getattr(item, "content", None) or ()]


async def test_an_answer_is_the_same_plain_and_streamed_and_counts_its_tokens(
    openai: AsyncOpenAI, simulator: RunningSimulator
) -> None:
    plain, events = await _both(openai, input=QUESTION, instructions="Be brief.", metadata={"a": "b"})
    assert plain.usage is not None
    assert plain.usage.output_tokens == len(split(plain.output_text))
    assert (plain.instructions, plain.metadata, plain.status) == ("Be brief.", {"a": "b"}, "completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == plain.output_text
    assert len(deltas) > 10
    for call in simulator.calls()[-2:]:
        assert call["completion_tokens"] == plain.usage.output_tokens
        assert call["prompt_tokens"] == plain.usage.input_tokens


@pytest.mark.parametrize(("text", "names"), [("Use get_weather and get_time.", 2), ("Use get_time.", 1)])
async def test_tools_that_are_named_are_called(openai: AsyncOpenAI, text: str, names: int) -> None:
    plain, events = await _both(openai, input=text, tools=[WEATHER, CLOCK])
    calls = [item for item in plain.output if item.type == "function_call"]
    assert len(calls) == len(plain.output) == names
    assert all(json.loads(call.arguments) for call in calls)
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == [call.arguments for call in calls]


async def test_a_tool_of_the_providers_own_is_used_when_it_is_named(openai: AsyncOpenAI) -> None:
    plain, events = await _both(openai, input="Use web_search.", tools=[{"type": "web_search"}])
    assert [item.type for item in plain.output] == ["web_search_call"]
    assert "response.web_search_call.completed" in {event.type for event in events}


async def test_thoughts_come_first_and_count(openai: AsyncOpenAI, simulator: RunningSimulator) -> None:
    plain, _ = await _both(openai, input="Think.", reasoning={"effort": "low"})
    assert [item.type for item in plain.output] == ["reasoning", "message"]
    assert plain.usage is not None
    assert plain.usage.output_tokens_details.reasoning_tokens == 32
    assert [call["reasoning_tokens"] for call in simulator.calls()[-2:]] == [32, 32]


class _Trip(BaseModel):
    city: str
    days: int


async def test_an_answer_fits_the_schema(openai: AsyncOpenAI) -> None:
    parsed = await openai.responses.parse(model=MODEL, input="Plan a trip.", text_format=_Trip)
    assert isinstance(parsed.output_parsed, _Trip)


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [("truncated", "incomplete", "max_output_tokens"), ("content_filter", "incomplete", "content_filter")],
)
async def test_an_answer_that_is_cut_says_why(
    openai: AsyncOpenAI, simulator: RunningSimulator, mode: str, status: str, reason: str
) -> None:
    simulator.rules({"mode": mode})
    plain, _ = await _both(openai, input=QUESTION)
    assert plain.incomplete_details is not None
    assert (plain.status, plain.incomplete_details.reason) == (status, reason)


async def test_a_refusal_is_one_and_an_empty_answer_is_empty(openai: AsyncOpenAI, simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "refusal"})
    refused, _ = await _both(openai, input=QUESTION)
    assert [part.type for item in refused.output if item.type == "message" for part in item.content] == ["refusal"]
    simulator.rules({"mode": "empty"})
    assert (await openai.responses.create(model=MODEL, input=QUESTION)).output == []


async def test_what_is_wrong_is_refused_by_name(openai: AsyncOpenAI) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"input": []}, "input"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    )
    for fields, param in wrong:
        with pytest.raises(BadRequestError) as refused:
            await openai.responses.create(model=MODEL, **fields)
        assert refused.value.param == param


async def test_an_error_in_the_midst_of_a_stream_is_its_last_event(
    openai: AsyncOpenAI, simulator: RunningSimulator
) -> None:
    simulator.rules({"mode": "stream_error", "params": {"status": 503, "after_tokens": 3, "message": "Too much."}})
    stream = await openai.responses.create(model=MODEL, input=QUESTION, stream=True)
    events: list[Any] = [event async for event in stream]
    assert events[-1].type == "error"
    assert events[-1].message == "Too much."
