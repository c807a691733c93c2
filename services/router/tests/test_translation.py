"""Translation between provider protocols: nothing is lost on the way there and back, or it is refused by name."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.type.v1.chat_pb2 import (
    ChatAnswer,
    ChatRequest,
    ContentPart,
    FinishReason,
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
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest, UnsupportedByModel
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.dialect import (
    Began,
    CallBegan,
    CallPiece,
    Dialect,
    Ended,
    Mark,
    Piece,
    Summary,
    TextPiece,
    Translated,
)
from asahi_router.providers.fields import placed
from asahi_router.providers.openai.dialect import OpenAI
from asahi_router.providers.progress import Progress

DIALECTS: list[Dialect] = [OpenAI(), Anthropic()]
EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic"])
QUICK = settings(max_examples=40, deadline=None)

texts = st.text('ab "\\\n{}é日😀', min_size=1, max_size=12)
names = st.text("abcxyz_", min_size=1, max_size=6)
objects = st.dictionaries(names, st.integers() | texts | st.booleans() | st.none(), max_size=3).map(json.dumps)
images = st.builds(Image, url=st.just("https://example.org/a.png")) | st.builds(
    Image, data=st.binary(min_size=1, max_size=8), media_type=st.just("image/png")
)
text_parts = st.builds(ContentPart, text=texts)
calls = st.builds(ContentPart, tool_call=st.builds(ToolCall, id=names, name=names, arguments_json=objects))
results = st.builds(
    ContentPart,
    tool_result=st.builds(ToolResult, tool_call_id=names, parts=st.lists(text_parts, max_size=2)),
)


def _message(role: Role.ValueType, parts: st.SearchStrategy[list[ContentPart]]) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), parts=parts)


questions = _message(
    Role.ROLE_USER, st.lists(text_parts | st.builds(ContentPart, image=images), min_size=1, max_size=3)
)
replies = _message(
    Role.ROLE_ASSISTANT,
    st.one_of(
        st.tuples(text_parts, calls).map(list),
        st.lists(calls, min_size=1, max_size=2),
        st.lists(text_parts, min_size=1, max_size=1),
    ),
)
tool_turns = _message(Role.ROLE_TOOL, st.lists(results, min_size=1, max_size=1))
turns = st.tuples(questions, replies, st.lists(tool_turns, max_size=1)).map(lambda turn: [turn[0], turn[1], *turn[2]])
instructions = _message(Role.ROLE_SYSTEM, st.lists(text_parts, min_size=1, max_size=2))
tools = st.builds(
    Tool,
    name=names,
    description=st.just("") | texts,
    parameters_json=objects.map(str.encode),
    strict=st.none() | st.booleans(),
)
tool_choices = st.sampled_from(
    [
        ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_AUTO),
        ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NONE),
        ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED),
        ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NAMED, name="look"),
    ]
)


@st.composite
def chats(draw: st.DrawFn) -> ChatRequest:
    """Questions that both protocols can carry."""
    conversation = draw(st.lists(turns, max_size=2))
    chat = ChatRequest(
        messages=[
            *draw(st.lists(instructions, max_size=1)),
            *(message for turn in conversation for message in turn),
            draw(questions) if not conversation or len(conversation[-1]) == 2 else draw(replies),
        ],
        max_output_tokens=draw(st.integers(1, 10_000)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=draw(st.lists(texts, max_size=2)),
        tools=draw(st.lists(tools, max_size=2)),
    )
    if chat.tools:
        choice = draw(st.none() | tool_choices)
        if choice is not None:
            chat.tool_choice.CopyFrom(choice)
    return chat


@EACH
@QUICK
@given(chats())
def test_a_question_survives_the_way_there_and_back(dialect: Dialect, chat: ChatRequest) -> None:
    body = dialect.write_question(chat, "model-1", stream=False, default_max_tokens=7)
    assert dialect.read_question(body) == chat


@QUICK
@given(chats())
def test_a_question_survives_the_way_through_both_protocols(chat: ChatRequest) -> None:
    through = chat
    for dialect in DIALECTS:
        body = dialect.write_question(through, "model-1", stream=True, default_max_tokens=7)
        through = dialect.read_question(body)
    assert through == chat


answers = st.lists(text_parts, min_size=1, max_size=1).flatmap(
    lambda parts: st.lists(calls, max_size=2).map(lambda more: ChatAnswer(parts=[*parts, *more]))
)
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 10_000),
    cache_read_tokens=st.integers(0, 10_000),
    cache_write_5m_tokens=st.integers(0, 10_000),
    output_tokens=st.integers(0, 10_000),
    source=st.just(UsageSource.USAGE_SOURCE_PROVIDER),
)
reasons = st.sampled_from(
    [
        FinishReason.FINISH_REASON_STOP,
        FinishReason.FINISH_REASON_LENGTH,
        FinishReason.FINISH_REASON_TOOL_CALLS,
        FinishReason.FINISH_REASON_CONTENT_FILTER,
    ]
)


@EACH
@QUICK
@given(answers, usages, reasons)
def test_an_answer_survives_the_way_there_and_back(
    dialect: Dialect, chat: ChatAnswer, usage: Usage, reason: FinishReason.ValueType
) -> None:
    body = dialect.write_answer(Translated("id-1", 1_700_000_000, "model-1", chat, Summary(reason, usage)))
    assert dialect.read_answer(body) == chat
    assert dialect.summarize(body) == Summary(reason, usage)


@EACH
@QUICK
@given(answers, usages, reasons)
def test_a_streamed_answer_is_the_plain_one_in_pieces(
    dialect: Dialect, chat: ChatAnswer, usage: Usage, reason: FinishReason.ValueType
) -> None:
    writer, reader = dialect.stream_writer("model-1", 1_700_000_000), dialect.stream_reader()
    progress = Progress(ManualClock())
    seen: list[Piece] = []
    wanted: list[Piece] = [Began("id-1", usage), *_pieces(chat), Ended(reason, usage)]
    for piece in wanted:
        for _, event in writer.write(piece):
            reader.read(event, progress)
            seen += reader.pieces()
    if isinstance(dialect, OpenAI):
        assert reader.read(b"[DONE]", progress) & Mark.LAST
        seen += reader.pieces()
    assert seen[1:] == wanted[1:]
    assert dialect.read_answer(reader.body()) == chat
    assert dialect.summarize(reader.body()) == Summary(reason, usage)
    assert progress.usage == usage


def _pieces(chat: ChatAnswer) -> list[Piece]:
    """Character by character, with tool arguments in two halves."""
    pieces: list[Piece] = []
    for part in chat.parts:
        if part.HasField("text"):
            pieces += [TextPiece(character) for character in part.text]
        else:
            call, half = part.tool_call, len(part.tool_call.arguments_json) // 2
            pieces += [CallBegan(call.id, call.name)]
            pieces += [CallPiece(text) for text in (call.arguments_json[:half], call.arguments_json[half:]) if text]
    return pieces


OPENAI_ONLY: dict[str, tuple[str, Any]] = {
    "seed": ("seed", 7),
    "hot": ("temperature", 1.5),
    "penalty": ("frequency_penalty", 0.5),
    "bias": ("logit_bias", {"50256": -100}),
    "choices": ("n", 2),
    "logprobs": ("logprobs", True),
    "effort": ("reasoning_effort", "high"),
    "verbosity": ("verbosity", "low"),
    "any JSON": ("response_format", {"type": "json_object"}),
    "unknown": ("some_new_field", {"a": 1}),
    "audio": ("modalities", ["text", "audio"]),
}


@pytest.mark.parametrize("case", OPENAI_ONLY)
def test_what_anthropic_s_protocol_cannot_carry_is_refused_by_name(case: str) -> None:
    name, value = OPENAI_ONLY[case]
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], name: value}).encode()
    with pytest.raises(UnsupportedByModel) as refused:
        _translate(OpenAI(), Anthropic(), body)
    assert refused.value.param == name


ANTHROPIC_ONLY: dict[str, tuple[str, Any]] = {
    "top k": ("top_k", 5),
    "thinking": ("thinking", {"type": "enabled", "budget_tokens": 2000}),
    "container": ("container", "c1"),
    "unknown": ("some_new_field", True),
}


@pytest.mark.parametrize("case", ANTHROPIC_ONLY)
def test_what_openai_s_protocol_cannot_carry_is_refused_by_name(case: str) -> None:
    name, value = ANTHROPIC_ONLY[case]
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, name: value}).encode()
    with pytest.raises(UnsupportedByModel) as refused:
        _translate(Anthropic(), OpenAI(), body)
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("asked", "messages", "param"),
    [
        (OpenAI(), [{"role": "user", "name": "Ann", "content": "x"}], "messages[0].name"),
        (OpenAI(), [{"role": "user", "content": [{"type": "file", "file": {}}]}], "messages[0].content[0]"),
        (
            OpenAI(),
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "high"}}]}],
            "messages[0].content[0].image_url.detail",
        ),
        (
            Anthropic(),
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": True}]}],
            "messages[0].content[0].is_error",
        ),
        (
            Anthropic(),
            [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}],
            "messages[0].content[0]",
        ),
        (Anthropic(), [{"role": "user", "content": [{"type": "document", "source": {}}]}], "messages[0].content[0]"),
    ],
)
def test_a_part_that_cannot_be_carried_is_refused_with_its_place(asked: Dialect, messages: Any, param: str) -> None:
    other = Anthropic() if isinstance(asked, OpenAI) else OpenAI()
    body = json.dumps({"messages": messages, "max_tokens": 5}).encode()
    with pytest.raises(UnsupportedByModel) as refused:
        _translate(asked, other, body)
    assert refused.value.param == param


@pytest.mark.parametrize("field", ["user", "metadata", "store", "stream_options", "service_tier", "n"])
def test_what_cannot_change_the_answer_stands_in_nobody_s_way(field: str) -> None:
    values: dict[str, Any] = {"store": False, "n": 1, "service_tier": "auto", "stream_options": {}}
    body = {"messages": [{"role": "user", "content": "x"}], field: values.get(field, "x")}
    _translate(OpenAI(), Anthropic(), json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"messages": 3}',
        b'{"messages": [{"role": "nobody"}]}',
        b'{"messages": [{}]}',
        b'{"messages": [{"role": "user", "content": 5}], "max_tokens": 5}',
        b'{"messages": [], "max_tokens": "many"}',
        b'{"messages": [{"role": "user", "content": [{"type": "text"}]}], "max_tokens": 5}',
        b'{"messages": [], "max_tokens": 5, "tool_choice": "perhaps"}',
        b'{"messages": [], "max_tokens": 5, "tools": [{"name": 5, "function": {}}]}',
    ],
)
@EACH
def test_what_cannot_be_understood_is_the_caller_s_fault(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        dialect.read_question(body)


def test_thoughts_survive_anthropic_s_protocol() -> None:
    parts = [
        ContentPart(thinking=Thinking(text="Let me see.", signature="abc")),
        ContentPart(thinking=Thinking(redacted="xyz")),
        ContentPart(text="Four."),
    ]
    messages = [
        Message(role=Role.ROLE_USER, parts=[ContentPart(text="2 + 2?")]),
        Message(role=Role.ROLE_ASSISTANT, parts=parts),
    ]
    chat = ChatRequest(messages=messages, max_output_tokens=9)
    body = Anthropic().write_question(chat, "m", stream=False, default_max_tokens=1)
    assert Anthropic().read_question(body) == chat


def test_results_of_tools_and_what_the_user_says_next_are_one_message_of_anthropic_s() -> None:
    messages = [
        Message(role=Role.ROLE_USER, parts=[ContentPart(text="Go.")]),
        Message(role=Role.ROLE_ASSISTANT, parts=[ContentPart(tool_call=ToolCall(id="a", name="n"))]),
        Message(role=Role.ROLE_TOOL, parts=[ContentPart(tool_result=ToolResult(tool_call_id="a"))]),
        Message(role=Role.ROLE_USER, parts=[ContentPart(text="And?")]),
    ]
    body = json.loads(
        Anthropic().write_question(ChatRequest(messages=messages), "m", stream=False, default_max_tokens=5)
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "text"]
    assert body["max_tokens"] == 5


def _translate(asked: Dialect, spoken: Dialect, body: bytes) -> bytes:
    chat = asked.read_question(body)
    try:
        return spoken.write_question(chat, "m", stream=False, default_max_tokens=5)
    except UnsupportedByModel as error:
        raise placed(error, asked.places(body)) from None


@pytest.mark.parametrize(("parts", "kept"), [(("A document.", "Who?"), [True, False]), (("Who?",), [])])
def test_the_beginning_of_a_prompt_is_kept_where_that_is_asked(parts: tuple[str, ...], kept: list[bool]) -> None:
    message = Message(role=Role.ROLE_USER, parts=[ContentPart(text=text) for text in parts])
    chat = ChatRequest(messages=[message], cache_prefix=True)
    body = json.loads(Anthropic().write_question(chat, "m", stream=False, default_max_tokens=1))
    content = body["messages"][0]["content"]
    assert [block.get("cache_control") == {"type": "ephemeral"} for block in content if isinstance(block, dict)] == kept
    chat.cache_prefix = False
    assert b"cache_control" not in Anthropic().write_question(chat, "m", stream=False, default_max_tokens=1)
