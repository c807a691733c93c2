"""The price book: by date and size of the prompt, rounded half up once, and never free for lack of a price."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal

import pytest
from genai_prices import Usage as PackageUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from asahi.type.v1.usage_pb2 import Usage
from asahi_core.prices import PriceBook, Rates, load_price_book
from asahi_core.prices.book import prompt_tokens
from asahi_core.prices.snapshot import TARGET, snapshot

_BOOK = load_price_book()
_MODELS = tuple(_BOOK)
_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_tokens = st.integers(0, 2_000_000)
_usages = st.builds(
    Usage,
    input_tokens=_tokens,
    cache_read_tokens=_tokens,
    cache_write_5m_tokens=_tokens,
    cache_write_1h_tokens=_tokens,
    output_tokens=_tokens,
)


def test_the_snapshot_is_what_the_pinned_package_says() -> None:
    assert snapshot() == TARGET.read_text()
    subprocess.run([sys.executable, "-m", "asahi_core.prices.snapshot", "--check"], check=True)


def test_reading_the_book_does_not_import_the_package() -> None:
    program = (
        "import sys; from asahi_core.prices import load_price_book; load_price_book(); "
        "sys.exit('genai_prices' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@given(_usages, st.sampled_from(_MODELS), st.dates(date(2023, 1, 1), date(2027, 12, 31)))
def test_a_cost_is_the_sum_of_disjoint_buckets_rounded_half_up_once(usage: Usage, model: str, day: date) -> None:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rates = _BOOK.rates(model, prompt_tokens(usage), at)
    assert rates is not None
    exact = sum(
        Decimal(tokens) * rate / 1_000_000
        for tokens, rate in (
            (usage.input_tokens, rates.input),
            (usage.cache_read_tokens, rates.cache_read),
            (usage.cache_write_5m_tokens, rates.cache_write_5m),
            (usage.cache_write_1h_tokens, rates.cache_write_1h),
            (usage.output_tokens, rates.output),
        )
    )
    assert _BOOK.cost_nanos(model, usage, at) == int(Decimal(exact).quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize(("tokens", "nanos"), [(0, 0), (1, 1), (2, 1), (3, 2), (499_999, 250_000)])
def test_half_a_nano_dollar_is_a_whole_one_and_less_is_none(tokens: int, nanos: int) -> None:
    rates = Rates(input=500_000, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=0)
    assert rates.cost_nanos(Usage(input_tokens=tokens)) == nanos
    assert Rates(499_999, 0, 0, 0, 0).cost_nanos(Usage(input_tokens=1)) == 0


def test_halves_of_two_buckets_make_a_whole_not_two() -> None:
    assert Rates(500_000, 0, 0, 0, 500_000).cost_nanos(Usage(input_tokens=1, output_tokens=1)) == 1


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "claude-opus-4-6", "claude-haiku-5-5"])
@pytest.mark.parametrize("prompt", [1_000, 100_000, 100_001, 200_000, 200_001, 500_000])
def test_prices_are_those_of_the_package_by_size_of_the_prompt(model: str, prompt: int) -> None:
    theirs = calc_price(PackageUsage(input_tokens=prompt, output_tokens=1_000), model, genai_request_timestamp=_NOW)
    ours = _BOOK.cost_nanos(model, Usage(input_tokens=prompt, output_tokens=1_000), _NOW)
    assert ours == int((theirs.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


def test_prices_change_on_their_day_in_utc() -> None:
    usage = Usage(input_tokens=300_000)
    change = datetime(2026, 3, 13, tzinfo=UTC)
    before, after = (_BOOK.cost_nanos("claude-opus-4-6", usage, at) for at in (change - timedelta(seconds=1), change))
    assert (before, after) == (3_000_000_000, 1_500_000_000)
    in_tokyo = (change - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=9)))
    assert in_tokyo.date() == change.date()
    assert _BOOK.cost_nanos("claude-opus-4-6", usage, in_tokyo) == before


def test_cached_tokens_count_for_the_size_of_the_prompt() -> None:
    usage = Usage(input_tokens=1, cache_read_tokens=100_000, cache_write_5m_tokens=99_999, cache_write_1h_tokens=1)
    assert prompt_tokens(usage) == 200_001
    rates = _BOOK.rates("claude-sonnet-4-5", 200_001, _NOW)
    assert rates is not None
    assert rates.input == 6_000_000_000


def test_a_model_without_a_known_price_has_none_rather_than_nothing() -> None:
    assert _BOOK.cost_nanos("never-heard-of", Usage(input_tokens=1), _NOW) is None
    assert _BOOK.rates("never-heard-of", 1, _NOW) is None
    assert _BOOK.model("never-heard-of") is None
    assert PriceBook("empty", {}).cost_nanos("gpt-4o", Usage(), _NOW) is None


def test_every_model_has_a_price_on_every_day_and_for_every_prompt() -> None:
    for model in _MODELS:
        for at in (datetime(1999, 1, 1, tzinfo=UTC), _NOW, datetime(2100, 1, 1, tzinfo=UTC)):
            for prompt in (0, 1, 10**9):
                rates = _BOOK.rates(model, prompt, at)
                assert rates is not None
                assert min(rates.input, rates.output) >= 0
