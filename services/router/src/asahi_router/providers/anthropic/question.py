"""Questions in Anthropic's protocol: adapted to a provider of the same protocol, or read into the intermediate form."""

from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterator

import msgspec

from asahi.type.v1.chat_pb2 import (
    ChatRequest,
    ContentPart,
    Image,
    Message,
    Role,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from asahi_core.errors import InvalidRequest
from asahi_router.providers.fields import OURS, Fields, unsupported
from asahi_router.providers.raw_json import TRUE, Raw, raw, read_object

_ROLES: dict[str, Role.ValueType] = {
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
    "system": Role.ROLE_SYSTEM,
}
_CHOICES: dict[str, ToolChoiceMode.ValueType] = {
    "auto": ToolChoiceMode.TOOL_CHOICE_MODE_AUTO,
    "any": ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED,
    "tool": ToolChoiceMode.TOOL_CHOICE_MODE_NAMED,
    "none": ToolChoiceMode.TOOL_CHOICE_MODE_NONE,
}
_SCHEMA_NAME = "answer"


def adapt(body: bytes, model: str, *, stream: bool) -> bytes:
    """The question for `model`, streamed or plain; all else as it was written."""
    fields = read_object(body)
    fields.pop(OURS, None)
    fields["model"] = raw(model)
    fields.pop("stream", None)
    if stream:
        fields["stream"] = TRUE
    return bytes(raw(fields))


def read_question(body: bytes) -> ChatRequest:
    """The question in the intermediate form. `cache_control` is left out: other providers cache by themselves.

    Raises:
        InvalidRequest: it cannot be understood.
        UnsupportedByModel: it has a field that only this protocol knows.
    """
    fields = Fields(body)
    fields.ignore(
        OURS, "model", "stream", "metadata", "cache_control", "user_profile_id", "workspace_id", "diagnostics"
    )
    fields.allow("service_tier", "auto", "standard_only")
    fields.allow("speed", "standard")
    fields.allow("thinking", {"type": "disabled"})
    messages = [*_system(fields), *(one for message in fields.items("messages") for one in _messages(message))]
    choice, parallel = _tool_choice(fields)
    chat = ChatRequest(
        messages=messages,
        max_output_tokens=fields.need("max_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        stop=fields.take("stop_sequences", list[str]) or (),
        response_format_json=_response_format(fields),
        tools=[_tool(tool) for tool in fields.items("tools")],
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )
    fields.finish()
    return chat


def _system(fields: Fields) -> Iterator[Message]:
    parts = _content(fields, "system")
    if parts:
        yield Message(role=Role.ROLE_SYSTEM, parts=parts)


def _response_format(fields: Fields) -> bytes:
    """A schema has no name here, and is always adhered to."""
    config = fields.object("output_config")
    if config is None:
        return b""
    form = config.object("format")
    config.finish()
    if form is None:
        return b""
    schema = {"name": _SCHEMA_NAME, "strict": True, "schema": form.need("schema", Raw)}
    form.allow("type", "json_schema")
    form.finish()
    return msgspec.json.encode({"type": "json_schema", "json_schema": schema})


def _messages(fields: Fields) -> Iterator[Message]:
    """One message, or several: results of tools speak with the user's voice here, and with their own elsewhere."""
    name = fields.need("role", str)
    role = _ROLES.get(name)
    if role is None:
        raise InvalidRequest(f"'{fields.at('role')}' is '{name[:40]}', not one of {', '.join(_ROLES)}.")
    message: Message | None = None
    for part in _content(fields, "content"):
        voice = Role.ROLE_TOOL if part.HasField("tool_result") else role
        if message is None or message.role != voice:
            if message is not None:
                yield message
            message = Message(role=voice)
        message.parts.append(part)
    fields.finish()
    yield message if message is not None else Message(role=role)


def _content(fields: Fields, name: str) -> list[ContentPart]:
    content = fields.take(name, Raw)
    if content is None:
        return []
    holder = Fields(b'{"content":' + bytes(content) + b"}", fields.path)
    if bytes(content).startswith(b'"'):
        text = holder.need("content", str)
        return [ContentPart(text=text)] if text else []
    return [_part(block) for block in holder.items("content")]


def _part(fields: Fields) -> ContentPart:
    fields.ignore("cache_control")
    match fields.need("type", str):
        case "text":
            fields.allow("citations", [])
            part = ContentPart(text=fields.need("text", str))
        case "image":
            part = ContentPart(image=_image(fields))
        case "tool_use":
            call = ToolCall(
                id=fields.need("id", str),
                name=fields.need("name", str),
                arguments_json=bytes(fields.need("input", Raw)).decode(),
            )
            part = ContentPart(tool_call=call)
        case "tool_result":
            result = ToolResult(
                tool_call_id=fields.need("tool_use_id", str),
                is_error=bool(fields.take("is_error", bool)),
                parts=_content(fields, "content"),
            )
            part = ContentPart(tool_result=result)
        case "thinking":
            thinking = Thinking(text=fields.take("thinking", str) or "", signature=fields.take("signature", str) or "")
            part = ContentPart(thinking=thinking)
        case "redacted_thinking":
            part = ContentPart(thinking=Thinking(redacted=fields.need("data", str)))
        case _:
            raise unsupported(fields.path)
    fields.finish()
    return part


def _image(fields: Fields) -> Image:
    source = fields.object("source")
    if source is None:
        raise InvalidRequest(f"'{fields.at('source')}' is missing.", param=fields.at("source"))
    match source.need("type", str):
        case "url":
            image = Image(url=source.need("url", str))
        case "base64":
            data = source.need("data", str)
            try:
                image = Image(data=b64decode(data, validate=True), media_type=source.need("media_type", str))
            except NoBase64 as error:
                raise InvalidRequest(f"'{source.at('data')}' is no base64.", param=source.at("data")) from error
        case _:
            raise unsupported(source.path)
    source.finish()
    return image


def _tool(fields: Fields) -> Tool:
    fields.ignore("cache_control", "eager_input_streaming")
    fields.allow("type", "custom")
    fields.allow("allowed_callers", ["direct"])
    fields.allow("defer_loading", False)
    tool = Tool(
        name=fields.need("name", str),
        description=fields.take("description", str) or "",
        parameters_json=bytes(fields.take("input_schema", Raw) or b""),
        strict=fields.take("strict", bool),
    )
    fields.finish()
    return tool


def _tool_choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    """Which tool, and whether several at once."""
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    kind = choice.need("type", str)
    mode = _CHOICES.get(kind)
    if mode is None:
        raise InvalidRequest(f"'tool_choice.type' is '{kind[:40]}', not one of {', '.join(_CHOICES)}.")
    alone = choice.take("disable_parallel_tool_use", bool)
    name = choice.take("name", str) or ""
    choice.finish()
    return ToolChoice(mode=mode, name=name), None if alone is None else not alone
