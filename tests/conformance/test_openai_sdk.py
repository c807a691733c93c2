"""OpenAI's SDK, pointed at Asahi and at the provider itself: its user sees the same, from the cache as well."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance import seen
from tests.conformance.openai_cases import CASES, NEVER_KEPT
from tests.conformance.places import Place

Question = dict[str, Any]


def _created(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        return seen.of(sdk.chat.completions.create(**question))


def _raw(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**question)
        return raw.status_code, raw.headers["content-type"], seen.of(raw.parse())


def _events(at: Place, question: Question) -> Any:
    with at.openai() as sdk, sdk.chat.completions.create(**question, stream=True) as stream:
        return [seen.of(event) for event in stream]


def _events_with_usage(at: Place, question: Question) -> Any:
    return _events(at, {**question, "stream_options": {"include_usage": True}})


def _helped(at: Place, question: Question) -> Any:
    with at.openai() as sdk, sdk.chat.completions.stream(**question) as stream:
        return seen.of(stream.get_final_completion())


def _created_async(at: Place, question: Question) -> Any:
    async def create() -> Any:
        async with at.async_openai() as sdk:
            return seen.of(await sdk.chat.completions.create(**question))

    return asyncio.run(create())


def _helped_async(at: Place, question: Question) -> Any:
    async def stream() -> Any:
        async with at.async_openai() as sdk, sdk.chat.completions.stream(**question) as stream:
            return seen.of(await stream.get_final_completion())

    return asyncio.run(stream())


WAYS: dict[str, Callable[[Place, Question], Any]] = {
    "created": _created,
    "with headers": _raw,
    "by events": _events,
    "by events with usage": _events_with_usage,
    "by the stream's helper": _helped,
    "created asynchronously": _created_async,
    "by the asynchronous helper": _helped_async,
}
_WHOLE = [way for way in WAYS if "events" not in way]
"""Ways that end with all of the answer: of a cached one its user sees no other pieces."""
_NEEDS_STRICT_TOOLS = "by the stream's helper", "by the asynchronous helper"
_KEPT = [case for case in CASES if case not in NEVER_KEPT]
_NEW = [(case, way) for case in CASES for way in WAYS if case in _KEPT or way not in _NEEDS_STRICT_TOOLS]
"""The helpers that parse raise for an answer that is cut short, whoever gave it."""


def _question(case: str, way: str) -> Question:
    """The helpers that parse take strict tools only."""
    question = CASES[case]
    if way not in _NEEDS_STRICT_TOOLS or "tools" not in question:
        return question
    strict = [{**tool, "function": {**tool["function"], "strict": True}} for tool in question["tools"]]
    return {**question, "tools": strict}


@pytest.mark.parametrize(("case", "way"), _NEW)
def test_a_new_answer_is_the_providers(case: str, way: str, direct: Place, asahi: Place) -> None:
    question = _question(case, way)
    wanted, found = WAYS[way](direct, question), WAYS[way](asahi, question)
    assert found == wanted


@pytest.mark.parametrize("way", _WHOLE)
@pytest.mark.parametrize("case", _KEPT)
def test_an_answer_of_the_cache_is_what_the_new_one_was(case: str, way: str, asahi: Place) -> None:
    question = _question(case, way)
    first = WAYS[way](asahi, question)
    assert WAYS[way](asahi, question) == first
    with asahi.openai() as sdk:
        again = sdk.chat.completions.with_raw_response.create(**question)
        assert again.headers["x-asahi-cache"] == "hit; tier=1"


@pytest.mark.parametrize("case", _KEPT)
def test_a_cached_answer_streams_chunks_that_make_the_new_one(case: str, asahi: Place) -> None:
    question = _question(case, "by the stream's helper")
    plain = _created(asahi, question)
    whole = _helped(asahi, {**question, "stream_options": {"include_usage": True}})
    assert whole["usage"] == plain["usage"]
    for one, two in zip(whole["choices"], plain["choices"], strict=True):
        assert one["finish_reason"] == two["finish_reason"]
        assert one["message"]["content"] == two["message"]["content"]
        calls, wanted = one["message"]["tool_calls"] or [], two["message"]["tool_calls"] or []
        assert [_call(call) for call in calls] == [_call(call) for call in wanted]


def _call(call: dict[str, Any]) -> tuple[str, str, str]:
    return call["id"], call["function"]["name"], call["function"]["arguments"]
