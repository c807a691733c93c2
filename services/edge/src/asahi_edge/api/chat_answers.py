"""Answers in OpenAI's chat protocol: the provider's own bodies and events, with `asahi` added to the last of them."""

import re
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import Request

from asahi_core.errors import AsahiError
from asahi_edge.api.answers import asahi_object, inference_headers, note_in_log, opening_headers
from asahi_edge.api.events import error_event, event
from asahi_edge.api.json import encode
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])
_whole = msgspec.json.Decoder()
_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null')
"""Cannot match inside a JSON string: quotes are escaped there."""
_DONE = event(b"[DONE]")


def chat_completion(request: InferenceRequest, result: InferenceResult) -> bytes:
    """A plain answer; one that stood for a call has an id and a time of its own, as a new answer has."""
    body = _top_level.decode(result.answer.native.body)
    if result.reused:
        body["id"] = msgspec.Raw(encode(f"chatcmpl-{request.request_id}"))
        body["created"] = msgspec.Raw(encode(int(time.time())))
    body["asahi"] = msgspec.Raw(encode(asahi_object(request, result)))
    return msgspec.json.encode(body)


async def chat_events(
    request: Request, inference: InferenceRequest, headers: dict[str, str], *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """A streamed answer. `asahi` comes with the last event before `[DONE]`; an error ends it without `[DONE]`.

    Fills `headers` before the first event. Usage, which the provider is always asked for, is left out unless wanted.
    """
    begun = False
    last: bytes | None = None
    try:
        async with aclosing(services_of(request).pipeline.stream(inference, told_in_headers(request))) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    note_in_log(request, piece)
                    if not begun:
                        headers |= inference_headers(piece)
                        *chunks, last = _replay(inference, piece, wants_usage=wants_usage)
                        for chunk in chunks:
                            yield event(chunk)
                    yield event(_with_asahi(last or b"{}", inference, piece))
                    yield _DONE
                elif piece.HasField("opening"):
                    headers |= opening_headers(piece.opening, bypass=not inference.cache.read)
                    continue  # the first chunk says it
                elif not piece.usage_only or wants_usage:
                    if last is not None:
                        yield event(last)
                        last = None
                    chunk = piece.event_json if wants_usage else _NO_USAGE.sub(b"", piece.event_json)
                    if piece.finishes or piece.usage_only:
                        last = chunk
                    else:
                        yield event(chunk)
                begun = True
    except AsahiError as error:
        if not begun:
            raise
        yield error_event(request, error)


def _with_asahi(chunk: bytes, request: InferenceRequest, result: InferenceResult) -> bytes:
    body = _top_level.decode(chunk)
    body["asahi"] = msgspec.Raw(encode(asahi_object(request, result)))
    return msgspec.json.encode(body)


def _replay(request: InferenceRequest, result: InferenceResult, *, wants_usage: bool) -> Iterator[bytes]:
    """The events that would have streamed a stored answer: role, content, end of each choice, then usage if wanted."""
    body: dict[str, Any] = _whole.decode(result.answer.native.body)
    kept = {name: value for name, value in body.items() if name not in {"choices", "usage", "asahi"}}
    frame = {
        **kept,
        "id": f"chatcmpl-{request.request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
    }
    usage = {"usage": None} if wants_usage else {}
    for choice in body.get("choices", ()):
        message: dict[str, Any] = {n: v for n, v in choice.get("message", {}).items() if v is not None}
        role = message.pop("role", "assistant")
        if "tool_calls" in message:
            message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
        index, logprobs = choice.get("index", 0), choice.get("logprobs")
        for delta, reason, probabilities in (
            ({"role": role, "content": "" if "content" in message else None}, None, None),
            (message, None, logprobs),
            ({}, choice.get("finish_reason"), None),
        ):
            piece = {"index": index, "delta": delta, "logprobs": probabilities, "finish_reason": reason}
            yield encode({**frame, "choices": [piece], **usage})
    if wants_usage:
        yield encode({**frame, "choices": [], "usage": body.get("usage")})
