"""JSON in and out: bodies of any kind are read or refused in the field's name, and dollars are exact."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asahi_core.errors import InvalidRequest
from asahi_edge.api.json import Dollars, convert, decode_object, encode
from asahi_edge.api.schemas.inference import InferBody

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _values, max_size=5))
def test_every_json_object_is_read_as_it_was_written(body: dict[str, Any]) -> None:
    for ascii_only in (True, False):
        assert decode_object(json.dumps(body, ensure_ascii=ascii_only).encode()) == body


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@example(b"")
@example(b"null")
@example(b'"text"')
@example(b'{"a":1}{"b":2}')
@example(b'\xef\xbb\xbf{"a":1}')
@example(b'{"a":"\\ud800"}')
@example(b'{"a":1e999}')
@example(b'{"a":01}')
@example(b"{'a':1}")
@example(b'{"a":1,}')
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    with suppress(InvalidRequest):
        assert isinstance(decode_object(body), dict)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":"x","temperature":NaN}',
        b'{"prompt":"x","temperature":Infinity}',
        b'{"prompt":"\xff\xfe"}',
        b'{"prompt":"x"',
        b'["prompt"]',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
    ids=["NaN", "Infinity", "bad UTF-8", "cut off", "a list", "objects 10 000 deep", "lists 10 000 deep"],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="body"):
        decode_object(body)


def test_a_refusal_never_repeats_the_body() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_object(b'{"prompt": "my secret diary", oops}')
    assert "diary" not in caught.value.message


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("prompt", 5, "5"),
        ("prompt", "x" * 100_001, "100000"),
        ("prompt", "", "1"),
        ("temperature", "hot", "'hot'"),
        ("temperature", 2.5, "2.5"),
        ("max_tokens", 0, "0"),
        ("max_tokens", 1.5, "1.5"),
        ("stream", "yes", "'yes'"),
        ("routing_mode", "cheapest", "autopilot, guided, explicit"),
        ("quality_threshold", 5.1, "5.1"),
        ("latency_budget_ms", -1, "-1"),
        ("cost_budget", 0, "0"),
        ("stop", ["a"] * 5, "4"),
        ("seed", 2**63, str(2**63 - 1)),
        ("response_format", "json", "'json'"),
        ("user_id", "", "1"),
    ],
)
def test_a_wrong_value_is_refused_by_field_with_what_was_sent_or_is_accepted(field: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert({"prompt": "x", field: value}, InferBody)
    assert caught.value.param == field
    assert field in caught.value.message
    assert told in caught.value.message


def test_a_value_inside_a_field_is_named_by_its_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert({"prompt": "x", "stop": ["a", 1]}, InferBody)
    assert caught.value.param == "stop[1]"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert({}, InferBody)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    "wrong", [{"prompt": "", "system": "my diary"}, {"prompt": ["my diary"]}, {"system": "my diary" * 20_000}]
)
def test_prompts_are_never_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert({"prompt": "x"} | wrong, InferBody)
    assert "diary" not in caught.value.message


def test_the_longest_prompt_allowed_is_taken() -> None:
    assert len(convert({"prompt": "é" * 100_000}, InferBody).prompt) == 100_000


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_dollars_are_written_exactly(nanos: int) -> None:
    text = encode({"cost": Dollars(nanos)}).decode()
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal)["cost"] == Decimal(nanos) / 10**9
