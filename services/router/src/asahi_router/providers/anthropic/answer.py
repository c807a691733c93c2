"""Plain answers in Anthropic's protocol, read and written."""

from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import ChatAnswer, ContentPart, FinishReason, Thinking, ToolCall
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_router.providers.dialect import Summary, Translated
from asahi_router.providers.raw_json import Raw

_FINISH: dict[str | None, FinishReason.ValueType] = {
    "end_turn": FinishReason.FINISH_REASON_STOP,
    "stop_sequence": FinishReason.FINISH_REASON_STOP,
    "max_tokens": FinishReason.FINISH_REASON_LENGTH,
    "model_context_window_exceeded": FinishReason.FINISH_REASON_LENGTH,
    "tool_use": FinishReason.FINISH_REASON_TOOL_CALLS,
    "refusal": FinishReason.FINISH_REASON_CONTENT_FILTER,
}
_WRITTEN: dict[FinishReason.ValueType, str] = {
    FinishReason.FINISH_REASON_LENGTH: "max_tokens",
    FinishReason.FINISH_REASON_TOOL_CALLS: "tool_use",
    FinishReason.FINISH_REASON_CONTENT_FILTER: "refusal",
}
_NO_ARGUMENTS = Raw(b"{}")


class CacheCreation(msgspec.Struct, gc=False):
    """Tokens written to the cache, by how long they stay."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of `output_tokens`."""

    thinking_tokens: int | None = None


class UsageBody(msgspec.Struct):
    """`usage`: `input_tokens` are those neither read from nor written to the cache."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class _Summary(msgspec.Struct):
    content: list[Raw]
    stop_reason: str | None = None
    usage: UsageBody | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = _NO_ARGUMENTS
    thinking: str = ""
    signature: str = ""
    data: str = ""


class _Message(msgspec.Struct):
    content: list[_Block]


_summary = msgspec.json.Decoder(_Summary)
_message = msgspec.json.Decoder(_Message)


def summarize(body: bytes) -> Summary:
    """Why the answer ended and what it consumed; raises ValueError if it is no answer."""
    message = _summary.decode(body)
    reason = finish_reason(message.stop_reason)
    empty = not message.content and reason != FinishReason.FINISH_REASON_CONTENT_FILTER
    return Summary(reason, usage_of(message.usage), empty=empty)


def finish_reason(reason: str | None) -> FinishReason.ValueType:
    """Why the answer ended."""
    return _FINISH.get(reason, FinishReason.FINISH_REASON_UNSPECIFIED)


def usage_of(usage: UsageBody | None) -> Usage | None:
    """`usage` in our buckets."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    written = usage.cache_creation_input_tokens or 0
    hour = (usage.cache_creation.ephemeral_1h_input_tokens or 0) if usage.cache_creation is not None else 0
    five_minutes = usage.cache_creation.ephemeral_5m_input_tokens if usage.cache_creation is not None else None
    thinking = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details is not None else None
    return Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_5m_tokens=max(0, written - hour) if five_minutes is None else five_minutes,
        cache_write_1h_tokens=hour,
        output_tokens=usage.output_tokens,
        reasoning_tokens=min(thinking or 0, usage.output_tokens),
        source=UsageSource.USAGE_SOURCE_PROVIDER,
    )


def read_answer(body: bytes) -> ChatAnswer:
    """The answer in the intermediate form; raises ValueError if it has what cannot be carried."""
    return ChatAnswer(parts=[_part(block) for block in _message.decode(body).content])


def _part(block: _Block) -> ContentPart:
    match block.type:
        case "text":
            return ContentPart(text=block.text)
        case "tool_use":
            call = ToolCall(id=block.id, name=block.name, arguments_json=bytes(block.input).decode())
            return ContentPart(tool_call=call)
        case "thinking":
            return ContentPart(thinking=Thinking(text=block.thinking, signature=block.signature))
        case "redacted_thinking":
            return ContentPart(thinking=Thinking(redacted=block.data))
        case _:
            raise ValueError(f"its answer has a part of the type {block.type[:40]}, which cannot be translated")


def write_answer(answer: Translated) -> bytes:
    """A `message`."""
    reason = answer.summary.finish_reason
    body: dict[str, Any] = {
        "id": message_id(answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [written_block(part) for part in answer.chat.parts],
        "stop_reason": written_reason(reason),
        "stop_sequence": None,
    }
    if answer.summary.usage is not None:
        body["usage"] = written_usage(answer.summary.usage)
    return msgspec.json.encode(body)


def written_block(part: ContentPart) -> dict[str, Any]:
    """A block of content."""
    match part.WhichOneof("part"):
        case "text":
            return {"type": "text", "text": part.text}
        case "refusal":
            return {"type": "text", "text": part.refusal}
        case "tool_call":
            call = part.tool_call
            return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments(call.arguments_json)}
        case "thinking" if part.thinking.redacted:
            return {"type": "redacted_thinking", "data": part.thinking.redacted}
        case "thinking":
            return {"type": "thinking", "thinking": part.thinking.text, "signature": part.thinking.signature}
        case _:
            raise ValueError("its answer has a part that cannot be translated")


def arguments(text: str) -> Raw:
    """Arguments of a tool as an object; what a model left unfinished, or wrote otherwise, counts as none."""
    try:
        msgspec.json.decode(text, type=dict[str, Raw])
    except msgspec.DecodeError:
        return _NO_ARGUMENTS
    return Raw(text.encode())


def written_reason(reason: FinishReason.ValueType) -> str:
    """`stop_reason`."""
    return _WRITTEN.get(reason, "end_turn")


def written_usage(usage: Usage) -> dict[str, Any]:
    """`usage`."""
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
    }


def message_id(foreign_id: str) -> str:
    """An id in Anthropic's manner that still names the provider's answer."""
    return f"msg_{foreign_id.removeprefix('chatcmpl-')}"
