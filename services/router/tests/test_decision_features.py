"""What is known of a question before anybody answers it."""

import json
from typing import Any

import pytest

from asahi.type.v1.chat_pb2 import (
    Api,
    ChatRequest,
    ContentPart,
    Image,
    Message,
    NativeBody,
    Prompt,
    Role,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from asahi_core.errors import InvalidRequest
from asahi_router.domain.features import FORCED_TOOL_CHOICE, Features, read_features
from asahi_router.domain.kinds import KINDS, kind_of, named_kind, script_of
from services.router.tests.decision_rig import ANTHROPIC, OPENAI, chat, native


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hi, I am back", "chat"),
        ("Explain async/await in Python.", "knowledge"),
        ("What is the capital of Norway?", "knowledge"),
        ("Warum ist der Himmel blau?", "knowledge"),
        ("Write a Python function that sorts a list of names", "code"),
        ("Fix this:\n```\nfor i in x print(i)\n```", "code"),
        ("Refactor the class below", "code"),
        ("SELECT name FROM users; is slow", "code"),
        ("What is 12 squared?", "math"),
        ("Prove that there are infinitely many primes", "math"),
        ("17 * 23 =", "math"),
        ("Summarise the following report", "summarization"),
        ("Bitte fasse das zusammen: Zusammenfassung des Textes", "summarization"),
        ("Translate to French: good morning", "translation"),
        ("Extract all dates from the letter below", "extraction"),
        ("Classify the sentiment of this review", "extraction"),
        ("", "chat"),
    ],
)
def test_the_kind_of_work_is_recognised_by_plain_cues(text: str, kind: str) -> None:
    assert kind_of(text, has_tools=False, has_schema=False) == kind
    assert kind in KINDS


def test_tools_and_schemas_say_more_than_words() -> None:
    assert kind_of("Hello", has_tools=True, has_schema=True) == "tool_use"
    assert kind_of("Hello", has_tools=False, has_schema=True) == "extraction"


def test_the_cue_of_a_long_prompt_may_stand_at_its_end() -> None:
    assert kind_of("word " * 50_000 + "Translate this to German.", has_tools=False, has_schema=False) == "translation"


@pytest.mark.parametrize(
    ("text", "script"),
    [("hello", "latin"), ("Straße", "latin"), ("翻訳して", "cjk"), ("привет", "other"), ("123", ""), ("", "")],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert script_of(text) == script


def test_of_a_chat_all_is_known() -> None:
    picture = Image(url="https://example.com/a.png")
    prompt = chat(
        "Find it", max_output_tokens=50, temperature=0.3, stop=["END"], tools=[Tool(name="find")],
        tool_choice=ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NAMED, name="find"),
        response_format_json=b'{"type":"json_schema"}',
    )  # fmt: skip
    prompt.chat.messages.append(Message(role=Role.ROLE_USER, parts=[ContentPart(image=picture)]))
    features = read_features(prompt)
    assert features.api == Api.API_CHAT
    assert features.has_tools
    assert features.has_schema
    assert features.images == 1
    assert features.max_output_tokens == 50
    assert features.parameters == {"temperature", "stop", FORCED_TOOL_CHOICE}
    assert features.kind == "tool_use"


@pytest.mark.parametrize("api", [OPENAI, ANTHROPIC])
def test_both_protocols_are_understood(api: Api.ValueType) -> None:
    block = {"type": "text", "text": "Translate: hello"}
    image = {"type": "image_url"} if api == OPENAI else {"type": "image"}
    features = _of(api, [{"role": "user", "content": [block, image]}], max_tokens=7, tools=[{"name": "x"}])
    assert features.api == api
    assert features.images == 1
    assert features.has_tools
    assert features.max_output_tokens == 7


def test_the_last_words_of_the_user_decide_the_kind() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Translate: hello"},
        {"role": "assistant", "content": "bonjour"},
        {"role": "user", "content": "Summarize what we did"},
        {"role": "assistant", "content": None},
    ]
    assert _of(OPENAI, turns).kind == "summarization"


@pytest.mark.parametrize(
    ("api", "fields", "parameters", "only_in_its_protocol"),
    [
        (OPENAI, {"temperature": 1, "top_p": 1, "n": 1, "stop": None, "logprobs": False}, set(), set()),
        (OPENAI, {"temperature": 0.2}, {"temperature"}, set()),
        (OPENAI, {"temperature": 1.5}, {"temperature"}, {"temperature"}),
        (OPENAI, {"seed": 1}, {"seed"}, {"seed"}),
        (OPENAI, {"logprobs": True}, {"logprobs"}, {"logprobs"}),
        (OPENAI, {"brand_new": {}}, {"brand_new"}, {"brand_new"}),
        (OPENAI, {"response_format": {"type": "json_object"}}, {"response_format"}, {"response_format"}),
        (OPENAI, {"tool_choice": "required"}, {"tool_choice", FORCED_TOOL_CHOICE}, set()),
        (OPENAI, {"tool_choice": "auto"}, {"tool_choice"}, set()),
        (ANTHROPIC, {"top_k": 5}, {"top_k"}, {"top_k"}),
        (ANTHROPIC, {"thinking": {"type": "disabled"}}, set(), set()),
        (ANTHROPIC, {"thinking": {"type": "enabled", "budget_tokens": 9}}, {"thinking"}, {"thinking"}),
        (ANTHROPIC, {"tool_choice": {"type": "auto"}}, {"tool_choice"}, set()),
        (ANTHROPIC, {"tool_choice": {"type": "any"}}, {"tool_choice", FORCED_TOOL_CHOICE}, set()),
    ],
)
def test_parameters_that_ask_for_something_are_known_and_whether_another_protocol_has_them(
    api: Api.ValueType, fields: dict[str, Any], parameters: set[str], only_in_its_protocol: set[str]
) -> None:
    features = _of(api, [{"role": "user", "content": "x"}], **fields)
    assert features.parameters - {"messages"} == parameters
    assert features.only_in_its_protocol == only_in_its_protocol


def test_the_size_counts_an_image_at_a_flat_rate() -> None:
    url = "data:image/png;base64," + "A" * 400_000
    features = _of(OPENAI, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert features.asked_bytes < 10_000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"not json", None),
        (b'{"messages": "no list"}', "messages"),
        (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": 5}]}', "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 0}', "max_completion_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": true}', "n"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', None),
        (b"{}", None),
    ],
)
def test_a_body_that_is_none_is_refused_with_its_field(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_features(Prompt(native=NativeBody(api=OPENAI, body=body)))
    assert raised.value.param == param


def test_a_body_in_no_provider_protocol_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="API_INFER"):
        read_features(native(Api.API_INFER))
    unknown: Any = 999
    with pytest.raises(InvalidRequest, match="protocol 999"):
        read_features(native(unknown))


def test_a_prompt_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no message"):
        read_features(Prompt(chat=ChatRequest()))


def _of(api: Api.ValueType, messages: list[dict[str, Any]], **fields: Any) -> Features:
    body = json.dumps({"messages": messages, **fields}).encode()
    return read_features(Prompt(native=NativeBody(api=api, body=body)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("summarize", "summarization"),
        ("Summary", "summarization"),
        ("extract", "extraction"),
        ("classification", "extraction"),
        ("translate", "translation"),
        ("coding", "code"),
        ("compare", "knowledge"),
        ("brew", ""),
        ("", ""),
    ],
)
def test_a_kind_that_the_caller_names_goes_before_what_the_text_looks_like(name: str, kind: str) -> None:
    assert named_kind(name) == kind
    assert read_features(chat("What is 12 squared?"), name).kind == (kind or "math")


def test_every_kind_can_be_named() -> None:
    assert {named_kind(kind) for kind in KINDS} == KINDS
