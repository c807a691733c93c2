"""The official SDKs are the oracle: what they see of a provider, our clients' callers see as well."""

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from asahi.type.v1.chat_pb2 import Api
from asahi_router.providers import ProviderProtocol
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.openai.dialect import OpenAI
from services.router.tests.provider_calls import (
    ANTHROPIC_BODY,
    MODEL,
    OPENAI_BODY,
    PROTOCOLS,
    client_of,
    gather,
    native,
    provider_call,
)
from simulator.tests.running import RunningSimulator

OPENAI, ANTHROPIC = Api.API_OPENAI_CHAT_COMPLETIONS, Api.API_ANTHROPIC_MESSAGES
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
SCHEMA |= {"required": ["city", "days"]}
OPENAI_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("forecast", "journey")
]
ANTHROPIC_TOOLS = [{"name": name, "input_schema": SCHEMA} for name in ("forecast", "journey")]
ASKING_FOR_TOOLS = {"messages": [{"role": "user", "content": "Use forecast and journey."}]}
OPENAI_QUESTIONS: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": {**ASKING_FOR_TOOLS, "tools": OPENAI_TOOLS},
    "choices": {"n": 3},
    "logprobs": {"logprobs": True, "max_tokens": 12},
    "limit": {"max_completion_tokens": 9},
    "reasoning": {"reasoning_effort": "low"},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}},
}
ANTHROPIC_QUESTIONS: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": {**ASKING_FOR_TOOLS, "tools": ANTHROPIC_TOOLS},
    "limit": {"max_tokens": 9},
    "stop": {"stop_sequences": ["."]},
    "schema": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
}


def _timeless(body: Any) -> Any:
    """`body` without what is another with every call."""
    return {name: value for name, value in body.items() if name not in {"id", "created"}}


@pytest.mark.parametrize("question", OPENAI_QUESTIONS)
async def test_openai_s_sdk_and_we_see_the_same(simulator: RunningSimulator, question: str) -> None:
    body = {**OPENAI_BODY, **OPENAI_QUESTIONS[question]}
    async with (
        AsyncOpenAI(api_key="none", base_url=f"{simulator.url}/v1", max_retries=0) as sdk,
        client_of(simulator.url, ProviderProtocol.OPENAI) as provider,
    ):
        wanted = await sdk.chat.completions.create(**{**body, "model": MODEL})
        plain = await gather(provider, provider_call(native(OPENAI, body)))
        streamed = await gather(provider, provider_call(native(OPENAI, body), stream=True))
    for gathered in (plain, streamed):
        seen = ChatCompletion.model_validate_json(gathered.answer.native.body)
        assert _timeless(seen.to_dict(exclude_unset=False)) == _timeless(wanted.to_dict(exclude_unset=False)) or (
            gathered is streamed and _without_annotations(seen) == _without_annotations(wanted)
        )
    assert wanted.usage is not None
    assert plain.answer.usage.output_tokens == wanted.usage.completion_tokens
    for event in streamed.deltas:
        ChatCompletionChunk.model_validate_json(event.event_json)
    assert streamed.deltas[-1].usage_only
    assert sum(delta.finishes for delta in streamed.deltas) == len(wanted.choices)


def _without_annotations(completion: ChatCompletion) -> Any:
    """Annotations never come in a stream."""
    body = _timeless(completion.to_dict(exclude_unset=False))
    for choice in body["choices"]:
        choice["message"].pop("annotations", None)
    return body


@pytest.mark.parametrize("question", ANTHROPIC_QUESTIONS)
async def test_anthropic_s_sdk_and_we_see_the_same(simulator: RunningSimulator, question: str) -> None:
    body = {**ANTHROPIC_BODY, **ANTHROPIC_QUESTIONS[question]}
    async with (
        AsyncAnthropic(api_key="none", base_url=simulator.url, max_retries=0) as sdk,
        client_of(simulator.url, ProviderProtocol.ANTHROPIC) as provider,
    ):
        wanted = await sdk.messages.create(**{**body, "model": MODEL})
        plain = await gather(provider, provider_call(native(ANTHROPIC, body)))
        streamed = await gather(provider, provider_call(native(ANTHROPIC, body), stream=True))
    for gathered in (plain, streamed):
        seen = Message.model_validate_json(gathered.answer.native.body)
        assert _timeless(seen.to_dict(exclude_unset=False)) == _timeless(wanted.to_dict(exclude_unset=False))
    assert plain.answer.usage.output_tokens == wanted.usage.output_tokens


@pytest.mark.parametrize("api", [OPENAI, ANTHROPIC])
async def test_all_of_a_body_but_the_model_and_the_stream_goes_on_as_it_was_written(
    simulator: RunningSimulator, api: Api.ValueType
) -> None:
    dialect = OpenAI() if api == OPENAI else Anthropic()
    body = b'{"a":1.50, "model":"asahi","n":12345678901234567890123, "x":{"b" : [1,2 ]},"stream":true, "e":"\\u00e9"}'
    plain = dialect.adapt(body, "m", stream=False)
    assert plain == b'{"a":1.50,"model":"m","n":12345678901234567890123,"x":{"b" : [1,2 ]},"e":"\\u00e9"}'
    assert dialect.adapt(b'{"organization_id":"org_1","model":"x"}', "m", stream=False) == b'{"model":"m"}'
    streamed = json.loads(dialect.adapt(b'{"stream_options":{"x":1}}', "m", stream=True))
    assert streamed["stream"] is True
    assert streamed["stream_options"] == ({"x": 1, "include_usage": True} if api == OPENAI else {"x": 1})


@pytest.mark.parametrize("question", ["text", "tools", "limit"])
async def test_anthropic_s_sdk_can_read_what_an_openai_provider_said(
    simulator: RunningSimulator, question: str
) -> None:
    body = {**ANTHROPIC_BODY, **ANTHROPIC_QUESTIONS[question]}
    async with client_of(simulator.url, PROTOCOLS[OPENAI]) as provider:
        plain = await gather(provider, provider_call(native(ANTHROPIC, body)))
        streamed = await gather(provider, provider_call(native(ANTHROPIC, body), stream=True))
    message = Message.model_validate_json(plain.answer.native.body)
    again = Message.model_validate_json(streamed.answer.native.body)
    assert message.content == again.content
    assert message.stop_reason == again.stop_reason
    assert message.usage.output_tokens == plain.answer.usage.output_tokens
    assert _assembled(streamed.events) == json.loads(streamed.answer.native.body)["content"]
    kinds = [event["type"] for event in streamed.events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])


def _assembled(events: list[Any]) -> list[Any]:
    """The content that a stream's reader puts together."""
    content: list[Any] = []
    for event in events:
        match event["type"]:
            case "content_block_start":
                content.append({**event["content_block"], "partial": ""})
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                content[event["index"]]["text"] += event["delta"]["text"]
            case "content_block_delta":
                content[event["index"]]["partial"] += event["delta"]["partial_json"]
    for block in content:
        partial = block.pop("partial")
        if block["type"] == "tool_use":
            block["input"] = json.loads(partial)
    return content


@pytest.mark.parametrize("question", ["text", "tools", "limit"])
async def test_openai_s_sdk_can_read_what_an_anthropic_provider_said(
    simulator: RunningSimulator, question: str
) -> None:
    body = {**OPENAI_BODY, **OPENAI_QUESTIONS[question]}
    async with client_of(simulator.url, PROTOCOLS[ANTHROPIC]) as provider:
        plain = await gather(provider, provider_call(native(OPENAI, body)))
        streamed = await gather(provider, provider_call(native(OPENAI, body), stream=True))
    completion = ChatCompletion.model_validate_json(plain.answer.native.body)
    again = ChatCompletion.model_validate_json(streamed.answer.native.body)
    assert completion.choices == again.choices
    chunks = [ChatCompletionChunk.model_validate_json(delta.event_json) for delta in streamed.deltas]
    content = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert content == (completion.choices[0].message.content or "")
    assert chunks[-1].usage == completion.usage
    assert {chunk.id for chunk in chunks} == {again.id}
