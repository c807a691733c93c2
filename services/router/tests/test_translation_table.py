"""The tables of the translation: they have every field of the official SDKs, and the translators do what they say."""

import copy
import json
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from asahi_core.errors import InvalidRequest, UnsupportedByModel
from asahi_router.domain.translation.fates import Entry, Fate, Table
from asahi_router.domain.translation.from_anthropic import FROM_ANTHROPIC
from asahi_router.domain.translation.from_openai import FROM_OPENAI
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.dialect import Dialect
from asahi_router.providers.fields import placed
from asahi_router.providers.openai.dialect import OpenAI
from services.router.tests.question_objects import Found, missing_fields, objects_of

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
_PNG = "iVBORw0KGgo="
_OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hm."}, {"type": "refusal", "refusal": "No."}],
            "refusal": "Never.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ],
    "max_completion_tokens": 77,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["END"],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "trip", "strict": True, "schema": _SCHEMA, "description": "A trip."},
    },
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": _SCHEMA, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "parallel_tool_calls": False,
    "user": "ann",
}
_ANTHROPIC: dict[str, Any] = {
    "max_tokens": 77,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Where?", "signature": ""},
                {"type": "text", "text": "Hm."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}]},
    ],
    "temperature": 0.5,
    "top_p": 0.5,
    "stop_sequences": ["END"],
    "tools": [{"type": "custom", "name": "look", "description": "Looks.", "input_schema": _SCHEMA, "strict": True}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
    "metadata": {"user_id": "ann"},
}
_SIDES: dict[str, tuple[Table, Dialect, Dialect, dict[str, Any]]] = {
    "from OpenAI": (FROM_OPENAI, OpenAI(), Anthropic(), _OPENAI),
    "from Anthropic": (FROM_ANTHROPIC, Anthropic(), OpenAI(), _ANTHROPIC),
}
_VARIANTS: dict[str, Any] = {
    "tool_choice:auto": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    "tool_choice:any": {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    "tool_choice:none": {"tool_choice": {"type": "none"}},
    "response_format:text": {"response_format": {"type": "text"}},
}
"""Of objects of which a question has only one: those that the whole questions above do not have."""
_SAMPLES: dict[str, Any] = {"max_tokens": 5, "safety_identifier": "bob"}
"""Of fields that say what another one of the whole questions says."""
_ASKING: dict[str, Any] = {"seed": 7, "is_error": True, "signature": "c2ln"}
"""Values that ask for something, where not every kind of value is understood."""
_OF_THE_CALL = {"model", "stream", "type", "role"}
"""What the call says, and what makes an object what it is."""


def _rows() -> list[Any]:
    return [
        pytest.param(side, name, field, entry, id=f"{side}, {name}: {field}")
        for side, (table, *_) in _SIDES.items()
        for name, entries in table.items()
        if not isinstance(entries, Entry)
        for field, entry in entries.items()
    ]


@pytest.mark.parametrize(
    ("root", "table"), [(CompletionCreateParamsStreaming, FROM_OPENAI), (MessageCreateParamsStreaming, FROM_ANTHROPIC)]
)
def test_the_request_types_of_the_official_sdks_have_no_field_that_the_table_lacks(root: type, table: Table) -> None:
    assert missing_fields(root, table) == []


@pytest.mark.parametrize(("side", "name", "field", "entry"), _rows())
def test_a_field_s_fate_is_what_the_table_says(side: str, name: str, field: str, entry: Entry) -> None:
    _, asked, spoken, whole = _SIDES[side]
    body = copy.deepcopy({**whole, **_VARIANTS.get(name, {})})
    found = next(found for found in objects_of(body) if found.name == name)
    before = _translated(asked, spoken, body)
    match entry.fate:
        case Fate.LEFT_OUT if field not in _OF_THE_CALL:
            found.fields[field] = "anything"
            assert _translated(asked, spoken, body) == before
        case Fate.NEUTRAL:
            for value in entry.values:
                found.fields[field] = value
                assert _translated(asked, spoken, body) == before
            found.fields[field] = _ASKING.get(field, "something else")
            _require_refused(asked, spoken, body, found, field)
        case Fate.REFUSED:
            found.fields[field] = _ASKING.get(field, {"a": 1})
            _require_refused(asked, spoken, body, found, field)
        case Fate.CARRIED | Fate.TRANSLATED if field not in _OF_THE_CALL:
            if field in found.fields:
                del found.fields[field]
            else:
                found.fields[field] = _SAMPLES[field]
                found.fields.pop("max_completion_tokens", None)
            assert _translated_or_missed(asked, spoken, body) != before


@pytest.mark.parametrize(
    ("side", "name"),
    [
        pytest.param(side, name, id=f"{side}, {name}")
        for side, (table, *_) in _SIDES.items()
        for name, entries in table.items()
        if isinstance(entries, Entry)
    ],
)
def test_a_kind_that_is_refused_as_a_whole_is(side: str, name: str) -> None:
    _, asked, spoken, whole = _SIDES[side]
    group, _, kind = name.partition(":")
    body = copy.deepcopy(whole)
    found = next(found for found in objects_of(body) if found.name.startswith(f"{group}:"))
    found.fields["role" if group == "messages" else "type"] = "some_new_kind" if kind == "*" else kind
    with pytest.raises(InvalidRequest) as refused:
        _translated(asked, spoken, body)
    assert refused.value.param is not None
    assert refused.value.param.startswith(found.path)


def _require_refused(asked: Dialect, spoken: Dialect, body: dict[str, Any], found: Found, field: str) -> None:
    with pytest.raises(UnsupportedByModel) as refused:
        _translated(asked, spoken, body)
    named, place = refused.value.param or "", f"{found.path}.{field}" if found.path else field
    assert named
    assert named.startswith(place) or place.startswith(named)


def _translated_or_missed(asked: Dialect, spoken: Dialect, body: dict[str, Any]) -> Any:
    """The translation; None: a field is needed that is not there."""
    try:
        return _translated(asked, spoken, body)
    except InvalidRequest:
        return None


def _translated(asked: Dialect, spoken: Dialect, body: dict[str, Any]) -> Any:
    question = json.dumps(body).encode()
    chat = asked.read_question(question)
    try:
        return json.loads(spoken.write_question(chat, "m", stream=False, default_max_tokens=4096))
    except UnsupportedByModel as error:
        raise placed(error, asked.places(question)) from None
