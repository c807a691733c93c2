"""A provider's `usage` may be anything: it never makes an answer unreadable, nor an amount negative or absurd."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.type.v1.usage_pb2 import ServiceTier, Usage
from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_core.prices.book import prompt_tokens
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.counts import MAX_TOKENS, count, part, service_tier
from asahi_router.providers.dialect import Dialect
from asahi_router.providers.openai.dialect import OpenAI
from asahi_router.providers.progress import Progress

_BOOK = load_price_book()
_MODELS = tuple(_BOOK)
_NOW = datetime(2026, 11, 24, tzinfo=UTC)
_DEAREST_NANOS_A_TOKEN = 3_000_000
"""Ten times what any model asks for a token, and a tenth of a cent less than a search of the web."""

_figures = st.one_of(
    st.integers(0, 300_000),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.none(),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_tiers = st.one_of(_figures, st.sampled_from(["default", "flex", "priority", "fast", "batch", "standard", "scale"]))


def _object(*names: str, **nested: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {**dict.fromkeys(names, _figures), **nested}
    return st.one_of(_figures, *[st.fixed_dictionaries({}, optional=fields)] * 9)


_parts = _object(
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "image_tokens",
    cached_tokens_details=_object("audio_tokens", "image_tokens"),
)
_ends = _object("reasoning_tokens", "audio_tokens", "image_tokens")
_openai = _object(
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    prompt_tokens_details=_parts,
    completion_tokens_details=_ends,
    input_tokens_details=_parts,
    output_tokens_details=_ends,
)
_anthropic = _object(
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    cache_creation=_object("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    output_tokens_details=_object("thinking_tokens"),
    server_tool_use=_object("web_search_requests"),
    service_tier=_tiers,
    speed=_tiers,
)


def _openai_body(usage: Any, tier: Any = None) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "choices": [choice], "usage": usage, "service_tier": tier}).encode()


def _anthropic_body(usage: Any) -> bytes:
    content = [{"type": "text", "text": "Yes."}]
    return json.dumps({"id": "m", "content": content, "stop_reason": "end_turn", "usage": usage}).encode()


def _openai_events(usage: Any, tier: Any) -> list[dict[str, Any]]:
    choice = {"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}
    return [{"id": "c", "choices": [choice]}, {"id": "c", "choices": [], "usage": usage, "service_tier": tier}]


def _anthropic_events(before: Any, after: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": before}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Yes."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": after},
        {"type": "message_stop"},
    ]


def _streamed(dialect: Dialect, events: list[dict[str, Any]]) -> Usage | None:
    reader, progress = dialect.stream_reader(), Progress(ManualClock())
    for event in events:
        reader.read(json.dumps(event).encode(), progress)
    list(reader.pieces())
    return dialect.summarize(reader.body()).usage


def _check(usage: Usage | None, model: str) -> None:
    """Believable, or not reported."""
    if usage is None:
        return
    for field, value in usage.ListFields():
        if field.name.endswith("_tokens"):
            assert 0 <= value <= MAX_TOKENS
    assert usage.reasoning_tokens <= usage.output_tokens
    details = usage.details
    assert details.input_audio_tokens + details.input_image_tokens <= usage.input_tokens
    assert details.cache_read_audio_tokens + details.cache_read_image_tokens <= usage.cache_read_tokens
    assert details.output_audio_tokens + details.output_image_tokens <= usage.output_tokens
    cost = _BOOK.cost_nanos(model, usage, _NOW)
    if cost is not None:
        billed = prompt_tokens(usage) + usage.output_tokens
        assert 0 <= cost <= billed * _DEAREST_NANOS_A_TOKEN + details.web_searches * 10_000_000
        assert cost <= 10**15 * 5, "five million dollars: ten million tokens in every bucket"


@settings(max_examples=300, deadline=None)
@given(_openai, _tiers, st.sampled_from(_MODELS))
def test_openai_s_usage_may_be_anything(usage: Any, tier: Any, model: str) -> None:
    told = OpenAI().summarize(_openai_body(usage, tier)).usage
    _check(told, model)
    assert _streamed(OpenAI(), _openai_events(usage, tier)) == told


@settings(max_examples=300, deadline=None)
@given(_anthropic, _anthropic, st.sampled_from(_MODELS))
def test_anthropic_s_usage_may_be_anything(usage: Any, before: Any, model: str) -> None:
    _check(Anthropic().summarize(_anthropic_body(usage)).usage, model)
    _check(_streamed(Anthropic(), _anthropic_events(before, usage)), model)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        (12, 12), (12.0, 12), (0, 0), (-0.0, 0), (MAX_TOKENS, MAX_TOKENS),
        (-1, None), (12.5, None), (MAX_TOKENS + 1, None), (1e300, None),
        ("12", None), (True, None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_a_count_is_a_whole_number_within_reason_or_was_not_said(told: Any, counted: int | None) -> None:
    assert count(told) == counted


@pytest.mark.parametrize(("told", "counted"), [(3, 3), (11, 10), (-1, 0), ("3", 0), (None, 0), (10**40, 0)])
def test_a_part_is_never_more_than_its_whole_and_nothing_where_it_is_nonsense(told: Any, counted: int) -> None:
    assert part(told, 10) == counted


def test_more_cached_than_asked_is_all_cached() -> None:
    usage = (
        OpenAI()
        .summarize(
            _openai_body({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}})
        )
        .usage
    )
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens) == (0, 10)


@pytest.mark.parametrize(
    "name", ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
)
@pytest.mark.parametrize("nonsense", [-1, "7", 1.5, 10**18])
def test_nonsense_in_what_adds_to_the_bill_makes_the_whole_unreported(name: str, nonsense: Any) -> None:
    assert Anthropic().summarize(_anthropic_body({"input_tokens": 5, "output_tokens": 5, name: nonsense})).usage is None


def test_what_was_written_to_the_cache_is_billed_where_its_breakdown_forgets_it() -> None:
    told = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation_input_tokens": 500,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 200},
    }
    usage = Anthropic().summarize(_anthropic_body(told)).usage
    assert usage is not None
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (300, 200)


def test_a_tier_that_is_not_known_has_no_known_price() -> None:
    made_up: tuple[Any, ...] = ("turbo", 7, [], {})
    for nonsense in made_up:
        assert service_tier(nonsense) == ServiceTier.SERVICE_TIER_OTHER
    usage = OpenAI().summarize(_openai_body({"prompt_tokens": 1, "completion_tokens": 1}, "turbo")).usage
    assert usage is not None
    assert _BOOK.cost_nanos("gpt-4o", usage, _NOW) is None


def test_cached_audio_that_is_not_told_apart_is_what_the_cached_text_leaves() -> None:
    told = {
        "prompt_tokens": 100,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 70, "audio_tokens": 60},
    }
    usage = OpenAI().summarize(_openai_body(told)).usage
    assert usage is not None
    assert (usage.input_tokens, usage.details.input_audio_tokens) == (30, 30)
    assert (usage.cache_read_tokens, usage.details.cache_read_audio_tokens) == (70, 30)
