"""Questions of the intermediate form, written in Anthropic's protocol."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import (
    ChatRequest,
    ContentPart,
    Image,
    Message,
    Role,
    Thinking,
    Tool,
    ToolChoiceMode,
    ToolResult,
)
from asahi_router.domain.translation.fates import entries_of
from asahi_router.domain.translation.from_openai import FROM_OPENAI
from asahi_router.providers.anthropic.answer import arguments
from asahi_router.providers.fields import Fields, unsupported
from asahi_router.providers.raw_json import Raw, raw, read_object

_MOST_TEMPERATURE = 1.0
_ROLES: dict[Role.ValueType, str] = {
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_TOOL: "user",
    Role.ROLE_ASSISTANT: "assistant",
}
_CHOICES: dict[ToolChoiceMode.ValueType, str] = {
    ToolChoiceMode.TOOL_CHOICE_MODE_UNSPECIFIED: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "none",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "any",
    ToolChoiceMode.TOOL_CHOICE_MODE_NAMED: "tool",
}
_SCHEMA = entries_of(FROM_OPENAI, "response_format:json_schema/json_schema")
_NO_PARAMETERS = Raw(b'{"type":"object"}')


def _require_sayable(chat: ChatRequest) -> None:
    """Raises UnsupportedByModel for a parameter that this protocol has no word for."""
    for name, beyond in (
        ("reasoning_effort", bool(chat.reasoning_effort)),
        ("seed", chat.HasField("seed")),
        ("temperature", chat.temperature > _MOST_TEMPERATURE),
    ):
        if beyond:
            raise unsupported(name)


def write_question(chat: ChatRequest, model: str, *, stream: bool, default_max_tokens: int) -> bytes:
    """The body of a question; raises UnsupportedByModel for what this protocol cannot carry."""
    _require_sayable(chat)
    instructions = _leading_instructions(chat.messages)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": chat.max_output_tokens if chat.HasField("max_output_tokens") else default_max_tokens,
    }
    if instructions:
        parts = [part for message in chat.messages[:instructions] for part in message.parts]
        blocks = [_block(part, f"messages[0].content[{i}]") for i, part in enumerate(parts) if _says_something(part)]
        if blocks:
            body["system"] = _text(blocks)
    body["messages"] = list(_messages(chat.messages, instructions))
    if chat.cache_prefix and isinstance(body["messages"][-1]["content"], list):
        body["messages"][-1]["content"][-2]["cache_control"] = {"type": "ephemeral"}
    for name in ("temperature", "top_p"):
        if chat.HasField(name):
            body[name] = getattr(chat, name)
    if chat.stop:
        body["stop_sequences"] = list(chat.stop)
    if chat.response_format_json:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _schema(chat.response_format_json)}}
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
    choice = _tool_choice(chat)
    if choice is not None:
        body["tool_choice"] = choice
    if chat.user:
        body["metadata"] = {"user_id": chat.user}
    if stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def _leading_instructions(messages: Sequence[Message]) -> int:
    """How many messages at the start are the application's: they have a place of their own."""
    return next((i for i, message in enumerate(messages) if message.role != Role.ROLE_SYSTEM), len(messages))


def _messages(messages: Sequence[Message], first: int) -> Iterator[dict[str, Any]]:
    """The conversation; what follows in the same voice is one message."""
    voice, blocks = "", list[dict[str, Any]]()
    for index, message in enumerate(messages[first:], first):
        role = _ROLES[message.role]
        if role != voice and blocks:
            yield {"role": voice, "content": _text(blocks)}
            blocks = []
        voice = role
        said = [
            _block(part, f"messages[{index}].content[{number}]")
            for number, part in enumerate(message.parts)
            if _says_something(part)
        ]
        if not said:
            raise unsupported(f"messages[{index}].content[0]")
        blocks += said
    if blocks:
        yield {"role": voice, "content": _text(blocks)}


def _says_something(part: ContentPart) -> bool:
    """This protocol takes no empty text."""
    return part.WhichOneof("part") != "text" or bool(part.text)


def _text(blocks: list[dict[str, Any]]) -> Any:
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _block(part: ContentPart, path: str) -> dict[str, Any]:
    match part.WhichOneof("part"):
        case "text":
            return {"type": "text", "text": part.text}
        case "refusal":
            return {"type": "text", "text": part.refusal}
        case "image":
            return {"type": "image", "source": _source(part.image, path)}
        case "tool_call":
            call = part.tool_call
            given = arguments(call.arguments_json)
            if call.arguments_json and bytes(given) != call.arguments_json.encode():
                raise unsupported(f"{path}.function.arguments")
            return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}
        case "tool_result":
            return _tool_result(part.tool_result, path)
        case "thinking":
            return _thinking(part.thinking)
        case _:
            raise unsupported(path)


def _tool_result(result: ToolResult, path: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": result.tool_call_id}
    content = [_block(part, f"{path}.content[{number}]") for number, part in enumerate(result.parts)]
    if content:
        block["content"] = _text(content)
    return {**block, "is_error": True} if result.is_error else block


def _thinking(thinking: Thinking) -> dict[str, Any]:
    if thinking.redacted:
        return {"type": "redacted_thinking", "data": thinking.redacted}
    return {"type": "thinking", "thinking": thinking.text, "signature": thinking.signature}


def _source(image: Image, path: str) -> dict[str, str]:
    """This protocol knows no `detail`; `auto` is what it does."""
    if image.detail not in {"", "auto"}:
        raise unsupported(f"{path}.image_url.detail")
    if image.HasField("url"):
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": b64encode(image.data).decode()}


def _schema(response_format: bytes) -> Raw:
    """The JSON schema of the answer; JSON of any shape cannot be asked for."""
    wanted = Fields(response_format, "response_format")
    kind = wanted.take("type", str)
    described = wanted.object("json_schema")
    if kind != "json_schema" or described is None:
        raise unsupported("response_format")
    schema, description = described.need("schema", Raw), described.take("description", str)
    described.settle(_SCHEMA)
    described.finish()
    wanted.finish()
    if description:
        fields = read_object(bytes(schema))
        fields.setdefault("description", raw(description))
        return raw(fields)
    return schema


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = Raw(tool.parameters_json) if tool.parameters_json else _NO_PARAMETERS
    if tool.HasField("strict"):
        written["strict"] = tool.strict
    return written


def _tool_choice(chat: ChatRequest) -> dict[str, Any] | None:
    asked = chat.HasField("tool_choice")
    alone = chat.HasField("parallel_tool_calls") and chat.tools
    if not asked and not alone:
        return None
    choice: dict[str, Any] = {"type": _CHOICES[chat.tool_choice.mode]}
    if choice["type"] == "tool":
        choice["name"] = chat.tool_choice.name
    if alone and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not chat.parallel_tool_calls
    return choice
