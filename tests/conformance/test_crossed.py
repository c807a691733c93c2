"""Each SDK answered by a provider of the other protocol: the right types, whole, whether plain, streamed or cached."""

from typing import Any

import pytest
from anthropic import BadRequestError as AnthropicsBadRequest
from anthropic.types import Message
from openai import BadRequestError as OpenAIsBadRequest
from openai.types.chat import ChatCompletion

from tests.conformance import anthropic_cases, openai_cases
from tests.conformance.places import Place

OPENAIS, ANTHROPICS = ("gpt-4.1-nano", "gpt-6-luna"), ("claude-haiku-5-5", "claude-haiku-4-5")
_BY_OPENAI = {
    "a text", "unicode", "blocks of text", "a system text", "system blocks", "a cached system block",
    "an hour in the cache", "several turns", "a turn of the system's", "a beginning of the answer", "a short limit",
    "an end user", "a tier", "a beta", "an image", "an image elsewhere", "a schema", "tools that are not called",
    "tools called at once", "one call at a time", "some tool", "a named tool", "no tool", "a result",
    "a result in blocks", "an empty result", "a result and more",
}  # fmt: skip
_REFUSED_BY_OPENAI = {
    "fields that nobody knows": "some_new_field",
    "a document": "messages[0].content[0]",
    "thoughts of before": "messages[1].content[0]",
    "thinking": "thinking",
    "an effort": "output_config.effort",
    "a result with an image": "messages[2].content[0].content",
    "a failed call": "messages[2].content[0].is_error",
    "sampling": "top_k",
}
_BY_ANTHROPIC = {
    "a text", "unicode", "instructions", "a developer's instructions", "several turns", "a stop text", "a short limit",
    "an older limit", "a schema", "labels", "tools that are not called", "tools called at once", "one call at a time",
    "some tool", "a named tool", "no tool", "a result",
}  # fmt: skip
_REFUSED_BY_ANTHROPIC = {
    "an image": "messages[0].content[1].image_url.detail",
    "sampling": "seed",
    "penalties": "frequency_penalty",
    "several answers": "n",
    "log probabilities": "logprobs",
    "some JSON": "response_format",
    "an effort": "reasoning_effort",
    "fields that nobody knows": "some_new_field",
}
_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def _anthropic(case: str, model: str) -> dict[str, Any]:
    return {**anthropic_cases.CASES[case], "model": model}


def test_every_case_is_answered_or_refused() -> None:
    stops = {"a stop text that is met", "a stop text that is not"}
    assert _BY_OPENAI | _REFUSED_BY_OPENAI.keys() | stops == set(anthropic_cases.CASES)
    assert _BY_ANTHROPIC | _REFUSED_BY_ANTHROPIC.keys() == set(openai_cases.CASES)


@pytest.mark.parametrize("model", OPENAIS)
@pytest.mark.parametrize("case", sorted(_BY_OPENAI))
def test_anthropics_sdk_answered_by_an_openai_provider(case: str, model: str, asahi: Place) -> None:
    question = _anthropic(case, model)
    with asahi.anthropic() as sdk:
        with sdk.messages.stream(**question) as stream:
            streamed = stream.get_final_message()
        plain = sdk.messages.create(**{**question, "extra_headers": {"cache-control": "no-cache"}})
        cached = sdk.messages.create(**question)
    for message in (streamed, plain, cached):
        Message.model_validate(message.to_dict())
        assert _told(message) == _told(plain)
        assert message.content
    for call in (block for block in plain.content if block.type == "tool_use"):
        assert call.name in {"forecast", "journey"}
        assert {"city", "days"} <= call.input.keys()
    if case == "a short limit":
        assert (plain.stop_reason, plain.usage.output_tokens) == ("max_tokens", 7)


def _told(message: Message) -> Any:
    """What two answers to the same question have in common."""
    usage = message.usage.to_dict()
    blocks = [{**block.to_dict(), "parsed_output": None} for block in message.content]
    counted = sum(usage[name] or 0 for name in _TOKENS)  # type: ignore[misc]  # figures all of them
    return message.model, message.role, message.stop_reason, blocks, counted


@pytest.mark.parametrize("model", ANTHROPICS)
@pytest.mark.parametrize("case", sorted(_BY_ANTHROPIC))
def test_openais_sdk_answered_by_an_anthropic_provider(case: str, model: str, asahi: Place) -> None:
    question = {**openai_cases.CASES[case], "model": model}
    with asahi.openai() as sdk:
        streamed: dict[str, Any] = {"content": "", "calls": {}, "reason": None}
        with sdk.chat.completions.create(**question, stream=True) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    streamed["content"] += choice.delta.content or ""
                    for call in choice.delta.tool_calls or ():
                        known = streamed["calls"].setdefault(call.index, ["", "", ""])
                        known[0] += call.id or ""
                        if call.function is not None:
                            known[1] += call.function.name or ""
                            known[2] += call.function.arguments or ""
                    streamed["reason"] = choice.finish_reason or streamed["reason"]
        plain = sdk.chat.completions.create(**{**question, "extra_headers": {"cache-control": "no-cache"}})
        cached = sdk.chat.completions.create(**question)
    ChatCompletion.model_validate(plain.to_dict())
    (choice,) = plain.choices
    assert cached.choices == plain.choices
    assert streamed["content"] == (choice.message.content or "")
    calls = [call.to_dict()["function"] for call in choice.message.tool_calls or ()]
    assert [list(call) for call in streamed["calls"].values()] == [
        [made.id, call["name"], call["arguments"]]
        for made, call in zip(choice.message.tool_calls or (), calls, strict=True)
    ]
    assert streamed["reason"] == choice.finish_reason
    assert plain.usage is not None
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens


@pytest.mark.parametrize(("case", "param"), _REFUSED_BY_OPENAI.items())
def test_what_openais_protocol_cannot_carry_is_refused_by_its_name(case: str, param: str, asahi: Place) -> None:
    question = _anthropic(case, "gpt-4.1-nano")
    with asahi.anthropic() as sdk, pytest.raises(AnthropicsBadRequest) as refused:
        sdk.messages.create(**question)
    assert f"'{param}'" in str(refused.value)


def test_a_parameter_that_a_model_refuses_is_named_as_the_caller_knows_it(asahi: Place) -> None:
    question = {**anthropic_cases.CASES["a stop text that is met"], "model": "gpt-6-luna"}
    with asahi.anthropic() as sdk, pytest.raises(AnthropicsBadRequest) as refused:
        sdk.messages.create(**question)
    assert "'stop_sequences'" in str(refused.value)


@pytest.mark.parametrize(("case", "param"), _REFUSED_BY_ANTHROPIC.items())
def test_what_anthropics_protocol_cannot_carry_is_refused_by_its_name(case: str, param: str, asahi: Place) -> None:
    question = {**openai_cases.CASES[case], "model": "claude-haiku-4-5"}
    with asahi.openai() as sdk, pytest.raises(OpenAIsBadRequest) as refused:
        sdk.chat.completions.create(**question)
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", param)


@pytest.mark.parametrize("case", sorted(anthropic_cases.CASES))
def test_autopilot_leaves_models_aside_that_cannot_take_the_question(case: str, asahi: Place) -> None:
    question = _anthropic(case, "asahi")
    with asahi.anthropic() as sdk:
        message = sdk.messages.create(**question)
    assert message.content
    if case in _REFUSED_BY_OPENAI:
        assert message.model.startswith("claude-")
