"""Answers in OpenAI's protocol: the provider's own, with `asahi` added; stored ones replayed as they would stream."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import ServiceUnavailable
from services.edge.tests.neighbours import ScriptedCompletion, native_answer
from services.edge.tests.serving import Served, serving

_PATH = "/v1/chat/completions"
_ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 6 × 7?"}]}
_STREAM = _ASK | {"stream": True}
_WITH_USAGE = _STREAM | {"stream_options": {"include_usage": True}}
_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_CALLS = [
    {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ro\\"m,e"}'}}
    for n in (1, 2)
]
_LOGPROBS = {"content": [{"token": "42", "logprob": -0.1, "bytes": [52, 50], "top_logprobs": []}], "refusal": None}


def _choice(index: int = 0, *, reason: str = "stop", logprobs: Any = None, **message: Any) -> dict[str, Any]:
    whole = {"role": "assistant", "content": None, "refusal": None, **message}
    return {"index": index, "message": whole, "logprobs": logprobs, "finish_reason": reason}


def _body(*choices: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-provider",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": list(choices or (_choice(content="42"),)),
        "usage": _USAGE,
        "system_fingerprint": "fp_1",
        "x_unknown": {"kept": [1.0, 2]},
    }


_BODIES = {
    "text": _body(),
    "tool calls": _body(_choice(reason="tool_calls", tool_calls=_CALLS)),
    "two choices": _body(_choice(content="42"), _choice(1, content="forty-two")),
    "logprobs": _body(_choice(content="42", logprobs=_LOGPROBS)),
    "a refusal": _body(_choice(refusal="No.")),
    "text beside a tool call": _body(_choice(reason="tool_calls", content="Let me see.", tool_calls=_CALLS[:1])),
}


def _answers(served: Served, body: dict[str, Any], events: list[AnswerDelta] | None = None) -> None:
    def script(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce()
        for piece in events or []:
            call.pass_on(piece)
        call.complete(native_answer(json.dumps(body).encode()))

    served.rig.router.script = script


def _chunk(
    choices: list[dict[str, Any]], usage: Any = None, *, finishes: bool = False, usage_only: bool = False
) -> AnswerDelta:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    }
    event = json.dumps(chunk, ensure_ascii=False).encode()
    return AnswerDelta(event_json=event, finishes=finishes, usage_only=usage_only)


def _delta(content: str) -> AnswerDelta:
    return _chunk([{"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": None}])


_LAST = _chunk([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}], finishes=True)
_COUNT = _chunk([], _USAGE, usage_only=True)


async def _streamed(served: Served, body: dict[str, Any]) -> list[Any]:
    """The decoded events of a stream, `[DONE]` as it is."""
    answer = await served.ask(_PATH, body)
    assert answer.status_code == 200, answer.text
    blocks = [block for block in answer.text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks), "OpenAI's events have no names"
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


def _assembled(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices that a client makes of the chunks of a stream."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], _choice(piece["index"], reason=""))
            for name, value in piece["delta"].items():
                _merge(choice["message"], name, value)
            choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
            choice["logprobs"] = piece["logprobs"] or choice["logprobs"]
    for choice in choices.values():
        choice["message"]["content"] = choice["message"]["content"] or None
    return [choices[index] for index in sorted(choices)]


def _merge(message: dict[str, Any], name: str, value: Any) -> None:
    if name == "tool_calls":
        for call in value:
            calls = message.setdefault("tool_calls", [])
            assert call["index"] == len(calls)
            calls.append({key: kept for key, kept in call.items() if key != "index"})
    elif name == "content":
        message["content"] = (message["content"] or "") + (value or "")
    else:
        message[name] = value


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES.keys())
async def test_a_plain_answer_is_the_providers_own_with_asahi_added_and_a_stored_one_is_a_new_answer(
    body: dict[str, Any],
) -> None:
    async with serving() as served:
        _answers(served, body)
        miss, hit = [(await served.ask(_PATH, _ASK)).json() for _ in range(2)]
    ChatCompletion.model_validate(miss)
    asahi = miss.pop("asahi")
    assert miss == body
    assert (asahi["cache_hit"], asahi["cost_usd"] > 0) == (False, True)
    again = hit.pop("asahi")
    assert (again["cache_hit"], again["cache_tier"], again["cost_usd"]) == (True, 1, 0)
    assert hit["id"] == f"chatcmpl-{again['request_id']}" != body["id"]
    assert hit["created"] > body["created"]
    assert {**hit, "id": "", "created": 0} == {**body, "id": "", "created": 0}


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES.keys())
async def test_a_stored_answer_streams_as_it_would_have_streamed(body: dict[str, Any]) -> None:
    async with serving() as served:
        _answers(served, body)
        await served.ask(_PATH, _ASK)
        *chunks, done = await _streamed(served, _STREAM)
        assert len(served.rig.router.calls) == 1
    assert done == "[DONE]"
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", body["model"])
        assert "usage" not in chunk
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert chunks[0]["id"] != body["id"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [("asahi" in chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["asahi"]["cache_tier"] == 1
    assert _assembled(chunks) == body["choices"]


async def test_a_stored_answer_streams_its_usage_in_a_chunk_of_its_own_to_who_asks_for_it() -> None:
    async with serving() as served:
        _answers(served, _body())
        await served.ask(_PATH, _ASK)
        *chunks, last, done = await _streamed(served, _WITH_USAGE)
    assert done == "[DONE]"
    assert {json.dumps(chunk["usage"]) for chunk in chunks} == {"null"}
    assert (last["choices"], last["usage"]) == ([], _USAGE)
    assert last["asahi"]["cost_usd"] == 0


async def test_a_live_stream_is_the_providers_own_without_the_usage_that_nobody_asked_for() -> None:
    async with serving() as served:
        _answers(served, _body(), [_delta("4"), _delta('2, "usage": null, '), _LAST, _COUNT])
        *chunks, done = await _streamed(served, _STREAM)
    assert done == "[DONE]"
    assert [chunk["id"] for chunk in chunks] == ["c"] * 3
    assert all("usage" not in chunk for chunk in chunks)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["4", '2, "usage": null, ', None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["asahi"]["cost_usd"] > 0


async def test_a_live_stream_has_its_usage_for_who_asked_byte_for_byte() -> None:
    async with serving() as served:
        _answers(served, _body(), [_delta("42"), _LAST, _COUNT])
        *chunks, last, _ = await _streamed(served, _WITH_USAGE)
    assert [chunk["usage"] for chunk in chunks] == [None, None]
    assert (last["usage"], "asahi" in last) == (_USAGE, True)


async def test_the_ends_of_several_choices_come_in_the_providers_order() -> None:
    ends = [
        _chunk([{"index": n, "delta": {}, "logprobs": None, "finish_reason": "stop"}], finishes=True) for n in (0, 1)
    ]
    late = _chunk([{"index": 1, "delta": {"content": "late"}, "logprobs": None, "finish_reason": None}])
    async with serving() as served:
        _answers(served, _body(), [_delta("4"), ends[0], late, ends[1], _COUNT])
        *chunks, _ = await _streamed(served, _STREAM)
    assert [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in chunks] == [
        (0, None),
        (0, "stop"),
        (1, None),
        (1, "stop"),
    ]
    assert [("asahi" in chunk) for chunk in chunks] == [False, False, False, True]


async def test_a_live_stream_that_breaks_off_ends_with_an_error_and_without_done() -> None:
    def script(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce()
        call.pass_on(_delta("4"))
        call.break_off(ServiceUnavailable("It does not answer.", retry_after_s=1.0))

    async with serving() as served:
        served.rig.router.script = script
        chunk, error = await _streamed(served, _STREAM)
    assert chunk["choices"][0]["delta"]["content"] == "4"
    assert set(error) == {"error"}
    assert error["error"]["code"] == "upstream_interrupted"


async def test_the_body_goes_to_the_router_byte_for_byte_and_unknown_fields_with_it() -> None:
    body = b'{ "messages":[{"role":"user","content":"caf\\u00e9"}], "x_new": {"a": 1.0}, "model":"asahi/low"}'
    async with serving() as served:
        _answers(served, _body())
        answer = await served.ask(_PATH, body)
        (call,) = served.rig.router.calls
    assert answer.status_code == 200
    assert call.task.prompt.native.body == body


async def test_what_asahi_itself_needs_is_checked_and_named(subtests: pytest.Subtests) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0]"),
        ({"messages": [*_ASK["messages"], "hi"]}, "messages[1]"),
        ({"model": 4}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
    ]
    async with serving() as served:
        for fields, param in wrong:
            with subtests.test(json.dumps(fields)):
                answer = await served.ask(_PATH, _ASK | fields)
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (400, "invalid_request")
                assert (error["param"] or "").startswith(param)
        assert served.rig.router.calls == []
