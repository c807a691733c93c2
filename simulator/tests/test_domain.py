"""The rules behind the wire formats."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_core.clock import ManualClock
from asahi_simulator.domain.completion import Breakpoint, Prompt
from asahi_simulator.domain.latency import Pace, pace_of
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.prose import Prose
from asahi_simulator.domain.schema import example
from asahi_simulator.domain.tokens import split


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_prose_is_as_long_as_promised_and_counts_like_any_text(seed: int) -> None:
    pieces = Prose().answer(seed)
    assert 60 <= len(pieces) <= 150
    assert split("".join(pieces)) == pieces


def test_prose_says_no_sentence_twice_in_a_long_text() -> None:
    sentences = "".join(islice(Prose().endless(12345), 500)).replace("\n\n", " ").split(". ")
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(("elapsed_s", "tokens"), [(0.0, 0), (0.99, 0), (1.0, 1), (1.5, 6), (100.0, 20)])
def test_tokens_come_at_their_pace(elapsed_s: float, tokens: int) -> None:
    assert Pace(1.0, 0.1).generated(elapsed_s, 20) == tokens


def test_small_models_are_faster_and_no_answer_takes_long() -> None:
    assert pace_of("gpt-6-luna", 1).due_s(100) < pace_of("gpt-6-sol", 1).due_s(100)
    assert pace_of("claude-haiku-5-5", 1).due_s(100) < pace_of("claude-opus-5-5", 1).due_s(100)
    assert pace_of("claude-opus-5-5", 1).due_s(150) <= 1.0
    assert not pace_of("claude-opus-5-5", 0).waits


def _prompt(tokens: int, *breakpoints: Breakpoint, last: str = "x") -> Prompt:
    return Prompt(["x"] * (tokens - 1) + [last], "", (1100, 1200), breakpoints)


def test_the_automatic_cache_needs_1024_tokens_and_the_same_model() -> None:
    cache = PromptCache(ManualClock())
    assert [cache.automatic("m", _prompt(1023)).read for _ in range(2)] == [0, 0]
    assert [cache.automatic("m", _prompt(1300)).read for _ in range(2)] == [0, 1280]
    assert cache.automatic("m", _prompt(1300, last="y")).read == 1280
    assert cache.automatic("other", _prompt(1300)).read == 0


def test_cached_prefixes_expire_unless_they_are_read() -> None:
    clock = ManualClock()
    cache = PromptCache(clock)
    cache.automatic("m", _prompt(1024))
    clock.advance(200)
    assert cache.automatic("m", _prompt(1024)).read == 1024
    clock.advance(200)
    assert cache.automatic("m", _prompt(1024)).read == 1024
    clock.advance(301)
    assert cache.automatic("m", _prompt(1024)).read == 0


def test_the_explicit_cache_reads_the_longest_prefix_and_writes_the_rest() -> None:
    cache = PromptCache(ManualClock())
    assert cache.explicit("m", _prompt(1500, Breakpoint(1100, "1h"))) == CacheUse(0, 0, 1100)
    longer = _prompt(1500, Breakpoint(1200, "5m"))
    assert cache.explicit("m", longer) == CacheUse(1100, 100, 0)
    assert cache.explicit("m", longer) == CacheUse(1200, 0, 0)
    assert cache.explicit("m", _prompt(1500, Breakpoint(900, "5m"))) == CacheUse()


@pytest.mark.parametrize("seed", range(4))
def test_examples_fit_the_simple_cases_of_json_schema(seed: int) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "kind": {"const": "order"},
            "color": {"type": "string", "enum": ["red", "green", "blue"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 5},
            "price": {"type": "number", "exclusiveMinimum": 0},
            "step": {"type": "integer", "minimum": 1, "multipleOf": 5, "maximum": 20},
            "on": {"type": "boolean"},
            "when": {"type": "string", "format": "date-time"},
            "code": {"type": "string", "minLength": 30, "maxLength": 30},
            "maybe": {"type": ["string", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "both": {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "integer"}}}]},
            "tree": {"$ref": "#/$defs/node"},
            "nothing": {"type": "null"},
        },
        "$defs": {
            "a": {"type": "object", "properties": {"x": {"type": "string"}}},
            "node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}},
        },
    }
    found = example(schema, seed)
    assert found["kind"] == "order"
    assert found["color"] in {"red", "green", "blue"}
    assert 3 <= found["count"] <= 5
    assert found["price"] > 0
    assert found["step"] % 5 == 0
    assert 1 <= found["step"] <= 20
    assert isinstance(found["on"], bool)
    assert found["when"].endswith("Z")
    assert len(found["code"]) == 30
    assert isinstance(found["maybe"], str)
    assert len(found["tags"]) == 3
    assert isinstance(found["either"], int)
    assert set(found["both"]) == {"x", "y"}
    assert isinstance(found["tree"], dict)
    assert found["nothing"] is None


@pytest.mark.parametrize("schema", [{}, {"$ref": "#/$defs/none"}, {"$ref": "#"}, {"type": "strange"}, {"anyOf": [5]}])
def test_odd_schemas_do_no_harm(schema: dict[str, Any]) -> None:
    example(schema, 1)
