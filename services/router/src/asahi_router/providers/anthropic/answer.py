"""Plain answers in Anthropic's protocol, read and written."""

from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import ChatAnswer, ContentPart, FinishReason, Thinking, ToolCall
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_router.providers.counts import Junk, bucket, count, details, part, service_tier
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
_STANDARD = (None, "standard")
NO_ARGUMENTS = Raw(b"{}")


class CacheCreation(msgspec.Struct, gc=False):
    """Tokens written to the cache, by how long they stay."""

    ephemeral_5m_input_tokens: Any = None
    ephemeral_1h_input_tokens: Any = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of `output_tokens`."""

    thinking_tokens: Any = None


class ServerToolUse(msgspec.Struct, gc=False):
    """Tools that ran at the provider."""

    web_search_requests: Any = None


class UsageBody(msgspec.Struct):
    """`usage`: `input_tokens` are those neither read from nor written to the cache."""

    input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation: CacheCreation | Junk = None
    output_tokens: Any = None
    output_tokens_details: OutputDetails | Junk = None
    server_tool_use: ServerToolUse | Junk = None
    service_tier: Any = None
    speed: Any = None


class _Summary(msgspec.Struct):
    content: list[Raw]
    stop_reason: str | None = None
    usage: UsageBody | Junk = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = NO_ARGUMENTS
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


def usage_of(usage: UsageBody | Junk) -> Usage | None:
    """`usage` in our buckets; None: not reported, or not to be believed (`counts`).

    What was written to the cache, and is not said to stay for an hour, stays for five minutes.
    """
    if not isinstance(usage, UsageBody):
        return None
    asked, output = count(usage.input_tokens), count(usage.output_tokens)
    read, written = bucket(usage.cache_read_input_tokens), bucket(usage.cache_creation_input_tokens)
    kept = usage.cache_creation if isinstance(usage.cache_creation, CacheCreation) else CacheCreation()
    brief, hour = bucket(kept.ephemeral_5m_input_tokens), bucket(kept.ephemeral_1h_input_tokens)
    if asked is None or output is None or read is None or written is None or brief is None or hour is None:
        return None
    thought = usage.output_tokens_details
    counted = Usage(
        input_tokens=asked,
        cache_read_tokens=read,
        cache_write_5m_tokens=max(brief, written - hour),
        cache_write_1h_tokens=hour,
        output_tokens=output,
        reasoning_tokens=part(thought.thinking_tokens, output) if isinstance(thought, OutputDetails) else 0,
        source=UsageSource.USAGE_SOURCE_PROVIDER,
    )
    tools = usage.server_tool_use
    searches = bucket(tools.web_search_requests) if isinstance(tools, ServerToolUse) else 0
    if searches is None:
        return None
    if searches or usage.service_tier not in _STANDARD or usage.speed not in _STANDARD:
        tier = service_tier(usage.service_tier if usage.speed in _STANDARD else usage.speed)
        more = details(web_searches=searches, tier=tier)
        if more is not None:
            counted.details.CopyFrom(more)
    return counted


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
        return NO_ARGUMENTS
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
