"""Anthropic's request bodies, as far as they decide an answer; unknown fields are allowed and ignored."""

from base64 import b64encode
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from asahi_simulator.api.dialect import Failure, PromptBuilder, WrongBody, read_json, schema_of
from asahi_simulator.domain.completion import Breakpoint, CacheTime, CompletionRequest, Prompt, Tool, ToolUse

_MOST_BREAKPOINTS = 4
_THOUGHT_TOKENS = 40
_SIGNED = b"simulator"


class _CacheControl(msgspec.Struct):
    type: str = "ephemeral"
    ttl: CacheTime = "5m"


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    name: str | None = None
    input: Any = None
    content: Any = None
    source: Any = None
    thinking: str | None = None
    signature: str = ""
    cache_control: _CacheControl | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Any = None
    cache_control: _CacheControl | None = None


class _ToolChoice(msgspec.Struct):
    type: str = "auto"
    name: str = ""
    disable_parallel_tool_use: bool = False


class _Format(msgspec.Struct):
    schema: Any = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None


class _Counted(msgspec.Struct):
    """What is counted: the part of a request that makes its prompt."""

    model: str
    messages: list[_Message]
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    cache_control: _CacheControl | None = None


class _Body(_Counted, kw_only=True):
    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tool_choice: _ToolChoice = msgspec.field(default_factory=_ToolChoice)
    output_config: _OutputConfig | None = None
    thinking: _Thinking | None = None


_decoder = msgspec.json.Decoder(_Body)
_counted_decoder = msgspec.json.Decoder(_Counted)


def read_request(body: bytes) -> CompletionRequest:
    """The request in `body`; raises WrongBody."""
    asked = read_json(body, _decoder)
    if asked.max_tokens < 1:
        raise WrongBody(Failure(400, "max_tokens: must be greater than or equal to 1"))
    _check_signatures(asked.messages)
    thinks = asked.thinking is not None and asked.thinking.type != "disabled"
    form = asked.output_config.format if asked.output_config is not None else None
    return CompletionRequest(
        model=asked.model,
        prompt=_prompt(asked),
        stream=bool(asked.stream),
        include_usage=True,
        max_tokens=asked.max_tokens,
        stop=tuple(asked.stop_sequences or ()),
        tools=tuple(Tool(tool.name, schema_of(tool.input_schema)) for tool in asked.tools or ()),
        tool_use=_tool_use(asked.tool_choice),
        tool_named=asked.tool_choice.name,
        parallel_tools=not asked.tool_choice.disable_parallel_tool_use,
        json_schema=schema_of(form.schema) if form is not None else None,
        reasoning_tokens=_thought(asked.thinking) if thinks else 0,
        shows_thoughts=thinks,
    )


def sign(thoughts: str) -> str:
    """What shows that thoughts are the simulator's own, and were not touched."""
    return b64encode(_SIGNED + blake2b(thoughts.encode("utf-8", "surrogatepass"), digest_size=16).digest()).decode()


def _check_signatures(messages: list[_Message]) -> None:
    """Refuses thoughts of the simulator's that were touched; those of others are none of its business."""
    own = b64encode(_SIGNED).decode()
    for index, message in enumerate(messages):
        for place, block in enumerate(_blocks(message.content)):
            if block.signature.startswith(own) and block.signature != sign(block.thinking or ""):
                where = f"messages.{index}.content.{place}"
                raise WrongBody(Failure(400, f"{where}: Invalid `signature` in `thinking` block"))


def _thought(thinking: _Thinking | None) -> int:
    budget = thinking.budget_tokens if thinking is not None else None
    return _THOUGHT_TOKENS if budget is None else min(budget, _THOUGHT_TOKENS)


def count_tokens(body: bytes) -> int:
    """Tokens of the prompt in `body`, as a request with it would be billed; raises WrongBody."""
    return len(_prompt(read_json(body, _counted_decoder)).pieces)


def _prompt(asked: _Counted) -> Prompt:
    """Tools, then system, then messages: the order in which Anthropic caches."""
    builder = PromptBuilder()
    breakpoints: list[Breakpoint] = []

    def mark(control: _CacheControl | None) -> None:
        if control is not None:
            breakpoints.append(Breakpoint(builder.position, control.ttl))

    for tool in asked.tools or ():
        builder.add_json({"name": tool.name, "description": tool.description, "input_schema": tool.input_schema})
        mark(tool.cache_control)
    for block in _blocks(asked.system or []):
        _add(builder, block)
        mark(block.cache_control)
    told = ""
    for message in asked.messages:
        builder.open_message(message.role)
        blocks = _blocks(message.content)
        told = "".join(block.text or "" for block in blocks) if message.role == "user" else ""
        for block in blocks:
            _add(builder, block)
            mark(block.cache_control)
    mark(asked.cache_control)
    if len(breakpoints) > _MOST_BREAKPOINTS:
        told_message = f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided."
        raise WrongBody(Failure(400, f"{told_message} Found {len(breakpoints)}."))
    return replace(builder.finish(told), breakpoints=tuple(breakpoints))


def _blocks(content: str | list[_Block]) -> list[_Block]:
    return [_Block("text", content)] if isinstance(content, str) else content


def _add(builder: PromptBuilder, block: _Block) -> None:
    match block.type:
        case "text":
            builder.add_text(block.text or "")
        case "tool_use":
            builder.add_text(block.name or "")
            builder.add_json(block.input)
        case "tool_result" if isinstance(block.content, str):
            builder.add_text(block.content)
        case "tool_result":
            builder.add_json(block.content)
        case "thinking" | "redacted_thinking":
            builder.add_text(block.thinking or "")
        case _:
            builder.add_media(block.source)


def _tool_use(choice: _ToolChoice) -> ToolUse:
    match choice.type:
        case "any" | "tool":
            return "required"
        case "none":
            return "none"
        case _:
            return "auto"
