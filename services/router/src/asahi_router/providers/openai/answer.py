"""Plain answers in OpenAI's protocol, read and written."""

from collections.abc import Iterable
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import ChatAnswer, ContentPart, FinishReason, Thinking, ToolCall
from asahi.type.v1.usage_pb2 import Usage, UsageDetails, UsageSource
from asahi_router.providers.counts import Junk, count, details, part, service_tier
from asahi_router.providers.dialect import Summary, Translated

_FINISH: dict[str | None, FinishReason.ValueType] = {
    "stop": FinishReason.FINISH_REASON_STOP,
    "length": FinishReason.FINISH_REASON_LENGTH,
    "tool_calls": FinishReason.FINISH_REASON_TOOL_CALLS,
    "function_call": FinishReason.FINISH_REASON_TOOL_CALLS,
    "content_filter": FinishReason.FINISH_REASON_CONTENT_FILTER,
}
_WORST_FIRST = (
    FinishReason.FINISH_REASON_CONTENT_FILTER,
    FinishReason.FINISH_REASON_LENGTH,
    FinishReason.FINISH_REASON_UNSPECIFIED,
    FinishReason.FINISH_REASON_TOOL_CALLS,
)
_STANDARD = (None, "default", "auto")
_WRITTEN: dict[FinishReason.ValueType, str] = {
    FinishReason.FINISH_REASON_LENGTH: "length",
    FinishReason.FINISH_REASON_TOOL_CALLS: "tool_calls",
    FinishReason.FINISH_REASON_CONTENT_FILTER: "content_filter",
}


class CachedDetails(msgspec.Struct, gc=False):
    """Parts of `cached_tokens`."""

    audio_tokens: Any = None
    image_tokens: Any = None


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the prompt's tokens."""

    cached_tokens: Any = None
    cache_write_tokens: Any = None
    audio_tokens: Any = None
    image_tokens: Any = None
    cached_tokens_details: CachedDetails | Junk = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the answer's tokens."""

    reasoning_tokens: Any = None
    audio_tokens: Any = None
    image_tokens: Any = None


class UsageBody(msgspec.Struct):
    """`usage`: under the names of chat completions, or under those of responses and images."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: PromptDetails | Junk = None
    completion_tokens_details: CompletionDetails | Junk = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: PromptDetails | Junk = None
    output_tokens_details: CompletionDetails | Junk = None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str = ""
    type: str = "function"
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Refusal(msgspec.Struct):
    refusal: str | None = None


class _Ending(msgspec.Struct):
    finish_reason: str | None = None
    message: _Refusal = msgspec.field(default_factory=_Refusal)


class _Choice(msgspec.Struct):
    message: _Message


class _Endings(msgspec.Struct):
    choices: list[_Ending]
    usage: UsageBody | Junk = None
    service_tier: Any = None


class _Body(msgspec.Struct):
    choices: list[_Choice]


_endings = msgspec.json.Decoder(_Endings)
_body = msgspec.json.Decoder(_Body)


def summarize(body: bytes) -> Summary:
    """Why the answer ended and what it consumed; raises ValueError if it is no answer."""
    answer = _endings.decode(body)
    reasons = [finish_reason(choice.finish_reason, refused=bool(choice.message.refusal)) for choice in answer.choices]
    return Summary(worst(reasons), usage_of(answer.usage, answer.service_tier), empty=not reasons)


def finish_reason(reason: str | None, *, refused: bool) -> FinishReason.ValueType:
    """Why a choice ended. A refusal in the model's own words counts as withheld."""
    return (
        FinishReason.FINISH_REASON_CONTENT_FILTER
        if refused
        else _FINISH.get(reason, FinishReason.FINISH_REASON_UNSPECIFIED)
    )


def worst(reasons: Iterable[FinishReason.ValueType]) -> FinishReason.ValueType:
    """The one of several choices' reasons that says most against the answer."""
    found = set(reasons)
    return next((reason for reason in _WORST_FIRST if reason in found), FinishReason.FINISH_REASON_STOP)


def usage_of(usage: UsageBody | Junk, tier: Any) -> Usage | None:
    """`usage` in disjoint buckets; None: not reported, or not to be believed (`counts`).

    The prompt's tokens include what was read from and written to the cache. `tier`: the answer's `service_tier`.
    """
    if not isinstance(usage, UsageBody):
        return None
    prompt = count(usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens)
    output = count(usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens)
    if prompt is None or output is None:
        return None
    asked = usage.prompt_tokens_details or usage.input_tokens_details
    parts = asked if isinstance(asked, PromptDetails) else PromptDetails()
    answered = usage.completion_tokens_details or usage.output_tokens_details
    ends = answered if isinstance(answered, CompletionDetails) else CompletionDetails()
    read = part(parts.cached_tokens, prompt)
    written = part(parts.cache_write_tokens, prompt - read)
    counted = Usage(
        input_tokens=prompt - read - written,
        cache_read_tokens=read,
        cache_write_5m_tokens=written,
        output_tokens=output,
        reasoning_tokens=part(ends.reasoning_tokens, output),
        source=UsageSource.USAGE_SOURCE_PROVIDER,
    )
    if tier not in _STANDARD or parts.audio_tokens or parts.image_tokens or ends.audio_tokens or ends.image_tokens:
        more = _details(counted, parts, ends, tier)
        if more is not None:
            counted.details.CopyFrom(more)
    return counted


def _details(counted: Usage, parts: PromptDetails, ends: CompletionDetails, tier: Any) -> UsageDetails | None:
    """Audio and images of the prompt include cached ones; where it is not said which were, text was cached first."""
    prompt = counted.input_tokens + counted.cache_read_tokens + counted.cache_write_5m_tokens
    audio = part(parts.audio_tokens, prompt)
    image = part(parts.image_tokens, prompt - audio)
    read = counted.cache_read_tokens
    if isinstance(parts.cached_tokens_details, CachedDetails):
        read_audio = part(parts.cached_tokens_details.audio_tokens, min(read, audio))
        read_image = part(parts.cached_tokens_details.image_tokens, min(read - read_audio, image))
    else:
        read_image = min(image, max(0, read - (prompt - audio - image)))
        read_audio = min(audio, max(0, read - (prompt - audio)))
    input_audio = min(audio - read_audio, counted.input_tokens)
    output_audio = part(ends.audio_tokens, counted.output_tokens)
    return details(
        input_audio=input_audio,
        input_image=min(image - read_image, counted.input_tokens - input_audio),
        cache_read_audio=read_audio,
        cache_read_image=read_image,
        output_audio=output_audio,
        output_image=part(ends.image_tokens, counted.output_tokens - output_audio),
        tier=service_tier(tier),
    )


def read_answer(body: bytes) -> ChatAnswer:
    """The first choice in the intermediate form; raises ValueError if it has what cannot be carried."""
    message = _body.decode(body).choices[0].message
    parts = []
    if message.reasoning_content:
        parts.append(ContentPart(thinking=Thinking(text=message.reasoning_content)))
    if message.content:
        parts.append(ContentPart(text=message.content))
    if message.refusal:
        parts.append(ContentPart(refusal=message.refusal))
    for call in message.tool_calls or ():
        if call.function is None:
            raise ValueError(f"its answer has a tool call of the type {call.type}, which cannot be translated")
        tool_call = ToolCall(id=call.id, name=call.function.name, arguments_json=call.function.arguments)
        parts.append(ContentPart(tool_call=tool_call))
    return ChatAnswer(parts=parts)


def write_answer(answer: Translated) -> bytes:
    """A `chat.completion` with one choice."""
    text = [part.text for part in answer.chat.parts if part.HasField("text")]
    refusal = [part.refusal for part in answer.chat.parts if part.HasField("refusal")]
    calls = [part.tool_call for part in answer.chat.parts if part.HasField("tool_call")]
    thoughts = "".join(part.thinking.text for part in answer.chat.parts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(text) if text or not (calls or refusal) else None,
        "refusal": "".join(refusal) if refusal else None,
    }
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": written_reason(answer.summary.finish_reason),
    }
    body: dict[str, Any] = {
        "id": completion_id(answer.id),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [choice],
    }
    if answer.summary.usage is not None:
        body["usage"] = written_usage(answer.summary.usage)
    return msgspec.json.encode(body)


def written_reason(reason: FinishReason.ValueType) -> str:
    """`finish_reason`."""
    return _WRITTEN.get(reason, "stop")


def written_usage(usage: Usage) -> dict[str, Any]:
    """`usage`."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    prompt = usage.input_tokens + usage.cache_read_tokens + written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def completion_id(foreign_id: str) -> str:
    """An id in OpenAI's manner that still names the provider's answer."""
    return f"chatcmpl-{foreign_id.removeprefix('msg_')}"
