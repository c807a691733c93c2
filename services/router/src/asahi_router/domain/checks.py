"""What an answer must be, as far as nobody needs to judge it: whole, not refused, not empty, of the form asked for.

Only the protocol of the question is read: answers of other protocols have been translated by then. What cannot be read
here, a schema too, says nothing against an answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import msgspec

from asahi.type.v1.chat_pb2 import Answer, Api, ChatAnswer, FinishReason, Prompt

_LARGEST_SCHEMA = 256 * 1024
_LARGEST_PATTERN = 1024 * 1024
"""Bytes of a compiled pattern."""
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=_LARGEST_PATTERN, dfa_size_limit=_LARGEST_PATTERN)
"""Patterns take time in proportion to the text."""
_CALLERS_TOOLS = ("function", "custom")


class _Wanted(msgspec.Struct):
    """What any of the protocols says about the form of an answer."""

    response_format: Any = None
    text: Any = None
    output_config: Any = None
    tools: Any = None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    audio: Any = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    """An answer in OpenAI's chat completions."""

    choices: list[_Choice]


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _AnthropicMessage(msgspec.Struct):
    """An answer in Anthropic's messages."""

    content: list[_Block]


class _Piece(msgspec.Struct):
    type: str
    text: str = ""


class _Item(msgspec.Struct):
    type: str
    content: list[_Piece] | None = None
    name: str = ""
    arguments: str = ""


class _Response(msgspec.Struct):
    """An answer in OpenAI's responses."""

    output: list[_Item]


_json = msgspec.json.Decoder()
_wanted = msgspec.json.Decoder(_Wanted)
_completions = msgspec.json.Decoder(_Completion)
_anthropic_messages = msgspec.json.Decoder(_AnthropicMessage)
_responses = msgspec.json.Decoder(_Response)


@dataclass(slots=True)
class _Asked:
    """The form that an answer must have."""

    as_json: bool = False
    schema: Any = None
    """JSON schema of the text; None: none."""
    tools: dict[str, Any] = field(default_factory=dict)
    """JSON schemas of the arguments, by the tools' names; what has none is not here."""


@dataclass(slots=True)
class Said:
    """One answer, as far as it is checked."""

    text: str = ""
    calls: list[tuple[str, str | bytes]] = field(default_factory=list)
    """Tools that the caller is to run, with their arguments as they were written."""
    refused: bool = False
    other: bool = False
    """Whether it has what is not checked: sound, uses of the provider's own tools."""


def failed_check(prompt: Prompt, answer: Answer, *, limited: bool) -> str:
    """The first check that `answer` failed; empty: none.

    `truncated`, `refused`, `empty`, `json` (the text is none), `json_schema` (of the text), `tool_arguments` (are no
    JSON, or do not fit the tool's schema). `limited`: the answer's length was limited by the question or a policy, so
    that the end is nobody's fault, and what was cut is not looked at.
    """
    if answer.finish_reason == FinishReason.FINISH_REASON_LENGTH:
        return "" if limited else "truncated"
    if answer.finish_reason == FinishReason.FINISH_REASON_CONTENT_FILTER:
        return "refused"
    try:
        asked, answers = _asked(prompt), list(said_in(answer))
        if not answers:
            return "empty"
        return next((failed for failed in (_failed(said, asked) for said in answers) if failed), "")
    except (
        msgspec.DecodeError,
        UnicodeError,
        RecursionError,
    ):  # no form that is known, or nested too deeply to be read
        return ""


def _failed(said: Said, asked: _Asked) -> str:
    if said.refused:
        return "refused"
    if any(_unfit(arguments, asked.tools.get(name)) for name, arguments in said.calls):
        return "tool_arguments"
    if said.calls or said.other:
        return ""
    if not said.text.strip():
        return "empty"
    return _unfit(said.text, asked.schema) if asked.as_json else ""


def wants_json(prompt: Prompt) -> bool:
    """Whether the text of an answer is to be JSON. Raises as `said_in` does."""
    return _asked(prompt).as_json


def _unfit(written: str | bytes, schema: Any) -> str:
    """`json`: it is none; `json_schema`: it does not fit; empty: neither."""
    try:
        value = _json.decode(written)
    except (msgspec.DecodeError, UnicodeError):
        return "json"
    if not isinstance(schema, dict) or len(msgspec.json.encode(schema)) > _LARGEST_SCHEMA:
        return ""
    try:
        fits = jsonschema_rs.validator_for(schema, retriever=_nothing, pattern_options=_PATTERNS).is_valid(value)
    except (ValueError, jsonschema_rs.ReferencingError):  # the schema is none, or refers to what is not in it
        return ""
    return "" if fits else "json_schema"


def _nothing(uri: str) -> Any:
    """Nothing is fetched for a schema."""
    raise LookupError(f"{uri[:200]} is not in the schema")


def said_in(answer: Answer) -> Iterator[Said]:
    """The answers of a call: several where several choices were asked for.

    Raises:
        msgspec.DecodeError, UnicodeError, RecursionError: it has no form that is known, or is nested too deeply.
    """
    if not answer.HasField("native"):
        yield _of_chat(answer.chat)
    elif answer.native.api == Api.API_OPENAI_CHAT_COMPLETIONS:
        yield from map(_of_choice, _completions.decode(answer.native.body).choices)
    elif answer.native.api == Api.API_ANTHROPIC_MESSAGES:
        yield _of_blocks(_anthropic_messages.decode(answer.native.body).content)
    else:
        yield _of_items(_responses.decode(answer.native.body).output)


def _of_chat(chat: ChatAnswer) -> Said:
    said = Said()
    for part in chat.parts:
        match part.WhichOneof("part"):
            case "text":
                said.text += part.text
            case "refusal":
                said.refused = True
            case "tool_call":
                said.calls.append((part.tool_call.name, part.tool_call.arguments_json))
            case "image" | "tool_result":
                said.other = True
    return said


def _of_choice(choice: _Choice) -> Said:
    message = choice.message
    said = Said(text=message.content or "", refused=bool(message.refusal), other=message.audio is not None)
    for call in message.tool_calls or ():
        if call.function is not None and call.type == "function":
            said.calls.append((call.function.name, call.function.arguments))
        else:
            said.other = True
    return said


def _of_blocks(blocks: list[_Block]) -> Said:
    said = Said()
    for block in blocks:
        if block.type == "text":
            said.text += block.text or ""
        elif block.type == "tool_use":
            said.calls.append((block.name, bytes(block.input)))
        elif block.type not in ("thinking", "redacted_thinking"):
            said.other = True
    return said


def _of_items(items: list[_Item]) -> Said:
    said = Said()
    for item in items:
        if item.type == "message":
            said.text += "".join(piece.text for piece in item.content or () if piece.type == "output_text")
            said.refused |= any(piece.type == "refusal" for piece in item.content or ())
        elif item.type == "function_call":
            said.calls.append((item.name, item.arguments))
        elif item.type != "reasoning":
            said.other = True
    return said


def _asked(prompt: Prompt) -> _Asked:
    if not prompt.HasField("native"):
        chat = prompt.chat
        wanted = _json.decode(chat.response_format_json) if chat.response_format_json else None
        tools = {tool.name: _json.decode(tool.parameters_json) for tool in chat.tools if tool.parameters_json}
        return _with_form(wanted, tools)
    body = _wanted.decode(prompt.native.body)
    wanted = body.response_format
    for holder in (body.text, body.output_config):
        if wanted is None and isinstance(holder, dict):
            wanted = holder.get("format")
    return _with_form(wanted, dict(_tools(body.tools)))


def _with_form(wanted: Any, tools: dict[str, Any]) -> _Asked:
    """`wanted`: OpenAI's `response_format`, or what stands for it in the other protocols."""
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_object", "json_schema"):
        return _Asked(tools=tools)
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else wanted.get("schema")
    return _Asked(as_json=True, schema=schema, tools=tools)


def _tools(tools: Any) -> Iterator[tuple[str, Any]]:
    """Names of the caller's tools, each with the schema of its arguments."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type", "custom") not in _CALLERS_TOOLS:
            continue
        inner = tool.get("function")
        function = inner if isinstance(inner, dict) else tool
        name = function.get("name")
        if isinstance(name, str):
            yield name, function.get("parameters", function.get("input_schema"))
