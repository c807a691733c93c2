"""Questions in the form of OpenAI's responses, read into the intermediate form."""

from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterator
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
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from asahi_core.errors import InvalidRequest
from asahi_router.domain.translation.fates import entries_of
from asahi_router.domain.translation.from_responses import FROM_RESPONSES
from asahi_router.providers.fields import Fields, unsupported
from asahi_router.providers.raw_json import Raw
from asahi_router.providers.responses.seals import unseal

_ROLES: dict[str, Role.ValueType] = {
    "system": Role.ROLE_SYSTEM,
    "developer": Role.ROLE_SYSTEM,
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
}
_CHOICES: dict[str, ToolChoiceMode.ValueType] = {
    "auto": ToolChoiceMode.TOOL_CHOICE_MODE_AUTO,
    "none": ToolChoiceMode.TOOL_CHOICE_MODE_NONE,
    "required": ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED,
}
_JOINED = (Role.ROLE_ASSISTANT, Role.ROLE_TOOL)
"""What a model says at once, and what its tools answer, are several items here, and one message elsewhere."""
_Said = tuple[Role.ValueType, list[ContentPart], list[str]]


def read_question(body: bytes) -> ChatRequest:
    """The question in the intermediate form.

    Raises:
        InvalidRequest: it cannot be understood.
        UnsupportedByModel: it has a field that only this protocol knows.
    """
    fields = Fields(body)
    fields.settle(entries_of(FROM_RESPONSES, "request"))
    fields.drop("model", "stream")
    user = fields.take("user", str)
    chat = ChatRequest(
        messages=[message for message, _ in _conversation(fields)],
        max_output_tokens=fields.take("max_output_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        response_format_json=_response_format(fields),
        tools=[_tool(tool) for tool in fields.items("tools")],
        tool_choice=_tool_choice(fields),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        user=fields.take("safety_identifier", str) or user or "",
        reasoning_effort=_effort(fields),
    )
    fields.finish()
    return chat


def places(body: bytes) -> list[list[str]]:
    """Where the parts of each message of `read_question` stand in `body`."""
    return [paths for _, paths in _conversation(Fields(body))]


def _conversation(fields: Fields) -> Iterator[tuple[Message, list[str]]]:
    """Each message with where its parts stand."""
    last: tuple[Message, list[str]] | None = None
    for role, parts, paths in _said(fields):
        if last is not None and last[0].role == role and role in _JOINED:
            last[0].parts.extend(parts)
            last[1].extend(paths)
            continue
        if last is not None:
            yield last
        last = Message(role=role, parts=parts), paths
    if last is not None:
        yield last


def _said(fields: Fields) -> Iterator[_Said]:
    instructions = fields.take("instructions", str)
    if instructions:
        yield Role.ROLE_SYSTEM, [ContentPart(text=instructions)], ["instructions"]
    asked = fields.take("input", Raw)
    if asked is None:
        raise InvalidRequest("'input' is missing.", param="input")
    if bytes(asked).startswith(b'"'):
        yield Role.ROLE_USER, [ContentPart(text=msgspec.json.decode(asked, type=str))], ["input"]
        return
    for item in Fields(b'{"input":' + bytes(asked) + b"}").items("input"):
        said = _item(item)
        if said is not None:
            yield said


def _item(fields: Fields) -> _Said | None:
    """An item; None: it is left out."""
    kind = fields.take("type", str) or "message"
    if f"input:{kind}" not in FROM_RESPONSES:
        raise unsupported(fields.path)
    fields.settle(entries_of(FROM_RESPONSES, f"input:{kind}"))
    said: _Said | None
    match kind:
        case "message":
            name = fields.need("role", str)
            role = _ROLES.get(name)
            if role is None:
                words = f"'{fields.at('role')}' is '{name[:40]}', not one of {', '.join(_ROLES)}."
                raise InvalidRequest(words, param=fields.at("role"))
            parts, paths = _content(fields, "content")
            said = role, parts, paths or [fields.at("content")]
        case "function_call":
            call = ToolCall(
                id=fields.need("call_id", str),
                name=fields.need("name", str),
                arguments_json=fields.take("arguments", str) or "",
            )
            said = Role.ROLE_ASSISTANT, [ContentPart(tool_call=call)], [fields.path]
        case "function_call_output":
            parts, _ = _content(fields, "output")
            result = ToolResult(tool_call_id=fields.need("call_id", str), parts=parts)
            said = Role.ROLE_TOOL, [ContentPart(tool_result=result)], [fields.path]
        case _:
            said = _thoughts(fields)
    fields.finish()
    return said


def _thoughts(fields: Fields) -> _Said | None:
    """Thoughts, unless nobody signed them, or OpenAI did: no provider of another protocol takes those back."""
    sealed = unseal(fields.take("encrypted_content", str) or "")
    text = "".join(_thought(part) for part in fields.items("content"))
    if not sealed:
        return None
    thinking = Thinking(text=text, signature=sealed) if text else Thinking(redacted=sealed)
    return Role.ROLE_ASSISTANT, [ContentPart(thinking=thinking)], [fields.path]


def _thought(fields: Fields) -> str:
    fields.allow("type", "reasoning_text")
    text = fields.need("text", str)
    fields.finish()
    return text


def _content(fields: Fields, name: str) -> tuple[list[ContentPart], list[str]]:
    content = fields.take(name, Raw)
    if content is None:
        return [], []
    if bytes(content).startswith(b'"'):
        text = msgspec.json.decode(content, type=str)
        return ([ContentPart(text=text)], [fields.at(name)]) if text else ([], [])
    holder = Fields(b'{"' + name.encode() + b'":' + bytes(content) + b"}", fields.path)
    items = list(holder.items(name))
    return [_part(part) for part in items], [part.path for part in items]


def _part(fields: Fields) -> ContentPart:
    kind = fields.need("type", str)
    if f"content:{kind}" not in FROM_RESPONSES:
        raise unsupported(fields.path)
    fields.settle(entries_of(FROM_RESPONSES, f"content:{kind}"))
    match kind:
        case "input_text" | "output_text":
            part = ContentPart(text=fields.need("text", str))
        case "refusal":
            part = ContentPart(refusal=fields.need("refusal", str))
        case _:
            part = ContentPart(image=_image(fields))
    fields.finish()
    return part


def _image(fields: Fields) -> Image:
    detail, url = fields.take("detail", str) or "", fields.take("image_url", str)
    if url is None:
        fields.finish()
        raise InvalidRequest(f"'{fields.at('image_url')}' is missing.", param=fields.at("image_url"))
    if not url.startswith("data:"):
        return Image(url=url, detail=detail)
    media_type, encoded, data = url.removeprefix("data:").partition(";base64,")
    try:
        if encoded:
            return Image(data=b64decode(data, validate=True), media_type=media_type, detail=detail)
    except NoBase64:
        pass
    raise InvalidRequest(f"'{fields.at('image_url')}' is no base64 data URL.", param=fields.at("image_url"))


def _response_format(fields: Fields) -> bytes:
    text = fields.object("text")
    if text is None:
        return b""
    text.settle(entries_of(FROM_RESPONSES, "request/text"))
    form = text.object("format")
    text.finish()
    if form is None:
        return b""
    kind = form.need("type", str)
    written: dict[str, Any] = {"type": kind}
    match kind:
        case "json_schema":
            schema: dict[str, Any] = {"name": form.need("name", str), "schema": form.need("schema", Raw)}
            for name, shape in (("strict", bool), ("description", str)):
                value = form.take(name, shape)
                if value is not None:
                    schema[name] = value
            written["json_schema"] = schema
        case "text" | "json_object":
            pass
        case _:
            raise unsupported(form.path)
    form.finish()
    return b"" if kind == "text" else msgspec.json.encode(written)


def _tool(fields: Fields) -> Tool:
    if fields.need("type", str) != "function":
        raise unsupported(fields.path)
    tool = Tool(
        name=fields.need("name", str),
        description=fields.take("description", str) or "",
        parameters_json=bytes(fields.take("parameters", Raw) or b""),
        strict=fields.take("strict", bool),
    )
    fields.finish()
    return tool


def _tool_choice(fields: Fields) -> ToolChoice | None:
    choice = fields.take("tool_choice", Raw)
    if choice is None:
        return None
    if bytes(choice).startswith(b'"'):
        mode = _CHOICES.get(msgspec.json.decode(choice, type=str))
        if mode is None:
            raise InvalidRequest("'tool_choice' must be auto, none, required or a function.", param="tool_choice")
        return ToolChoice(mode=mode)
    named = Fields(choice, "tool_choice")
    if named.need("type", str) != "function":
        raise unsupported("tool_choice")
    name = named.need("name", str)
    named.finish()
    return ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NAMED, name=name)


def _effort(fields: Fields) -> str:
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return ""
    reasoning.settle(entries_of(FROM_RESPONSES, "request/reasoning"))
    effort = reasoning.take("effort", str) or ""
    reasoning.finish()
    return effort
