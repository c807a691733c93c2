"""What an answer is checked for before it is given, in each protocol, and what says nothing against it."""

import json
from typing import Any

import pytest

from asahi.type.v1.chat_pb2 import (
    Answer,
    Api,
    ChatAnswer,
    ChatRequest,
    ContentPart,
    FinishReason,
    Message,
    NativeBody,
    Prompt,
    Role,
    Tool,
    ToolCall,
)
from asahi_router.domain.checks import failed_check

OPENAI, RESPONSES, ANTHROPIC = (
    Api.API_OPENAI_CHAT_COMPLETIONS,
    Api.API_OPENAI_RESPONSES,
    Api.API_ANTHROPIC_MESSAGES,
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"type": "integer"}},
    "required": ["city"],
}
GOOD, WRONG = '{"city": "Oslo", "days": 2}', '{"days": "two"}'


def asked(api: Api.ValueType, schema: Any = None, tools: Any = None) -> Prompt:
    """A question whose answer, or whose tools' arguments, must fit a schema."""
    if api == Api.API_CHAT:
        chat = ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text="Where?")])])
        if schema is not None:
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            chat.response_format_json = json.dumps(wanted).encode()
        if tools is not None:
            chat.tools.append(Tool(name="forecast", parameters_json=json.dumps(tools).encode()))
        return Prompt(chat=chat)
    body: dict[str, Any] = {"input" if api == RESPONSES else "messages": [{"role": "user", "content": "Where?"}]}
    if schema is not None:
        forms: dict[Any, dict[str, Any]] = {
            OPENAI: {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
            RESPONSES: {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}},
            ANTHROPIC: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        }
        body |= forms[api]
    if tools is not None:
        function = {"name": "forecast", "parameters": tools}
        body["tools"] = {
            OPENAI: [{"type": "function", "function": function}],
            RESPONSES: [{"type": "function", **function}],
            ANTHROPIC: [{"name": "forecast", "input_schema": tools}, {"type": "web_search_20260209", "name": "x"}],
        }[api]
    return Prompt(native=NativeBody(api=api, body=json.dumps(body).encode()))


def said(api: Api.ValueType, text: str | None = None, arguments: str | None = None, *, refusal: bool = False) -> Answer:
    """An answer with a text, a tool call, or a refusal."""
    answer = Answer(finish_reason=FinishReason.FINISH_REASON_STOP)
    if api == Api.API_CHAT:
        parts = [] if text is None else [ContentPart(refusal=text) if refusal else ContentPart(text=text)]
        if arguments is not None:
            parts.append(ContentPart(tool_call=ToolCall(id="1", name="forecast", arguments_json=arguments)))
        answer.chat.CopyFrom(ChatAnswer(parts=parts))
        return answer
    body: dict[str, Any]
    if api == OPENAI:
        message: dict[str, Any] = {"role": "assistant", "refusal" if refusal else "content": text}
        if arguments is not None:
            call = {"id": "1", "type": "function", "function": {"name": "forecast", "arguments": arguments}}
            message["tool_calls"] = [call]
        body = {"choices": [{"index": 0, "message": message}]}
    elif api == RESPONSES:
        output: list[dict[str, Any]] = [{"type": "reasoning", "summary": []}]
        if text is not None:
            piece = {"type": "refusal", "refusal": text} if refusal else {"type": "output_text", "text": text}
            output.append({"type": "message", "role": "assistant", "content": [piece]})
        if arguments is not None:
            output.append({"type": "function_call", "name": "forecast", "arguments": arguments})
        body = {"output": output}
    else:
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
        if text is not None:
            content.append({"type": "text", "text": text})
        if arguments is not None:
            content.append({"type": "tool_use", "id": "1", "name": "forecast", "input": json.loads(arguments)})
        body = {"content": content}
    answer.native.CopyFrom(NativeBody(api=api, body=json.dumps(body).encode()))
    return answer


APIS = pytest.mark.parametrize("api", [Api.API_CHAT, OPENAI, RESPONSES, ANTHROPIC], ids=Api.Name)


@APIS
@pytest.mark.parametrize(
    ("text", "check"),
    [(GOOD, ""), (f" {GOOD}\n", ""), (WRONG, "json_schema"), ('{"city": "oslo"}', "json_schema"),
     ("Oslo, for two days.", "json"), (f"```json\n{GOOD}\n```", "json"), (GOOD[:-1], "json"), (" ", "empty")],
)  # fmt: skip
def test_a_text_must_be_json_of_its_schema(api: Api.ValueType, text: str, check: str) -> None:
    assert failed_check(asked(api, SCHEMA), said(api, text), limited=False) == check


@APIS
@pytest.mark.parametrize(("arguments", "check"), [(GOOD, ""), (WRONG, "tool_arguments"), ("[]", "tool_arguments")])
def test_arguments_must_fit_the_schema_of_their_tool(api: Api.ValueType, arguments: str, check: str) -> None:
    prompt = asked(api, SCHEMA, SCHEMA)
    assert failed_check(prompt, said(api, arguments=arguments), limited=False) == check


@pytest.mark.parametrize("api", [Api.API_CHAT, OPENAI, RESPONSES], ids=Api.Name)
@pytest.mark.parametrize("arguments", ["", "{", '{"city": NaN}'])
def test_arguments_must_be_json(api: Api.ValueType, arguments: str) -> None:
    assert failed_check(asked(api, tools={}), said(api, arguments=arguments), limited=False) == "tool_arguments"


@APIS
def test_an_answer_without_text_and_calls_is_empty_and_any_text_is_not(api: Api.ValueType) -> None:
    assert failed_check(asked(api), said(api), limited=False) == "empty"
    assert failed_check(asked(api), said(api, ""), limited=False) == "empty"
    assert failed_check(asked(api), said(api, "x"), limited=False) == ""


@pytest.mark.parametrize("api", [Api.API_CHAT, OPENAI, RESPONSES], ids=Api.Name)
def test_a_refusal_is_told_from_an_answer(api: Api.ValueType) -> None:
    assert failed_check(asked(api), said(api, "I will not.", refusal=True), limited=False) == "refused"


def test_one_bad_answer_of_several_is_enough() -> None:
    answer = said(OPENAI, GOOD)
    body = json.loads(answer.native.body)
    body["choices"].append({"index": 1, "message": {"role": "assistant", "content": WRONG}})
    answer.native.body = json.dumps(body).encode()
    assert failed_check(asked(OPENAI, SCHEMA), answer, limited=False) == "json_schema"


def test_an_end_that_the_caller_or_a_policy_set_is_nobodys_fault() -> None:
    answer = said(Api.API_CHAT, GOOD[:-1])
    answer.finish_reason = FinishReason.FINISH_REASON_LENGTH
    prompt = asked(Api.API_CHAT, SCHEMA)
    assert failed_check(prompt, answer, limited=True) == ""
    assert failed_check(prompt, answer, limited=False) == "truncated"
    answer.finish_reason = FinishReason.FINISH_REASON_CONTENT_FILTER
    assert failed_check(prompt, answer, limited=True) == "refused"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/$defs/gone"},
        {"properties": {"city": {"pattern": "(?=x)"}}},
        {"description": "x" * 300_000, "type": "array"},
        {"$ref": "#"},
        True,
    ],
    ids=["no schema", "elsewhere", "a file", "gone", "look-around", "too large", "itself", "anything"],
)
def test_a_schema_that_cannot_be_used_says_nothing(schema: Any) -> None:
    assert failed_check(asked(OPENAI, schema), said(OPENAI, WRONG), limited=False) == ""


def test_a_pattern_takes_linear_time() -> None:
    schema = {"type": "object", "properties": {"city": {"pattern": "^(a+)+$"}}}
    text = json.dumps({"city": "a" * 50_000 + "!"})
    assert failed_check(asked(OPENAI, schema), said(OPENAI, text), limited=False) == "json_schema"


@APIS
def test_what_is_nested_too_deeply_to_be_read_says_nothing(api: Api.ValueType) -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert failed_check(asked(api, SCHEMA), said(api, text), limited=False) == ""


@pytest.mark.parametrize("body", [b"{}", b"[]", b"{", b'{"choices": 3}', b"\xff"])
def test_an_answer_of_no_known_form_is_not_checked(body: bytes) -> None:
    answer = Answer(native=NativeBody(api=OPENAI, body=body))
    assert failed_check(asked(OPENAI, SCHEMA), answer, limited=False) == ""
