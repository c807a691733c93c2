"""Questions in OpenAI's responses to a provider that speaks them: as they are, both ways, and what breaks them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from asahi.type.v1.chat_pb2 import Api, FinishReason
from asahi_router.domain.provider import FailureKind, Provider, ProviderFailure
from asahi_router.providers import ProviderProtocol
from asahi_router.providers.responses.question import read_question
from asahi_router.providers.responses.seals import seal
from services.router.tests.provider_calls import client_of, gather, native, provider_call

_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
_ASKED: dict[str, Any] = {
    "model": "asahi",
    "organization_id": "org-1",
    "input": [{"type": "x_unknown", "deep": [1.0, 12345678901234567890123]}],
    "include": ["reasoning.encrypted_content"],
    "tools": [{"type": "web_search"}],
    "x_new": {"a": None},
}


def _message(*kinds: str) -> dict[str, Any]:
    parts = [{"type": kind, "refusal" if kind == "refusal" else "text": "42"} for kind in kinds]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": parts}


def _answer(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {"id": "resp_1", "object": "response", "status": "completed", "output": list(output)}
    return {**whole, "usage": _USAGE, **more}


@asynccontextmanager
async def _asking(
    answer: dict[str, Any] | list[dict[str, Any]], seen: list[Any], *, responses: bool = True
) -> AsyncIterator[Provider]:
    """A client of a server that says `answer`: a body, or events."""

    async def serve(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, await request.read()))
        if isinstance(answer, dict):
            return web.json_response(answer)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in answer:
            await response.write(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()))
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with client_of(f"http://127.0.0.1:{port}", ProviderProtocol.OPENAI, responses=responses) as client:
            yield client
    finally:
        await runner.cleanup()


async def test_a_question_goes_as_it_is_but_for_model_and_keeping_and_its_answer_comes_as_it_is() -> None:
    seen: list[Any] = []
    answer = _answer(_message("output_text"), x_new=[1.0])
    async with _asking(answer, seen) as provider:
        gathered = await gather(provider, provider_call(native(Api.API_OPENAI_RESPONSES, _ASKED)))
    ((path, body),) = seen
    left = {name: value for name, value in _ASKED.items() if name != "organization_id"}
    assert path == "/v1/responses"
    assert json.loads(body) == {**left, "model": "gpt-6-luna", "store": False}
    assert b"12345678901234567890123" in body
    assert gathered.body == answer
    usage = gathered.answer.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens) == (50, 40, 10)
    assert (usage.output_tokens, usage.reasoning_tokens) == (50, 20)


async def test_a_stream_comes_event_by_event_as_it_is() -> None:
    seen: list[Any] = []
    events = [
        {"type": "response.created", "response": _answer(status="in_progress", usage=None), "sequence_number": 0},
        {"type": "response.x_unknown.delta", "delta": {"deep": 1}, "sequence_number": 1},
        {"type": "response.output_text.delta", "delta": "42", "sequence_number": 2},
        {"type": "response.completed", "response": _answer(_message("output_text")), "sequence_number": 3},
    ]
    async with _asking(events, seen) as provider:
        gathered = await gather(provider, provider_call(native(Api.API_OPENAI_RESPONSES, _ASKED), stream=True))
    assert json.loads(seen[0][1])["stream"] is True
    assert gathered.events == events
    assert gathered.body == events[-1]["response"]
    assert gathered.answer.usage.output_tokens == 50


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_answer(_message("output_text")), FinishReason.FINISH_REASON_STOP),
        (_answer(_message("output_text", "refusal")), FinishReason.FINISH_REASON_CONTENT_FILTER),
        (_answer({"type": "function_call"}), FinishReason.FINISH_REASON_TOOL_CALLS),
        (_answer({"type": "reasoning"}, {"type": "custom_tool_call"}), FinishReason.FINISH_REASON_TOOL_CALLS),
        (_answer({"type": "web_search_call"}, _message("output_text")), FinishReason.FINISH_REASON_UNSPECIFIED),
        (_answer({"type": "x", "content": {}}), FinishReason.FINISH_REASON_UNSPECIFIED),
        (
            _answer(_message(), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            FinishReason.FINISH_REASON_LENGTH,
        ),
        (
            _answer(_message(), status="incomplete", incomplete_details={"reason": "content_filter"}),
            FinishReason.FINISH_REASON_CONTENT_FILTER,
        ),
        (_answer(_message(), status="incomplete"), FinishReason.FINISH_REASON_LENGTH),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_why_an_answer_ended_is_understood(
    answer: dict[str, Any], reason: FinishReason.ValueType, stream: bool
) -> None:
    kind = f"response.{answer['status']}"
    told = [{"type": kind, "response": answer, "sequence_number": 0}] if stream else answer
    async with _asking(told, []) as provider:
        gathered = await gather(provider, provider_call(native(Api.API_OPENAI_RESPONSES, _ASKED), stream=stream))
    assert gathered.answer.finish_reason == reason


_FAULT = {"code": "rate_limit_exceeded", "message": "Slow down sk-0123456789abcdef."}
_BEGUN = {"type": "response.output_text.delta", "delta": "4", "sequence_number": 0}


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (_answer(status="failed", error=_FAULT), FailureKind.FAILED, "Slow down [redacted]"),
        (_answer(status="queued"), FailureKind.FAILED, "queued"),
        (_answer(), FailureKind.FAILED, "empty"),
        ({"status": 7}, FailureKind.FAILED, "not what its protocol says"),
        ([{"type": "response.failed", "response": {"error": _FAULT}}], FailureKind.RATE_LIMITED, "Slow down"),
        ([{"type": "error", **_FAULT}], FailureKind.RATE_LIMITED, "Slow down"),
        ([{"type": "error", "error": _FAULT}], FailureKind.RATE_LIMITED, "Slow down"),
        ([_BEGUN, {"type": "error", **_FAULT}], FailureKind.INTERRUPTED, "Slow down"),
        ([_BEGUN], FailureKind.INTERRUPTED, "too soon"),
        ([_BEGUN, {"type": "response.completed", "response": []}], FailureKind.INTERRUPTED, "not what its protocol"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(told: Any, kind: FailureKind, words: str) -> None:
    call = provider_call(native(Api.API_OPENAI_RESPONSES, _ASKED), stream=isinstance(told, list))
    async with _asking(told, []) as provider:
        with pytest.raises(ProviderFailure, match=words.replace("[", r"\[")) as failed:
            await gather(provider, call)
    assert failed.value.kind == kind
    assert "sk-0123456789abcdef" not in failed.value.message


async def test_a_provider_that_does_not_speak_responses_is_asked_in_its_own_protocol() -> None:
    seen: list[Any] = []
    message = {"role": "assistant", "content": "42"}
    chat = {"id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    asked = {"model": "asahi", "input": "What is 6 × 7?"}
    async with _asking(chat, seen, responses=False) as provider:
        gathered = await gather(provider, provider_call(native(Api.API_OPENAI_RESPONSES, asked)))
    assert seen[0][0] == "/v1/chat/completions"
    assert gathered.body["object"] == "response"


async def test_thoughts_of_others_do_not_go_along_and_all_else_does() -> None:
    seen: list[Any] = []
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "of OpenAI's"}
    other = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": seal("of Anthropic's")}
    said = {"role": "user", "content": f"What does {seal('x')} mean?"}
    async with _asking(_answer(_message("output_text")), seen) as provider:
        for asked in ([own, other, said], said["content"]):
            await gather(provider, provider_call(native(Api.API_OPENAI_RESPONSES, {"input": asked})))
    assert [json.loads(body)["input"] for _, body in seen] == [[own, said], said["content"]]
    read = read_question(json.dumps({"input": [own, other, said]}).encode())
    parts = [part for message in read.messages for part in message.parts]
    assert [part.thinking.redacted for part in parts if part.HasField("thinking")] == ["of Anthropic's"]
