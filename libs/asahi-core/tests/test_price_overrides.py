"""An organisation's own prices: dated, by pattern, absolute or a discount, and named in the version."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from asahi.type.v1.usage_pb2 import ServiceTier, Usage, UsageDetails
from asahi_core.prices import PriceOverride, PriceOverrides, Rates, load_price_book

_BOOK = load_price_book()
_NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_USAGE = Usage(input_tokens=1000, cache_read_tokens=1000, output_tokens=100)
_FLAT = Rates(1_000_000_000, 500_000_000, 1_000_000_000, 1_000_000_000, 2_000_000_000)


def _cost(*entries: PriceOverride, model: str = "gpt-4o", usage: Usage = _USAGE, at: datetime = _NOW) -> int | None:
    return _BOOK.with_overrides(PriceOverrides("acme 3", entries)).cost_nanos(model, usage, at)


def test_the_version_names_the_snapshot_and_the_overrides() -> None:
    book = _BOOK.with_overrides(PriceOverrides("acme 3", ()))
    assert book.version == f"{_BOOK.version} + acme 3"
    assert _BOOK.version.startswith("genai-prices ")


def test_without_entries_nothing_changes_and_the_shared_book_never_does() -> None:
    assert _cost() == _BOOK.cost_nanos("gpt-4o", _USAGE, _NOW) == 4_750_000
    assert _cost(PriceOverride("*", factor=Decimal("0.5"))) == 2_375_000
    assert _BOOK.cost_nanos("gpt-4o", _USAGE, _NOW) == 4_750_000
    assert list(_BOOK.with_overrides(PriceOverrides("x", ()))) == list(_BOOK)


def test_a_discount_holds_for_every_bucket_of_the_models_that_it_names() -> None:
    discount = PriceOverride("gpt-4o*", factor=Decimal("0.85"))
    assert _cost(discount) == 4_037_500
    assert _cost(discount, model="gpt-4.1") == _BOOK.cost_nanos("gpt-4.1", _USAGE, _NOW)


def test_a_discount_follows_the_size_of_the_prompt_the_tier_of_service_and_the_day() -> None:
    discount = PriceOverride("*", factor=Decimal("0.5"))
    flex = UsageDetails(service_tier=ServiceTier.SERVICE_TIER_FLEX)
    for model, usage, at in (
        ("gpt-6.1-sol", Usage(input_tokens=300_000), _NOW),
        ("gpt-6.1-sol", Usage(input_tokens=300_000, details=flex), _NOW),
        ("o3", Usage(input_tokens=1000), datetime(2025, 6, 9, tzinfo=UTC)),
        ("claude-sonnet-4-5", Usage(input_tokens=1, details=UsageDetails(web_searches=2)), _NOW),
    ):
        listed = _BOOK.cost_nanos(model, usage, at)
        assert listed is not None
        assert _cost(discount, model=model, usage=usage, at=at) == listed // 2


def test_an_absolute_price_prices_models_that_have_none() -> None:
    assert _cost(PriceOverride("llama-*", rates=_FLAT), model="llama-9") == 1_700_000
    assert _cost(PriceOverride("llama-*", rates=_FLAT), model="qwen-9") is None
    assert _cost(PriceOverride("llama-*", factor=Decimal("0.5")), model="llama-9") is None


def test_an_absolute_price_holds_at_every_tier_unless_it_names_one() -> None:
    odd = Usage(input_tokens=1000, details=UsageDetails(service_tier=ServiceTier.SERVICE_TIER_OTHER))
    priority = Usage(input_tokens=1000, details=UsageDetails(service_tier=ServiceTier.SERVICE_TIER_PRIORITY))
    assert _cost(PriceOverride("*", rates=_FLAT), usage=odd) == 1_000_000
    only = PriceOverride("*", rates=_FLAT, service_tier=ServiceTier.SERVICE_TIER_PRIORITY)
    assert _cost(only, usage=priority) == 1_000_000
    assert _cost(only, usage=odd) is None
    assert _cost(only) == 4_750_000


@pytest.mark.parametrize(
    ("at", "cost"),
    [
        (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), 4_750_000),
        (datetime(2026, 11, 1, tzinfo=UTC), 2_375_000),
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), 2_375_000),
        (datetime(2026, 12, 1, tzinfo=UTC), 4_750_000),
    ],
)
def test_an_override_holds_from_its_first_day_until_the_day_it_ends(at: datetime, cost: int) -> None:
    november = PriceOverride("*", factor=Decimal("0.5"), since=date(2026, 11, 1), until=date(2026, 12, 1))
    assert _cost(november, at=at) == cost


def test_the_last_of_several_that_hold_counts_alone() -> None:
    half, tenth = PriceOverride("*", factor=Decimal("0.5")), PriceOverride("gpt-*", factor=Decimal("0.1"))
    assert _cost(half, tenth) == 475_000
    assert _cost(tenth, half) == 2_375_000


def test_a_self_hosted_model_may_be_free_if_somebody_says_so() -> None:
    assert _cost(PriceOverride("gpt-4o", rates=Rates(0, 0, 0, 0, 0))) == 0


def test_an_override_of_a_model_without_list_price_ends_unknown() -> None:
    until = PriceOverride("llama-9", rates=_FLAT, until=date(2026, 11, 24))
    assert _cost(until, model="llama-9") is None
    assert _cost(until, model="llama-9", at=datetime(2026, 11, 23, tzinfo=UTC)) == 1_700_000


def test_overrides_go_over_overrides() -> None:
    reseller = PriceOverrides("reseller", (PriceOverride("*", factor=Decimal("0.5")),))
    book = _BOOK.with_overrides(reseller).with_overrides(PriceOverrides("acme", reseller.entries))
    assert book.cost_nanos("gpt-4o", _USAGE, _NOW) == 1_187_500
    assert book.version == f"{_BOOK.version} + reseller + acme"


def test_names_that_are_made_up_do_not_pile_up() -> None:
    book = _BOOK.with_overrides(PriceOverrides("x", (PriceOverride("*", rates=_FLAT),)))
    assert {book.cost_nanos(f"made-up-{n}", _USAGE, _NOW) for n in range(3000)} == {1_700_000}


@pytest.mark.parametrize(
    "entry",
    [
        {"models": "gpt-4o"},
        {"models": "gpt-4o", "rates": _FLAT, "factor": Decimal(1)},
        {"models": "", "factor": Decimal(1)},
        {"models": "*", "factor": Decimal("-0.1")},
        {"models": "*", "factor": Decimal("NaN")},
        {"models": "*", "factor": Decimal(11)},
        {"models": "*", "rates": Rates(-1, 0, 0, 0, 0)},
        {"models": "*", "rates": Rates(10**17, 0, 0, 0, 0)},
        {"models": "*", "factor": Decimal(1), "since": date(2026, 1, 2), "until": date(2026, 1, 2)},
    ],
)
def test_an_impossible_override_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        PriceOverride(**entry)
