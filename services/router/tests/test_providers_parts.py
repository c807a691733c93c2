"""The small parts that clients are made of."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi_core.clock import ManualClock
from asahi_router.domain.provider import ProviderFailure
from asahi_router.providers.dialect import Mark
from asahi_router.providers.failure import clean, retry_after_s
from asahi_router.providers.openai.assembly import assemble
from asahi_router.providers.openai.question import adapt
from asahi_router.providers.openai.stream import OpenAIStreamReader
from asahi_router.providers.progress import Progress
from asahi_router.providers.sse import EventSplitter

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
STREAM = 'data: {"a": "é"}\n\n: a comment\n\nevent: ping\ndata: {"type": "ping"}\nid: 7\n\ndata: one\ndata: two\n\n'
EVENTS = ['{"a": "é"}', '{"type": "ping"}', "one\ntwo"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 200), max_size=6))
def test_events_are_the_same_however_the_network_cuts_them(ending: str, cuts: list[int]) -> None:
    stream = STREAM.replace("\n", ending).encode()
    if ending == "\r":
        stream += b": the end\n"  # a lone return is a line's end only once it is known that no newline follows
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    splitter = EventSplitter(1000)
    events = [event for start, end in pairwise(edges) for event in splitter.feed(stream[start:end])]
    assert [event.decode() for event in events] == EVENTS


def test_an_event_without_end_is_not_gathered_for_ever() -> None:
    splitter = EventSplitter(1000)
    splitter.feed(b"data: " + b"x" * 900)
    with pytest.raises(ProviderFailure):
        splitter.feed(b"x" * 200)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:07 GMT"}, 7.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_retry_after_is_understood_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


def test_a_provider_s_words_are_shown_without_keys_and_short() -> None:
    message = clean("Incorrect API key provided: sk-proj-abcdef1234. Bearer abcdefgh12345\n\n is wrong" + "x" * 900)
    assert "abcdef" not in message
    assert len(message) <= 500
    assert "\n" not in message


def test_unknown_fields_of_a_stream_are_kept_in_the_answer_put_together() -> None:
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "new": {"a": "x"}, "choices": [], "obfuscation": "zz"},
        {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "Hm"}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"reasoning_content": "m.", "content": "Yes"}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"extra": [1]}, "score": 1}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"extra": [2]}, "finish_reason": "stop"}], "usage": None},
    ]
    body = json.loads(assemble(json.dumps(chunk).encode() for chunk in chunks))
    message = {"role": "assistant", "content": "Yes", "reasoning_content": "Hmm.", "extra": [1, 2]}
    choice = {"index": 0, "message": message, "score": 1, "finish_reason": "stop"}
    assert body == {"id": "c", "object": "chat.completion", "new": {"a": "x"}, "choices": [choice]}


def test_interleaved_tool_calls_of_several_choices_are_put_together() -> None:
    def chunk(choice: int, call: int, **function: str) -> bytes:
        opened: dict[str, Any] = {"id": f"id{call}", "type": "function"} if "name" in function else {}
        delta = {"tool_calls": [{"index": call, **opened, "function": function}]}
        return json.dumps({"choices": [{"index": choice, "delta": delta}]}).encode()

    body = json.loads(
        assemble(
            [
                chunk(1, 0, name="a", arguments=""),
                chunk(0, 0, name="b", arguments=""),
                chunk(0, 1, name="c", arguments="{"),
                chunk(0, 0, arguments='{"x":'),
                chunk(0, 1, arguments="}"),
                chunk(0, 0, arguments="1}"),
            ]
        )
    )
    calls = [[call["function"] for call in choice["message"]["tool_calls"]] for choice in body["choices"]]
    assert calls == [
        [{"name": "b", "arguments": '{"x":1}'}, {"name": "c", "arguments": "{}"}],
        [{"name": "a", "arguments": ""}],
    ]
    assert body["choices"][0]["message"]["tool_calls"][0]["id"] == "id0"


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gpt-6.1-sol", {"max_completion_tokens": 512}),
        ("o3", {"max_completion_tokens": 512}),
        ("gpt-4.1-mini", {"max_tokens": 512}),
        ("gpt-oss-120b", {"max_tokens": 512}),
        ("qwen3-32b", {"max_tokens": 512}),
    ],
)
def test_max_tokens_is_renamed_for_the_models_that_refuse_it(model: str, sent: dict[str, int]) -> None:
    body = json.loads(adapt(b'{"model": "asahi", "max_tokens": 512}', model, stream=False))
    assert body == {"model": model, **sent}


def test_of_both_limits_the_one_that_the_model_takes_is_sent() -> None:
    body = json.loads(adapt(b'{"max_tokens": 9, "max_completion_tokens": 7}', "gpt-6.1-sol", stream=False))
    assert body == {"model": "gpt-6.1-sol", "max_completion_tokens": 7}


def test_usage_without_an_answer_is_not_shown() -> None:
    progress, reader = Progress(ManualClock()), OpenAIStreamReader()
    usage = b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}'
    assert reader.read(usage, progress) & Mark.UNSHOWN
    assert progress.usage is not None
    with pytest.raises(ProviderFailure, match="empty"):
        reader.read(b"[DONE]", progress)
