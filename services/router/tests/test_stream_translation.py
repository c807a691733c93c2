"""Streams of one protocol told in the other, in whatever pieces they come: in order, and as if translated whole."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi_core.clock import ManualClock
from asahi_router.domain.provider import ProviderFailure
from asahi_router.providers.anthropic.assembly import assemble as assemble_messages
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.dialect import Dialect, Mark, Translated
from asahi_router.providers.openai.assembly import assemble as assemble_chunks
from asahi_router.providers.openai.dialect import OpenAI
from asahi_router.providers.progress import Progress

MANY = settings(max_examples=500, deadline=None)
_USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
_ANTHROPIC_USAGE = {"input_tokens": 9, "output_tokens": 4}
texts = st.text('ab "\\\n{}é日😀', min_size=1, max_size=9)
names = st.text("abcxyz_", min_size=1, max_size=6)
arguments = st.dictionaries(names, texts | st.integers() | st.lists(texts, max_size=2), max_size=2).map(json.dumps)


def _cut(draw: st.DrawFn, text: str) -> list[str]:
    """`text` in pieces."""
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=3)) | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@st.composite
def openai_streams(draw: st.DrawFn) -> list[bytes]:
    """Events of a provider that speaks OpenAI's protocol, all but `[DONE]`."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": draw(st.sampled_from(["", None]))}]
    for name in ("reasoning_content", "content", "refusal"):
        if draw(st.booleans()):
            deltas += [{name: piece} for piece in _cut(draw, draw(texts))]
    calls = draw(st.lists(st.tuples(names, arguments | st.just("")), max_size=3))
    for index, (name, given_arguments) in enumerate(calls):
        first, *rest = _cut(draw, given_arguments) or [""]
        function = {"name": name, "arguments": first}
        deltas.append(
            {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}
        )
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in rest]
    if len(deltas) == 1:
        deltas.append({"content": "x"})
    if calls and not any("refusal" in delta for delta in deltas) and draw(st.booleans()):
        deltas.append({"content": draw(texts)})  # some servers say more after their calls
    reason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": reason}])
    chunks = [{"id": "chatcmpl-1", "choices": one, "usage": None} for one in choices]
    if draw(st.booleans()):
        chunks.append({"id": "chatcmpl-1", "choices": [], "usage": _USAGE})  # type: ignore[dict-item]  # of JSON
    return [json.dumps(chunk).encode() for chunk in chunks]


@st.composite
def anthropic_streams(draw: st.DrawFn) -> list[bytes]:
    """Events of a provider that speaks Anthropic's protocol."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": _ANTHROPIC_USAGE}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    kinds = draw(
        st.lists(st.sampled_from(["text", "thinking", "redacted", "call", "whole call"]), min_size=1, max_size=4)
    )
    for index, kind in enumerate(kinds):
        block, deltas = _block(draw, kind, index)
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    reason = "tool_use" if {"call", "whole call"} & set(kinds) else draw(st.sampled_from(["end_turn", "max_tokens"]))
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": _ANTHROPIC_USAGE})
    events.append({"type": "message_stop"})
    return [json.dumps(event).encode() for event in events]


def _block(draw: st.DrawFn, kind: str, index: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match kind:
        case "text":
            begun = draw(st.sampled_from(["", "", "Well, "]))
            pieces = [{"type": "text_delta", "text": piece} for piece in _cut(draw, draw(texts))]
            return {"type": "text", "text": begun}, pieces
        case "thinking":
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in _cut(draw, draw(texts))]
            pieces.append({"type": "signature_delta", "signature": "c2ln"})
            return {"type": "thinking", "thinking": "", "signature": ""}, pieces
        case "redacted":
            return {"type": "redacted_thinking", "data": "ZW5j"}, []
        case "call":
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in _cut(draw, draw(arguments))]
            return {"type": "tool_use", "id": f"toolu_{index}", "name": draw(names), "input": {}}, pieces
        case _:
            whole = json.loads(draw(arguments))
            return {"type": "tool_use", "id": f"toolu_{index}", "name": draw(names), "input": whole}, []


@MANY
@given(openai_streams())
def test_a_stream_of_openai_s_is_told_in_anthropic_s_order_and_is_what_the_whole_is(events: list[bytes]) -> None:
    told = _told(OpenAI(), Anthropic(), [*events, b"[DONE]"])
    _require_anthropics_order([json.loads(event) for event in told])
    whole = _whole(OpenAI(), Anthropic(), assemble_chunks(events))
    streamed = json.loads(assemble_messages(told))
    assert _by_kind(streamed["content"]) == _by_kind(whole["content"])
    assert streamed["stop_reason"] == whole["stop_reason"]
    if "usage" in whole:
        assert streamed["usage"] == whole["usage"]


@MANY
@given(anthropic_streams())
def test_a_stream_of_anthropic_s_is_told_in_openai_s_order_and_is_what_the_whole_is(events: list[bytes]) -> None:
    told = _told(Anthropic(), OpenAI(), events)
    chunks = [json.loads(event) for event in told]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason is not None for reason in reasons] == [False] * (len(reasons) - 1) + [True]
    whole = _whole(Anthropic(), OpenAI(), assemble_messages(events))
    streamed = json.loads(assemble_chunks(told))
    (one,), (two,) = streamed["choices"], whole["choices"]
    assert (one["message"].get("content") or "") == (two["message"]["content"] or "")
    assert one["message"].get("reasoning_content") == two["message"].get("reasoning_content")
    assert [_call(call) for call in one["message"].get("tool_calls") or ()] == [
        _call(call) for call in two["message"].get("tool_calls") or ()
    ]
    assert (one["finish_reason"], streamed["usage"]) == (two["finish_reason"], whole["usage"])


def _told(spoken: Dialect, asked: Dialect, events: list[bytes]) -> list[bytes]:
    """The events in the other protocol, each as soon as it can be told."""
    reader, writer = spoken.stream_reader(), asked.stream_writer("model-1", 1_700_000_000)
    progress = Progress(ManualClock())
    told = []
    mark = Mark.PLAIN
    for event in events:
        mark = reader.read(event, progress)
        told += [written for piece in reader.pieces() for _, written in writer.write(piece)]
    assert mark & Mark.LAST
    return told


def _whole(spoken: Dialect, asked: Dialect, body: bytes) -> Any:
    """The whole answer in the other protocol."""
    summary = spoken.summarize(body)
    return json.loads(asked.write_answer(Translated("1", 1, "model-1", spoken.read_answer(body), summary)))


def _by_kind(content: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenAI's protocol knows no order among thoughts, what is said, and calls."""
    return {
        "thoughts": "".join(block["thinking"] for block in content if block["type"] == "thinking"),
        "said": "".join(block["text"] for block in content if block["type"] == "text"),
        "calls": [block for block in content if block["type"] == "tool_use"],
    }


def _call(call: dict[str, Any]) -> tuple[str, str, Any]:
    function = call["function"]
    return call["id"], function["name"], json.loads(function["arguments"] or "{}")


def _require_anthropics_order(events: list[dict[str, Any]]) -> None:
    """Blocks one after the other, each begun and ended, between the message's begin and its end."""
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    index, is_open = -1, False
    for event in events[2:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                index, is_open = index + 1, True
            case "content_block_delta":
                assert is_open
            case "content_block_stop":
                assert is_open
                is_open = False
            case other:
                raise AssertionError(other)
        assert event["index"] == index
    assert not is_open


def test_calls_that_come_interleaved_are_refused_rather_than_mixed_up() -> None:
    calls = [{"index": i, "id": f"c{i}", "function": {"name": "n", "arguments": "{"}} for i in (0, 1)]
    late = {"index": 0, "function": {"arguments": "}"}}
    events = [
        json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()
        for call in (*calls, late)
    ]
    with pytest.raises(ProviderFailure, match="interleaved"):
        _told(OpenAI(), Anthropic(), events)


def test_a_block_that_the_other_protocol_does_not_know_is_refused_rather_than_lost() -> None:
    events = [
        {"type": "message_start", "message": {"id": "1"}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "server_tool_use", "id": "s", "name": "n"},
        },
    ]
    with pytest.raises(ProviderFailure, match="server_tool_use"):
        _told(Anthropic(), OpenAI(), [json.dumps(event).encode() for event in events])
