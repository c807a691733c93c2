"""Bodies of OpenAI's responses, as far as they decide an answer; unknown fields and items are allowed."""

from typing import Any

import msgspec

from asahi_simulator.api.dialect import Failure, PromptBuilder, WrongBody, read_json, schema_of
from asahi_simulator.api.openai_request import REASONING_TOKENS, json_schema
from asahi_simulator.domain.completion import CompletionRequest, Prompt, Tool, ToolUse

_OBJECT: dict[str, Any] = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    file_data: Any = None
    file_id: Any = None


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None
    name: str = ""
    arguments: str = ""
    output: Any = None
    encrypted_content: str | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    parameters: Any = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None


class ResponsesBody(msgspec.Struct):
    """A question."""

    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    previous_response_id: str | None = None


_decoder = msgspec.json.Decoder(ResponsesBody)
_fields = msgspec.json.Decoder(dict[str, Any])


def read_request(body: bytes) -> CompletionRequest:
    """The request in `body`; raises WrongBody."""
    asked = read_json(body, _decoder)
    _check(asked)
    use, named = _tool_choice(asked.tool_choice)
    text = asked.text.format if asked.text is not None else None
    wanted = {"type": text.get("type"), "json_schema": text} if text is not None else None
    effort = asked.reasoning.effort if asked.reasoning is not None else None
    return CompletionRequest(
        model=asked.model,
        prompt=_prompt(asked),
        stream=bool(asked.stream),
        include_usage=True,
        max_tokens=asked.max_output_tokens,
        tools=tuple(_tool(tool) for tool in asked.tools or ()),
        tool_use=use,
        tool_named=named,
        parallel_tools=asked.parallel_tool_calls is not False,
        json_schema=json_schema(wanted),
        reasoning_tokens=REASONING_TOKENS.get(effort or "", 0),
        asked=_fields.decode(body),
    )


def _tool(tool: _Tool) -> Tool:
    """A function, or a tool that the provider runs, which is called by the name of its kind."""
    if tool.type == "function":
        return Tool(tool.name, schema_of(tool.parameters))
    return Tool(tool.type, _OBJECT, runs_here=True)


def _check(asked: ResponsesBody) -> None:
    if asked.max_output_tokens is not None and asked.max_output_tokens < 1:
        message = f"Invalid 'max_output_tokens': {asked.max_output_tokens}, expected at least 1."
        raise WrongBody(Failure(400, message, None, "integer_below_min_value", "max_output_tokens"))
    if not asked.input:
        raise WrongBody(Failure(400, "Invalid 'input': empty array.", None, "empty_array", "input"))
    if asked.previous_response_id is not None:
        message = f"Previous response with id '{asked.previous_response_id}' not found."
        raise WrongBody(Failure(400, message, None, "previous_response_not_found", "previous_response_id"))


def _prompt(asked: ResponsesBody) -> Prompt:
    builder = PromptBuilder()
    for tool in asked.tools or ():
        builder.add_json(tool)
    if asked.instructions:
        builder.open_message("system")
        builder.add_text(asked.instructions)
    items = [_Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    told = ""
    for item in items:
        told = _add(builder, item)
    return builder.finish(told if items[-1].role == "user" else "")


def _add(builder: PromptBuilder, item: _Item) -> str:
    """Adds an item; the text of it."""
    builder.open_message(item.role or item.type)
    if isinstance(item.content, str):
        builder.add_text(item.content)
        return item.content
    told = ""
    for part in item.content or ():
        text = part.text if part.text is not None else part.refusal
        if text is None:
            builder.add_media(part)
        else:
            told += text
            builder.add_text(text)
    for text in (item.name, item.arguments, item.encrypted_content):
        if text:
            builder.add_text(text)
    if isinstance(item.output, str):
        builder.add_text(item.output)
    elif item.output is not None:
        builder.add_json(item.output)
    return told


def _tool_choice(choice: Any) -> tuple[ToolUse, str]:
    if isinstance(choice, dict):
        return "required", str(choice.get("name") or choice.get("type") or "")
    use: ToolUse = "required" if choice == "required" else "none" if choice == "none" else "auto"
    return use, ""
