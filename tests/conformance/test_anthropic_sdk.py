"""Anthropic's SDK, pointed at Asahi and at the provider itself: its user sees the same, from the cache as well."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance import seen
from tests.conformance.anthropic_cases import CASES, NEVER_KEPT
from tests.conformance.places import Place

Question = dict[str, Any]


def _created(at: Place, question: Question) -> Any:
    with at.anthropic() as sdk:
        return seen.of(sdk.messages.create(**question))


def _raw(at: Place, question: Question) -> Any:
    with at.anthropic() as sdk:
        raw = sdk.messages.with_raw_response.create(**question)
        return raw.status_code, raw.headers["content-type"], seen.of(raw.parse())


def _events(at: Place, question: Question) -> Any:
    with at.anthropic() as sdk, sdk.messages.create(**question, stream=True) as stream:
        return [seen.of(event) for event in stream]


def _helped(at: Place, question: Question) -> Any:
    with at.anthropic() as sdk, sdk.messages.stream(**question) as stream:
        text = "".join(event.text for event in stream if event.type == "text")
        return text, seen.of(stream.get_final_message())


def _created_async(at: Place, question: Question) -> Any:
    async def create() -> Any:
        async with at.async_anthropic() as sdk:
            return seen.of(await sdk.messages.create(**question))

    return asyncio.run(create())


def _helped_async(at: Place, question: Question) -> Any:
    async def stream() -> Any:
        async with at.async_anthropic() as sdk, sdk.messages.stream(**question) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            return text, seen.of(await stream.get_final_message())

    return asyncio.run(stream())


def _beta(at: Place, question: Question) -> Any:
    with at.anthropic() as sdk:
        return seen.of(sdk.beta.messages.create(**question))


WAYS: dict[str, Callable[[Place, Question], Any]] = {
    "created": _created,
    "with headers": _raw,
    "by events": _events,
    "by the stream's helper": _helped,
    "created asynchronously": _created_async,
    "by the asynchronous helper": _helped_async,
    "by the beta API": _beta,
}
CACHED_BY_THE_PROVIDER = {"a cached system block", "an hour in the cache"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_a_new_answer_is_the_providers(case: str, way: str, direct: Place, asahi: Place) -> None:
    wanted, found = WAYS[way](direct, CASES[case]), WAYS[way](asahi, CASES[case])
    if case in CACHED_BY_THE_PROVIDER:
        wanted, found = without_usage(wanted), without_usage(found)
    assert found == wanted


@pytest.mark.parametrize("way", [way for way in WAYS if way != "by events"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in NEVER_KEPT])
def test_an_answer_of_the_cache_is_what_the_new_one_was(case: str, way: str, asahi: Place) -> None:
    first = WAYS[way](asahi, CASES[case])
    assert WAYS[way](asahi, CASES[case]) == first
    with asahi.anthropic() as sdk:
        api = sdk.beta.messages if way == "by the beta API" else sdk.messages
        again = api.with_raw_response.create(**CASES[case])
        assert again.headers["x-asahi-cache"] == "hit; tier=1"


@pytest.mark.parametrize("case", [case for case in CASES if case not in NEVER_KEPT])
def test_a_cached_answer_streams_events_that_make_the_new_one(case: str, asahi: Place) -> None:
    plain = _created(asahi, CASES[case])
    names = [event["type"] for event in _events(asahi, CASES[case])]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    _, whole = _helped(asahi, CASES[case])
    for block in whole["content"]:
        block.pop("parsed_output", None)  # the helper's own
    assert {**whole, "type of it": ""} == {**plain, "type of it": ""}


def without_usage(value: Any) -> Any:
    """What the provider's own prompt cache does depends on what was asked before."""
    if isinstance(value, dict):
        return {name: without_usage(item) for name, item in value.items() if name != "usage"}
    if isinstance(value, list | tuple):
        return [without_usage(item) for item in value]
    return value


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_counted_as_the_provider_counts_them(case: str, direct: Place, asahi: Place) -> None:
    allowed = {"messages", "model", "system", "tools", "tool_choice", "thinking", "output_config", "extra_headers"}
    question = {name: value for name, value in CASES[case].items() if name in allowed}
    with direct.anthropic() as one, asahi.anthropic() as two:
        wanted, found = one.messages.count_tokens(**question), two.messages.count_tokens(**question)
    assert seen.of(found) == seen.of(wanted)
    extra: Any = found.model_extra
    assert extra["asahi"]["estimated"] is False


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "asahi"])
def test_a_count_for_a_provider_that_does_not_count_is_an_estimate_that_says_so(asahi: Place, model: str) -> None:
    with asahi.anthropic() as sdk:
        counted = sdk.messages.count_tokens(model=model, messages=[{"role": "user", "content": "How long is this?"}])
    extra: Any = counted.model_extra
    assert extra["asahi"]["estimated"] is True
    assert 0 < counted.input_tokens < 100


def test_a_loop_of_tools_goes_as_it_goes_with_the_provider(direct: Place, asahi: Place) -> None:
    assert _looped(asahi) == _looped(direct)


def _looped(at: Place) -> Any:
    """What is said until no tool is asked for any more."""
    question: Question = json.loads(json.dumps(CASES["tools called at once"]))
    told = []
    with at.anthropic() as sdk:
        for _ in range(3):
            message = sdk.messages.create(**question)
            told.append(seen.of(message))
            calls = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                break
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Fine."} for call in calls]
            question["messages"] += [
                {"role": "assistant", "content": message.content},
                {"role": "user", "content": results},
            ]
    assert [one["stop_reason"] for one in told] == ["tool_use", "end_turn"]
    return told
