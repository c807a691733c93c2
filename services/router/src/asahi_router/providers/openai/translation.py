"""Questions of the intermediate form, written in OpenAI's protocol."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Image, Message, Role, Tool, ToolChoice, ToolChoiceMode
from asahi_router.providers.fields import unsupported
from asahi_router.providers.raw_json import Raw

_ROLES: dict[Role.ValueType, str] = {
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
}
_CHOICES: dict[ToolChoiceMode.ValueType, str] = {
    ToolChoiceMode.TOOL_CHOICE_MODE_UNSPECIFIED: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "none",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "required",
}


def write_question(chat: ChatRequest, model: str, *, stream: bool) -> bytes:
    """The body of a question; raises UnsupportedByModel for what this protocol cannot carry."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [one for index, message in enumerate(chat.messages) for one in _messages(message, index)],
    }
    if chat.HasField("max_output_tokens"):
        body["max_completion_tokens"] = chat.max_output_tokens
    for name in ("temperature", "top_p", "seed", "parallel_tool_calls"):
        if chat.HasField(name):
            body[name] = getattr(chat, name)
    if chat.stop:
        body["stop"] = list(chat.stop)
    if chat.response_format_json:
        body["response_format"] = Raw(chat.response_format_json)
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
    if chat.HasField("tool_choice"):
        body["tool_choice"] = _tool_choice(chat.tool_choice)
    if chat.reasoning_effort:
        body["reasoning_effort"] = chat.reasoning_effort
    if chat.user:
        body["user"] = chat.user
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def _messages(message: Message, index: int) -> Iterator[dict[str, Any]]:
    """One message, or one for each result of a tool."""
    if message.role == Role.ROLE_TOOL:
        for number, part in enumerate(message.parts):
            yield _tool_message(part, f"messages[{index}].content[{number}]")
        return
    calls = [part.tool_call for part in message.parts if part.HasField("tool_call")]
    content = [
        _part(part, f"messages[{index}].content[{number}]")
        for number, part in enumerate(message.parts)
        if not part.HasField("tool_call")
    ]
    nothing = None if calls else ""
    written: dict[str, Any] = {"role": _ROLES[message.role], "content": _content(content) if content else nothing}
    if calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in calls
        ]
    yield written


def _content(parts: Sequence[dict[str, Any]]) -> Any:
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: ContentPart, path: str) -> dict[str, Any]:
    match part.WhichOneof("part"):
        case "text":
            return {"type": "text", "text": part.text}
        case "refusal":
            return {"type": "refusal", "refusal": part.refusal}
        case "image":
            return {"type": "image_url", "image_url": _image(part.image)}
        case _:
            raise unsupported(path)


def _image(image: Image) -> dict[str, str]:
    url = image.url if image.HasField("url") else f"data:{image.media_type};base64,{b64encode(image.data).decode()}"
    return {"url": url, "detail": image.detail} if image.detail else {"url": url}


def _tool_message(part: ContentPart, path: str) -> dict[str, Any]:
    """This protocol knows no failed tools and no images from them."""
    result = part.tool_result
    if not part.HasField("tool_result"):
        raise unsupported(path)
    if result.is_error:
        raise unsupported(f"{path}.is_error")
    if not all(one.HasField("text") for one in result.parts):
        raise unsupported(f"{path}.content")
    texts = [{"type": "text", "text": one.text} for one in result.parts]
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": _content(texts) if texts else ""}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json:
        function["parameters"] = Raw(tool.parameters_json)
    if tool.HasField("strict"):
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> Any:
    if choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return _CHOICES[choice.mode]
