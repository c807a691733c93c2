"""Anthropic's messages, plain and streamed."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from asahi_simulator.api.anthropic_request import read_request, sign
from asahi_simulator.api.dialect import THOUGHT, Failure, Reply, StreamItem
from asahi_simulator.api.exchange import Header
from asahi_simulator.domain.completion import Answer, CompletionRequest, Ending, Usage
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.rules import Api

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS: dict[Ending, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class Anthropic:
    """The `Dialect` of `POST /v1/messages`."""

    api: Api = "anthropic"

    def read(self, body: bytes) -> CompletionRequest:
        """The request in `body`; raises WrongBody."""
        return read_request(body)

    def cache_use(self, cache: PromptCache, request: CompletionRequest) -> CacheUse:
        """What the caller marked is cached."""
        return cache.explicit(request.model, request.prompt)

    def headers(self, request_id: str) -> list[Header]:
        """The id that Anthropic's SDK shows."""
        return [(b"request-id", request_id.encode())]

    def plain(self, reply: Reply) -> bytes:
        """A `message`."""
        message = _message(reply)
        answer = _answer(reply)
        if reply.answers:
            message["content"] = _content(answer)
        message["stop_reason"] = _STOP_REASONS[answer.ending] if answer.stop_sequence is None else "stop_sequence"
        message["stop_sequence"] = answer.stop_sequence
        if reply.usage is not None:
            message["usage"] = _usage(reply.usage)
        return msgspec.json.encode(message)

    def stream(self, reply: Reply) -> Iterator[StreamItem]:
        """The events from `message_start` to `message_stop`."""
        answer = _answer(reply)
        message = _message(reply)
        if reply.usage is not None:
            started = min(1, reply.usage.completion_tokens)
            message["usage"] = _usage(_with_output(reply.usage, started))
        yield False, _event("message_start", {"message": message})
        ping = _PING
        index = 0
        if answer.thoughts:
            yield False, _start_block(index, {"type": "thinking", "thinking": "", "signature": ""}) + ping
            ping = b""
            for piece in answer.thoughts:
                delta = {"type": "thinking_delta", "thinking": piece}
                yield THOUGHT, _event("content_block_delta", {"index": index, "delta": delta})
            signature = {"type": "signature_delta", "signature": sign("".join(answer.thoughts))}
            yield False, _event("content_block_delta", {"index": index, "delta": signature})
            yield False, _event("content_block_stop", {"index": index})
            index += 1
        if reply.answers and not answer.tool_calls and (answer.pieces or not answer.thoughts):
            yield False, _start_block(index, {"type": "text", "text": ""}) + ping
            ping = b""
            before = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,' % index
            before += b'"delta":{"type":"text_delta","text":'
            for piece in answer.pieces:
                yield True, before + msgspec.json.encode(piece) + b"}}\n\n"
            yield False, _event("content_block_stop", {"index": index})
        for place, call in enumerate(answer.tool_calls, index):
            block = {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": {}}
            yield True, _start_block(place, block) + ping
            ping = b""
            for piece in call.pieces:
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield True, _event("content_block_delta", {"index": place, "delta": delta})
            yield False, _event("content_block_stop", {"index": place})
        end: dict[str, Any] = {
            "delta": {
                "stop_reason": _STOP_REASONS[answer.ending] if answer.stop_sequence is None else "stop_sequence",
                "stop_sequence": answer.stop_sequence,
            }
        }
        if reply.usage is not None:
            end["usage"] = _usage(reply.usage)
        yield False, _event("message_delta", end)
        yield False, _event("message_stop", {})

    def garbage(self, reply: Reply) -> bytes:
        """An event whose data end too soon."""
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'

    def error(self, failure: Failure, request_id: str) -> bytes:
        """An error in Anthropic's shape."""
        default_type = _TYPES.get(failure.status, "invalid_request_error" if failure.status < 500 else "api_error")
        message = failure.message or f"The simulator was told to answer {failure.status}."
        error = {"type": failure.type or default_type, "message": message}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})

    def stream_error(self, failure: Failure, request_id: str) -> bytes:
        """The error as an event; no `message_stop` follows."""
        return b"event: error\ndata: %b\n\n" % self.error(failure, request_id)


def _answer(reply: Reply) -> Answer:
    return reply.answers[0] if reply.answers else Answer()


def _message(reply: Reply) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": reply.request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _content(answer: Answer) -> list[dict[str, Any]]:
    thoughts = "".join(answer.thoughts)
    shown = [{"type": "thinking", "thinking": thoughts, "signature": sign(thoughts)}] if thoughts else []
    if not answer.tool_calls:
        return [*shown, {"type": "text", "text": answer.text}] if answer.text or not shown else shown
    return shown + [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": _input(call.pieces)}
        for call in answer.tool_calls
    ]


def _input(pieces: Sequence[str]) -> Any:
    """The arguments; those that `max_tokens` cut short are no JSON any more and count as none."""
    try:
        return msgspec.json.decode("".join(pieces))
    except msgspec.DecodeError:
        return {}


def _usage(usage: Usage) -> dict[str, Any]:
    """`input_tokens` are those neither read from nor written to the cache."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    thought = {"output_tokens_details": {"thinking_tokens": usage.reasoning_tokens}} if usage.reasoning_tokens else {}
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.completion_tokens,
        **thought,
        "service_tier": "standard",
    }


def _with_output(usage: Usage, tokens: int) -> Usage:
    return msgspec.structs.replace(usage, completion_tokens=tokens)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **data}))


def _start_block(index: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", {"index": index, "content_block": block})


def models(names: Sequence[str]) -> bytes:
    """The list of models."""
    data = [model(name) for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    return msgspec.json.encode({"data": data, "first_id": first, "last_id": last, "has_more": False})


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {
        "type": "model",
        "id": name,
        "display_name": f"{name} (simulated)",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }
