"""Questions in OpenAI's protocol: adapted to a provider of the same protocol, or read into the intermediate form."""

import re
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterator

from asahi.type.v1.chat_pb2 import (
    ChatRequest,
    ContentPart,
    Image,
    Message,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from asahi_core.errors import InvalidRequest
from asahi_router.domain.translation.fates import entries_of
from asahi_router.domain.translation.from_openai import FROM_OPENAI
from asahi_router.providers.fields import OURS, Fields, unsupported
from asahi_router.providers.raw_json import TRUE, Raw, raw, read_object

_ROLES: dict[str, Role.ValueType] = {
    "system": Role.ROLE_SYSTEM,
    "developer": Role.ROLE_SYSTEM,
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
    "tool": Role.ROLE_TOOL,
}
_CHOICES: dict[str, ToolChoiceMode.ValueType] = {
    "auto": ToolChoiceMode.TOOL_CHOICE_MODE_AUTO,
    "none": ToolChoiceMode.TOOL_CHOICE_MODE_NONE,
    "required": ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED,
}
_REQUEST = entries_of(FROM_OPENAI, "request")
_SEED_BITS = 63
_REFUSES_MAX_TOKENS = re.compile(r"o\d|gpt-[5-9]")
"""OpenAI's models that reason take the bound of an answer as `max_completion_tokens` only; the meaning is the same."""


def adapt(body: bytes, model: str, *, stream: bool) -> bytes:
    """The question for `model`, streamed with usage or plain; all else as it was written."""
    fields = read_object(body)
    fields.pop(OURS, None)
    fields["model"] = raw(model)
    if "max_tokens" in fields and _REFUSES_MAX_TOKENS.match(model):
        most = fields.pop("max_tokens")
        fields.setdefault("max_completion_tokens", most)
    options = fields.pop("stream_options", None)
    fields.pop("stream", None)
    if stream:
        asked = read_object(bytes(options)) if options is not None and bytes(options) != b"null" else {}
        fields["stream"] = TRUE
        fields["stream_options"] = raw({**asked, "include_usage": TRUE})
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
    most, most_once = fields.take("max_completion_tokens", int), fields.take("max_tokens", int)
    chat = ChatRequest(
        messages=[message for message, _ in _messages(fields)],
        max_output_tokens=most if most is not None else most_once,
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        stop=_stop(fields),
        seed=_seed(fields),
        response_format_json=_response_format(fields),
        tools=[_tool(tool) for tool in fields.items("tools")],
        tool_choice=_tool_choice(fields),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        user=_user(fields),
    )
    fields.finish()
    return chat


def places(body: bytes) -> list[list[str]]:
    """Where the parts of each message of `read_question` stand in `body`."""
    return [paths for _, paths in _messages(Fields(body))]


def _seed(fields: Fields) -> int | None:
    seed = fields.take("seed", int)
    if seed is not None and seed.bit_length() > _SEED_BITS:
        raise InvalidRequest("'seed' must be a whole number of 64 bits.", param="seed")
    return seed


def _user(fields: Fields) -> str:
    """The newer of the two names goes first."""
    user = fields.take("user", str)
    return fields.take("safety_identifier", str) or user or ""


def _stop(fields: Fields) -> list[str]:
    stop = fields.take("stop", str | list[str])  # type: ignore[arg-type]  # msgspec takes unions, `type` does not
    return [stop] if isinstance(stop, str) else list(stop or ())


def _response_format(fields: Fields) -> bytes:
    wanted = fields.take("response_format", Raw)
    if wanted is None:
        return b""
    if not bytes(wanted).startswith(b"{"):
        raise InvalidRequest("'response_format' must be an object.", param="response_format")
    kind = Fields(wanted, "response_format").take("type", str)
    return b"" if kind == "text" else bytes(wanted)


def _messages(fields: Fields) -> Iterator[tuple[Message, list[str]]]:
    for message in fields.items("messages"):
        yield _message(message)


def _message(fields: Fields) -> tuple[Message, list[str]]:
    """A message, and where each of its parts stands."""
    name = fields.need("role", str)
    role = _ROLES.get(name)
    if role is None:
        message = f"'{fields.at('role')}' is '{name[:40]}', not one of {', '.join(_ROLES)}."
        raise InvalidRequest(message, param=fields.at("role"))
    fields.settle(entries_of(FROM_OPENAI, f"messages:{name}"))
    parts, paths = _content(fields)
    match role:
        case Role.ROLE_ASSISTANT:
            refusal = fields.take("refusal", str)
            if refusal:
                parts.append(ContentPart(refusal=refusal))
                paths.append(fields.at("refusal"))
            for call in fields.items("tool_calls"):
                parts.append(_tool_call(call))
                paths.append(call.path)
        case Role.ROLE_TOOL:
            result = ToolResult(tool_call_id=fields.need("tool_call_id", str), parts=parts)
            parts, paths = [ContentPart(tool_result=result)], [fields.path]
    fields.finish()
    return Message(role=role, parts=parts), paths or [fields.at("content")]


def _content(fields: Fields) -> tuple[list[ContentPart], list[str]]:
    content = fields.take("content", Raw)
    if content is None:
        return [], []
    holder = Fields(b'{"content":' + bytes(content) + b"}", fields.path)
    if bytes(content).startswith(b'"'):
        text = holder.need("content", str)
        return ([ContentPart(text=text)], [fields.at("content")]) if text else ([], [])
    items = list(holder.items("content"))
    return [_part(part) for part in items], [part.path for part in items]


def _part(fields: Fields) -> ContentPart:
    kind = fields.need("type", str)
    if f"content:{kind}" not in FROM_OPENAI:
        raise unsupported(fields.path)
    fields.settle(entries_of(FROM_OPENAI, f"content:{kind}"))
    match kind:
        case "text":
            part = ContentPart(text=fields.need("text", str))
        case "refusal":
            part = ContentPart(refusal=fields.need("refusal", str))
        case _:
            part = ContentPart(image=_image(fields))
    fields.finish()
    return part


def _image(fields: Fields) -> Image:
    image = fields.object("image_url")
    if image is None:
        raise InvalidRequest(f"'{fields.at('image_url')}' is missing.", param=fields.at("image_url"))
    url = image.need("url", str)
    detail = image.take("detail", str) or ""
    image.finish()
    if not url.startswith("data:"):
        return Image(url=url, detail=detail)
    media_type, encoded, data = url.removeprefix("data:").partition(";base64,")
    if not encoded:
        raise InvalidRequest(f"'{image.at('url')}' is no base64 data URL.", param=image.at("url"))
    try:
        return Image(data=b64decode(data, validate=True), media_type=media_type, detail=detail)
    except NoBase64 as error:
        raise InvalidRequest(f"'{image.at('url')}' is no base64 data URL.", param=image.at("url")) from error


def _tool_call(fields: Fields) -> ContentPart:
    function = fields.object("function")
    if function is None:
        raise unsupported(fields.path)
    call = ToolCall(
        id=fields.need("id", str),
        name=function.need("name", str),
        arguments_json=function.take("arguments", str) or "",
    )
    fields.allow("type", "function")
    function.finish()
    fields.finish()
    return ContentPart(tool_call=call)


def _tool(fields: Fields) -> Tool:
    function = fields.object("function")
    if function is None:
        raise unsupported(fields.path)
    tool = Tool(
        name=function.need("name", str),
        description=function.take("description", str) or "",
        parameters_json=bytes(function.take("parameters", Raw) or b""),
        strict=function.take("strict", bool),
    )
    fields.allow("type", "function")
    function.finish()
    fields.finish()
    return tool


def _tool_choice(fields: Fields) -> ToolChoice | None:
    choice = fields.take("tool_choice", Raw)
    if choice is None:
        return None
    if bytes(choice).startswith(b'"'):
        mode = _CHOICES.get(bytes(choice)[1:-1].decode())
        if mode is None:
            raise InvalidRequest("'tool_choice' must be auto, none, required or a function.", param="tool_choice")
        return ToolChoice(mode=mode)
    named = Fields(choice, "tool_choice")
    function = named.object("function")
    if function is None:
        raise unsupported("tool_choice")
    name = function.need("name", str)
    named.allow("type", "function")
    function.finish()
    named.finish()
    return ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NAMED, name=name)
