"""What tier 2 may compare: plain text within an equal rest; a difference anywhere else is another scope."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.cache.v1.cache_pb2 import SemanticQuestion
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Image, Message, Role, Tool
from asahi.type.v1.policy_pb2 import CacheSharing
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi_edge.domain.policies import named_users
from asahi_edge.domain.similarity import MOST_BYTES, MOST_CHARACTERS, Similarity, in_chat, in_native

_CHAT, _MESSAGES, _RESPONSES = Api.API_OPENAI_CHAT_COMPLETIONS, Api.API_ANTHROPIC_MESSAGES, Api.API_OPENAI_RESPONSES
_EXPLICIT = Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model="gpt-4o")
_QUESTION = "How do I reset my password?"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def verdict(
    sharing: CacheSharing.ValueType = CacheSharing.CACHE_SHARING_ALL, organization: str = "org-1", key: str = "key-1"
) -> Verdict:
    made = Verdict(organization_id=organization, api_key_id=key)
    made.policy.cache.tiers.extend((1, 2, 3))
    made.policy.cache.false_hit_bound = 0.01
    made.policy.cache.share_between_users = sharing
    return made


def asked(
    body: dict[str, Any],
    *,
    api: Api.ValueType = _CHAT,
    routing: Routing = _EXPLICIT,
    by: Verdict | None = None,
    user_id: str = "",
    apart: dict[str, Any] | None = None,
    size: int = 100,
) -> SemanticQuestion | str:
    caller = by or verdict()
    named = named_users(user_id, body)
    similarity = Similarity(lambda: in_native(api, body), api, routing, caller, apart or {}, named=named, size=size)
    return similarity.question("r-1")


def scope(body: dict[str, Any], **changed: Any) -> bytes:
    question = asked(body, **changed)
    assert isinstance(question, SemanticQuestion), f"{body} has a question: {question}"
    return question.scope


def chat(text: Any = _QUESTION, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **fields}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (_CHAT, chat()),
        (_CHAT, chat([{"type": "text", "text": _QUESTION}])),
        (_MESSAGES, {"system": "Be brief.", "max_tokens": 9, "messages": [{"role": "user", "content": _QUESTION}]}),
        (_RESPONSES, {"input": _QUESTION}),
        (_RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": _QUESTION}]}]}),
    ],
)
def test_the_last_user_message_is_the_question(api: Api.ValueType, body: dict[str, Any]) -> None:
    question = asked(body, api=api)
    assert isinstance(question, SemanticQuestion), question
    assert question.text == _QUESTION
    assert len(question.scope) == 32


@given(st.text(min_size=1, max_size=50).filter(str.strip), st.text(min_size=1, max_size=50).filter(str.strip))
def test_another_question_in_the_same_rest_is_in_the_same_scope(one: str, other: str) -> None:
    assert scope(chat(one)) == scope(chat(other))


@given(
    st.sampled_from(["temperature", "max_tokens", "stop", "seed", "unknown_field", "reasoning_effort"]), _JSON, _JSON
)
def test_a_difference_in_any_other_field_is_another_scope(name: str, one: Any, other: Any) -> None:
    assume(one != other or type(one) is not type(other))
    assert scope(chat(**{name: one})) != scope(chat(**{name: other}))


@pytest.mark.parametrize(
    "other",
    [
        {"by": verdict(organization="org-2")},
        {"routing": Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model="gpt-4o-mini")},
        {"routing": Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT)},
        {"apart": {"anthropic-beta": "a"}},
        {"api": _MESSAGES},
    ],
)
def test_another_organization_model_protocol_or_header_is_another_scope(other: dict[str, Any]) -> None:
    assert scope(chat()) != scope(chat(), **other)


def test_earlier_messages_are_part_of_the_scope() -> None:
    longer = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    longer["messages"].append({"role": "user", "content": _QUESTION})
    assert scope(longer) != scope({"messages": [{"role": "user", "content": _QUESTION}]})


@pytest.mark.parametrize("sharing", [CacheSharing.CACHE_SHARING_EXACT, CacheSharing.CACHE_SHARING_NONE])
def test_end_users_share_a_scope_only_where_the_policy_says_all(sharing: CacheSharing.ValueType) -> None:
    apart = verdict(sharing)
    assert scope(chat(), by=apart, user_id="ann") == scope(chat(), by=apart, user_id="ann")
    assert scope(chat(), by=apart, user_id="ann") != scope(chat(), by=apart, user_id="bob")
    assert scope(chat(user="ann"), by=apart) != scope(chat(user="bob"), by=apart)
    assert scope(chat(), user_id="ann") == scope(chat(), user_id="bob")


def test_who_names_nobody_shares_with_the_key_alone() -> None:
    exact = CacheSharing.CACHE_SHARING_EXACT
    assert scope(chat(), by=verdict(exact)) == scope(chat(), by=verdict(exact))
    assert scope(chat(), by=verdict(exact)) != scope(chat(), by=verdict(exact, key="key-2"))


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (_CHAT, chat(tools=[{"type": "function"}])),
        (_CHAT, chat(functions=[{"name": "f"}])),
        (_CHAT, chat(n=2)),
        (_CHAT, chat(logprobs=True)),
        (_CHAT, chat(modalities=["text", "audio"])),
        (_CHAT, chat(response_format={"type": "json_schema", "json_schema": {}})),
        (_CHAT, chat([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://a/b"}}])),
        (_CHAT, chat([{"type": "file", "file": {"file_id": "f"}}])),
        (_CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}),
        (_CHAT, {"messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}]}),
        (_CHAT, chat("  \n")),
        (
            _MESSAGES,
            {"messages": [{"role": "user", "content": "x"}], "output_config": {"format": {"type": "json_schema"}}},
        ),
        (_MESSAGES, {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}),
        (_RESPONSES, {"input": "x", "previous_response_id": "resp_1"}),
        (_RESPONSES, {"input": "x", "text": {"format": {"type": "json_schema"}}}),
        (_RESPONSES, {"input": [{"type": "function_call_output", "output": "1"}]}),
        (_RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}),
    ],
)
def test_tier_2_is_off_where_more_than_text_decides(api: Api.ValueType, body: dict[str, Any]) -> None:
    assert not isinstance(asked(body, api=api), SemanticQuestion)


def test_a_request_that_is_costly_to_hash_is_not_compared() -> None:
    assert isinstance(asked(chat(), size=MOST_BYTES), SemanticQuestion)
    assert str(MOST_BYTES) in str(asked(chat(), size=MOST_BYTES + 1))


def test_a_question_that_is_costly_to_read_is_not_compared_and_says_so() -> None:
    assert isinstance(asked(chat("x" * MOST_CHARACTERS)), SemanticQuestion)
    why = asked(chat("x" * (MOST_CHARACTERS + 1)))
    assert f"{MOST_CHARACTERS + 1} characters, of at most {MOST_CHARACTERS}" in str(why)


@given(_JSON)
def test_whatever_messages_are_nothing_breaks(messages: Any) -> None:
    question = in_native(_CHAT, {"messages": messages})
    assert question is None or isinstance(question.text, str)


def test_conversations_in_asahis_own_form_are_compared_by_their_last_text() -> None:
    def conversation(text: str, system: str = "Be brief.") -> ChatRequest:
        said = [(Role.ROLE_SYSTEM, system), (Role.ROLE_USER, text)]
        return ChatRequest(messages=[Message(role=role, parts=[ContentPart(text=one)]) for role, one in said])

    first = in_chat(conversation("one"))
    assert first is not None
    assert first.text == "one"
    assert in_chat(conversation("two")) == type(first)("two", first.rest)
    other = in_chat(conversation("one", "Be long."))
    assert other is not None
    assert other.rest != first.rest
    with_tool = conversation("one")
    with_tool.tools.append(Tool(name="look"))
    with_image = conversation("one")
    with_image.messages[-1].parts.append(ContentPart(image=Image(url="https://a/b")))
    assert in_chat(with_tool) is None
    assert in_chat(with_image) is None
