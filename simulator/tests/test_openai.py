"""OpenAI's chat completions, seen through the official SDK."""

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from asahi_simulator.domain.tokens import split
from simulator.tests.running import RunningSimulator

MODEL = "gpt-6-sol"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How do I plan a small garden?"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK: ChatCompletionToolParam = {"type": "function", "function": {"name": "get_time", "parameters": {}}}


async def test_a_plain_answer_counts_its_tokens_exactly(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    text = answer.choices[0].message.content
    assert text is not None
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(split(text))
    assert 60 <= answer.usage.completion_tokens <= 150
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer.model, answer.system_fingerprint) == (MODEL, "simulator")
    assert answer.choices[0].finish_reason == "stop"


async def test_the_same_request_gets_the_same_text_plain_and_streamed(openai: AsyncOpenAI) -> None:
    first = await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    again = await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    streamed = await openai.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in streamed])
    assert first.choices[0].message.content == again.choices[0].message.content == text
    assert first.id != again.id


async def test_another_question_or_seed_gets_another_text(openai: AsyncOpenAI) -> None:
    texts = {
        (await openai.chat.completions.create(model=MODEL, messages=messages, seed=seed)).choices[0].message.content
        for messages in (QUESTION, [*QUESTION, *QUESTION])
        for seed in (0, 1)
    }
    assert len(texts) == 4


async def test_a_stream_comes_in_openai_s_order(simulator: RunningSimulator) -> None:
    body = {"model": MODEL, "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    answer = simulator.post("/v1/chat/completions", body)
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    first, *middle, last, usage = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(list(chunk["choices"][0]["delta"]) == ["content"] for chunk in middle)
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(middle)
    assert answer.headers["x-simulator"] == "true"
    assert answer.headers["server"] == "asahi-simulator"


async def test_usage_is_streamed_only_when_asked_for(simulator: RunningSimulator) -> None:
    answer = simulator.post("/v1/chat/completions", {"model": MODEL, "messages": QUESTION, "stream": True})
    assert '"usage"' not in answer.text


async def test_max_tokens_cuts_the_answer_short(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=7)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


async def test_a_stop_sequence_ends_the_answer_before_it(openai: AsyncOpenAI) -> None:
    whole = await openai.chat.completions.create(model=MODEL, messages=QUESTION)
    stopped = await openai.chat.completions.create(model=MODEL, messages=QUESTION, stop=["."])
    text = whole.choices[0].message.content
    assert text is not None
    assert stopped.choices[0].message.content == text[: text.index(".")]
    assert stopped.choices[0].finish_reason == "stop"


async def test_several_choices_differ_and_are_all_counted(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION, n=3)
    texts = [choice.message.content or "" for choice in answer.choices]
    assert len(set(texts)) == 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(len(split(text)) for text in texts)
    streamed = await openai.chat.completions.create(model=MODEL, messages=QUESTION, n=3, stream=True)
    again = ["", "", ""]
    async for chunk in streamed:
        again[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert again == texts


async def test_reasoning_is_part_of_the_completion_and_of_its_limit(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=QUESTION, reasoning_effort="low")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 32
    assert answer.usage.completion_tokens == 32 + len(split(answer.choices[0].message.content or ""))
    spent = await openai.chat.completions.create(
        model=MODEL, messages=QUESTION, reasoning_effort="low", max_completion_tokens=10
    )
    assert (spent.choices[0].message.content, spent.choices[0].finish_reason) == ("", "length")


async def test_a_forced_tool_is_called_with_fitting_arguments(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    arguments = json.loads(calls[0].function.arguments)
    assert isinstance(arguments["city"], str)
    assert arguments["unit"] in {"C", "F"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1 + len(split(calls[0].function.arguments))


async def test_tools_named_in_the_question_are_called_in_parallel_and_streamed(openai: AsyncOpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Use get_weather, and get_time too."}]
    async with openai.chat.completions.stream(model=MODEL, messages=messages, tools=[WEATHER, CLOCK]) as stream:
        answer = await stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0].function.arguments)["city"]
    assert calls[0].id != calls[1].id


async def test_a_tool_s_result_is_answered_in_words(openai: AsyncOpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "Use get_time."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    ]
    answer = await openai.chat.completions.create(model=MODEL, messages=messages, tools=[CLOCK])
    assert answer.choices[0].message.content


@pytest.mark.parametrize("tool_choice", ["none", "auto"])
async def test_tools_are_left_alone_unless_named_or_forced(openai: AsyncOpenAI, tool_choice: Any) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice=tool_choice
    )
    assert answer.choices[0].message.tool_calls is None


async def test_a_schema_is_answered_with_a_fitting_document(openai: AsyncOpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 9}},
    }
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )
    document = json.loads(answer.choices[0].message.content or "")
    assert isinstance(document["name"], str)
    assert 0 <= document["age"] <= 9


async def test_logprobs_have_one_entry_a_token(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL, messages=QUESTION, logprobs=True, top_logprobs=1, max_tokens=5
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert "".join(entry.token for entry in told.content or ()) == answer.choices[0].message.content
    streamed = await openai.chat.completions.create(
        model=MODEL, messages=QUESTION, logprobs=True, max_tokens=5, stream=True
    )
    chunks = [chunk.choices[0].logprobs async for chunk in streamed if chunk.choices[0].delta.content]
    assert [chunk.content for chunk in chunks if chunk is not None] == [[entry] for entry in told.content or ()]


async def test_a_long_prefix_seen_before_is_cached_in_steps_of_128(openai: AsyncOpenAI) -> None:
    system = "Consider every one of these words with care. " * 150
    cached = []
    for question in ("One?", "Two?"):
        answer = await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": system}, {"role": "user", "content": question}]
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append(answer.usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0


async def test_pictures_cost_85_tokens_each(openai: AsyncOpenAI) -> None:
    picture: Any = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    text: Any = {"type": "text", "text": "What is this?"}
    with_picture = await openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": [text, picture]}]
    )
    without = await openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [text]}])
    assert with_picture.usage is not None
    assert without.usage is not None
    assert with_picture.usage.prompt_tokens - without.usage.prompt_tokens == 85


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{not json", None, "could not parse the JSON body"),
        (b'{"model": "gpt-6-sol"}', "messages", "Missing required parameter: 'messages'"),
        (b'{"model": "gpt-6-sol", "messages": []}', "messages", "empty array"),
        (b'{"model": 5, "messages": []}', "model", "Expected `str`, got `int`".replace("`", "'")),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 0}', "n", "at least 1"),
    ],
)
def test_a_wrong_body_is_refused_with_all_four_fields(
    simulator: RunningSimulator, body: bytes, param: str | None, words: str
) -> None:
    answer = simulator.post("/v1/chat/completions", body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]
    assert simulator.totals()["error"] == 1


async def test_the_sdk_raises_its_own_errors(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError):
        await openai.chat.completions.create(model=MODEL, messages=[])
    with pytest.raises(NotFoundError):
        await openai.models.retrieve("no-such-model")


async def test_models_are_listed(openai: AsyncOpenAI) -> None:
    names = [model.id async for model in openai.models.list()]
    assert "gpt-6.1-sol" in names
    assert (await openai.models.retrieve(names[0])).owned_by == "simulator"
