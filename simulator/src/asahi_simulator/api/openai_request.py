"""OpenAI's request bodies, as far as they decide an answer; unknown fields are allowed and ignored."""

from typing import Any

import msgspec

from asahi_simulator.api.dialect import Failure, PromptBuilder, WrongBody, read_json, schema_of
from asahi_simulator.domain.completion import CompletionRequest, Prompt, Tool, ToolUse

REASONING_TOKENS = {"low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 256}
_MOST_CHOICES = 128


class _Function(msgspec.Struct):
    name: str
    parameters: Any = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None


class _CalledFunction(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    function: _CalledFunction = msgspec.field(default_factory=_CalledFunction)


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    n: int | None = None
    reasoning_effort: str | None = None
    seed: int | None = None
    logprobs: bool | None = None


_decoder = msgspec.json.Decoder(_Body)


def read_request(body: bytes) -> CompletionRequest:
    """The request in `body`; raises WrongBody."""
    asked = read_json(body, _decoder)
    _check(asked)
    tool_use, tool_named = _tool_choice(asked.tool_choice)
    most = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
    return CompletionRequest(
        model=asked.model,
        prompt=_prompt(asked),
        stream=bool(asked.stream),
        include_usage=asked.stream_options is not None and asked.stream_options.include_usage,
        logprobs=bool(asked.logprobs),
        choices=asked.n or 1,
        max_tokens=most,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        tools=tuple(
            Tool(tool.function.name, schema_of(tool.function.parameters))
            for tool in asked.tools or ()
            if tool.function is not None
        ),
        tool_use=tool_use,
        tool_named=tool_named,
        parallel_tools=asked.parallel_tool_calls is not False,
        json_schema=json_schema(asked.response_format),
        reasoning_tokens=REASONING_TOKENS.get(asked.reasoning_effort or "", 0),
        seed=asked.seed or 0,
    )


def _check(asked: _Body) -> None:
    for name, value, least, most in (
        ("max_tokens", asked.max_tokens, 1, None),
        ("max_completion_tokens", asked.max_completion_tokens, 1, None),
        ("n", asked.n, 1, _MOST_CHOICES),
    ):
        if value is not None and (value < least or (most is not None and value > most)):
            expected = f"at least {least}" if value < least else f"at most {most}"
            raise WrongBody(
                Failure(400, f"Invalid '{name}': {value}, expected {expected}.", None, "integer_out_of_range", name)
            )
    if not asked.messages:
        raise WrongBody(Failure(400, "Invalid 'messages': empty array.", None, "empty_array", "messages"))


def _prompt(asked: _Body) -> Prompt:
    builder = PromptBuilder()
    for tool in asked.tools or ():
        builder.add_json(tool)
    told = ""
    for message in asked.messages:
        told = ""
        builder.open_message(message.role)
        if isinstance(message.content, str):
            told = message.content
            builder.add_text(told)
        else:
            for part in message.content or ():
                text = part.text if part.text is not None else part.refusal
                if text is not None:
                    told += text
                    builder.add_text(text)
                else:
                    builder.add_media(part)
        for call in message.tool_calls or ():
            builder.add_text(call.function.name)
            builder.add_text(call.function.arguments)
    return builder.finish(told if asked.messages[-1].role == "user" else "")


def _tool_choice(choice: Any) -> tuple[ToolUse, str]:
    if isinstance(choice, dict):
        named: Any = choice.get("function")
        return "required", str(named.get("name", "")) if isinstance(named, dict) else ""
    use: ToolUse = "required" if choice == "required" else "none" if choice == "none" else "auto"
    return use, ""


def json_schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema that an answer must fit; None: it is free."""
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object" | "json_schema"}:
            return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        case _:
            return None
