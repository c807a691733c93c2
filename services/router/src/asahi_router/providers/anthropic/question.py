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
from asahi_router.domain.translation.fates import Entry, entries_of
from asahi_router.domain.translation.from_anthropic import FROM_ANTHROPIC
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
_REQUEST, _TOOL = entries_of(FROM_ANTHROPIC, "request"), entries_of(FROM_ANTHROPIC, "tools:custom")
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
    """The question in the intermediate form.

    Raises:
        InvalidRequest: it cannot be understood.
        UnsupportedByModel: it has a field that only this protocol knows.
    """
    fields = Fields(body)
    fields.settle(_REQUEST)
    fields.drop("model", "stream")
    messages = [message for message, _ in _conversation(fields)]
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
        user=_user(fields),
    )
    fields.finish()
    return chat


def places(body: bytes) -> list[list[str]]:
    """Where the parts of each message of `read_question` stand in `body`."""
    return [paths for _, paths in _conversation(Fields(body))]


def _conversation(fields: Fields) -> Iterator[tuple[Message, list[str]]]:
    """Each message with where its parts stand."""
    instructions = _content(fields, "system")
    if instructions:
        paths = [path for _, path in instructions]
        yield Message(role=Role.ROLE_SYSTEM, parts=[part for part, _ in instructions]), paths
    for message in fields.items("messages"):
        yield from _messages(message)


def _user(fields: Fields) -> str:
    metadata = fields.object("metadata")
    if metadata is None:
        return ""
    user = metadata.take("user_id", str)
    metadata.finish()
    return user or ""


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


def _messages(fields: Fields) -> Iterator[tuple[Message, list[str]]]:
    """One message, or several: results of tools speak with the user's voice here, and with their own elsewhere."""
    name = fields.need("role", str)
    role = _ROLES.get(name)
    if role is None:
        words = f"'{fields.at('role')}' is '{name[:40]}', not one of {', '.join(_ROLES)}."
        raise InvalidRequest(words, param=fields.at("role"))
    message: Message | None = None
    paths: list[str] = []
    for part, path in _content(fields, "content"):
        voice = Role.ROLE_TOOL if part.HasField("tool_result") else role
        if message is None or message.role != voice:
            if message is not None:
                yield message, paths
            message, paths = Message(role=voice), []
        message.parts.append(part)
        paths.append(path)
    fields.finish()
    yield (message, paths) if message is not None else (Message(role=role), [fields.at("content")])


def _content(fields: Fields, name: str) -> list[tuple[ContentPart, str]]:
    """The parts, and where each stands."""
    content = fields.take(name, Raw)
    if content is None:
        return []
    holder = Fields(b'{"' + name.encode() + b'":' + bytes(content) + b"}", fields.path)
    if bytes(content).startswith(b'"'):
        text = holder.need(name, str)
        return [(ContentPart(text=text), fields.at(name))] if text else []
    read = ((_part(block), block.path) for block in holder.items(name))
    return [(part, path) for part, path in read if part is not None]


def _part(fields: Fields) -> ContentPart | None:
    """A part; None: it is left out."""
    kind = fields.need("type", str)
    entries = FROM_ANTHROPIC.get(f"content:{kind}")
    if entries is None:
        raise unsupported(fields.path)
    if kind == "thinking":
        return _thinking(fields)
    if not isinstance(entries, Entry):
        fields.settle(entries)
    part: ContentPart | None
    match kind:
        case "text":
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
                parts=[part for part, _ in _content(fields, "content")],
            )
            part = ContentPart(tool_result=result)
        case _:
            part = ContentPart(thinking=Thinking(redacted=fields.need("data", str)))
    fields.finish()
    return part


def _thinking(fields: Fields) -> ContentPart | None:
    """Thoughts, unless nobody signed them: no provider takes those back."""
    text, signature = fields.take("thinking", str) or "", fields.take("signature", str) or ""
    fields.finish()
    return ContentPart(thinking=Thinking(text=text, signature=signature)) if signature else None


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
    if fields.take("type", str) not in {None, "custom"}:
        raise unsupported(fields.path)
    fields.settle(_TOOL)
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
        message = f"'tool_choice.type' is '{kind[:40]}', not one of {', '.join(_CHOICES)}."
        raise InvalidRequest(message, param="tool_choice.type")
    alone = choice.take("disable_parallel_tool_use", bool)
    name = choice.take("name", str) or ""
    choice.finish()
    return ToolChoice(mode=mode, name=name), None if alone is None else not alone
