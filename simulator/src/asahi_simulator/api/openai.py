"""OpenAI's chat completions, plain and streamed."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from asahi_simulator.api.dialect import Failure, Reply, StreamItem
from asahi_simulator.api.exchange import Header
from asahi_simulator.api.openai_request import read_request
from asahi_simulator.domain.completion import Answer, CompletionRequest, Ending, Usage
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.rules import Api

FINGERPRINT = "simulator"
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
_FINISH: dict[Ending, str] = {"refusal": "stop"}
_LEAST_LIKELY = -0.35


class OpenAI:
    """The `Dialect` of `POST /v1/chat/completions`."""

    api: Api = "openai"

    def read(self, body: bytes) -> CompletionRequest:
        """The request in `body`; raises WrongBody."""
        return read_request(body)

    def cache_use(self, cache: PromptCache, request: CompletionRequest) -> CacheUse:
        """Long prefixes are cached by themselves."""
        return cache.automatic(request.model, request.prompt)

    def headers(self, request_id: str) -> list[Header]:
        """The id that OpenAI's SDK shows."""
        return [(b"x-request-id", request_id.encode())]

    def plain(self, reply: Reply) -> bytes:
        """A `chat.completion`."""
        body = _head(reply, "chat.completion")
        body["choices"] = [
            {
                "index": index,
                "message": _message(answer),
                "logprobs": _logprobs(answer.pieces) if reply.request.logprobs and answer.text else None,
                "finish_reason": _finish(answer),
            }
            for index, answer in enumerate(reply.answers)
        ]
        if reply.usage is not None:
            body["usage"] = _usage(reply.usage)
        return msgspec.json.encode(body)

    def stream(self, reply: Reply) -> Iterator[StreamItem]:
        """`chat.completion.chunk`s, choice after choice."""
        head = msgspec.json.encode(_head(reply, "chat.completion.chunk"))[:-1]
        tail = b',"usage":null}\n\n' if reply.request.include_usage else b"}\n\n"
        for index, answer in enumerate(reply.answers):
            start = b'data: %b,"choices":[{"index":%d,"delta":' % (head, index)
            end = b',"logprobs":null,"finish_reason":null}]' + tail
            refused = answer.ending == "refusal"
            role = {"role": "assistant", "content": None if answer.tool_calls or refused else "", "refusal": None}
            yield False, start + msgspec.json.encode(role) + end
            for _ in range(answer.reasoning_tokens):
                yield True, b""
            before = start + (b'{"refusal":' if refused else b'{"content":')
            for piece in answer.pieces:
                after = b"}" + (_with_logprobs(piece, tail) if reply.request.logprobs else end)
                yield True, before + msgspec.json.encode(piece) + after
            for number, call in enumerate(answer.tool_calls):
                function: dict[str, Any] = {"name": call.name, "arguments": ""}
                opened = {"index": number, "id": f"call_{call.id}", "type": "function", "function": function}
                yield True, start + msgspec.json.encode({"tool_calls": [opened]}) + end
                for piece in call.pieces:
                    more = {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
                    yield True, start + msgspec.json.encode(more) + end
            yield False, start + b'{},"logprobs":null,"finish_reason":"%b"}]' % _finish(answer).encode() + tail
        if reply.request.include_usage and reply.usage is not None:
            usage = msgspec.json.encode(_usage(reply.usage))
            yield False, b'data: %b,"choices":[],"usage":%b}\n\n' % (head, usage)
        yield False, b"data: [DONE]\n\n"

    def garbage(self, reply: Reply) -> bytes:
        """A chunk that ends too soon."""
        return b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","choi\n\n' % reply.id.encode()

    def error(self, failure: Failure, request_id: str) -> bytes:
        """An error with all four fields."""
        default_type = _TYPES.get(failure.status, "invalid_request_error" if failure.status < 500 else "server_error")
        error = {
            "message": failure.message or f"The simulator was told to answer {failure.status}.",
            "type": failure.type or default_type,
            "param": failure.param,
            "code": failure.code or _CODES.get(failure.status),
        }
        return msgspec.json.encode({"error": error})

    def stream_error(self, failure: Failure, request_id: str) -> bytes:
        """The error as an event; no `[DONE]` follows."""
        return b"data: %b\n\n" % self.error(failure, request_id)


def _head(reply: Reply, kind: Literal["chat.completion", "chat.completion.chunk"]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": reply.created,
        "model": reply.request.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _message(answer: Answer) -> dict[str, Any]:
    refused = answer.ending == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or answer.tool_calls else answer.text,
        "refusal": answer.text if refused else None,
        "annotations": [],
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{call.id}",
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.pieces)},
            }
            for call in answer.tool_calls
        ]
    return message


def _finish(answer: Answer) -> str:
    return _FINISH.get(answer.ending, answer.ending)


def _logprobs(pieces: Any) -> dict[str, Any]:
    return {"content": [_logprob(piece) for piece in pieces], "refusal": None}


def _logprob(piece: str) -> dict[str, Any]:
    """Short tokens are likelier; the figures mean nothing else."""
    encoded = piece.encode()
    told = {"token": piece, "logprob": max(_LEAST_LIKELY, -0.05 * len(encoded)), "bytes": list(encoded)}
    return {**told, "top_logprobs": [told]}


def _with_logprobs(piece: str, tail: bytes) -> bytes:
    return b',"logprobs":%b,"finish_reason":null}]' % msgspec.json.encode(_logprobs([piece])) + tail


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def models(names: Sequence[str]) -> bytes:
    """The list of models."""
    return msgspec.json.encode({"object": "list", "data": [model(name) for name in names]})


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": FINGERPRINT}
