"""What else decides a price: the tier of service, audio, images, searches of the web."""

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
from genai_prices import Usage as PackageUsage
from genai_prices import calc_price

from asahi.type.v1.usage_pb2 import ServiceTier, Usage, UsageDetails
from asahi_core.prices import MediaRates, Rates, load_price_book
from asahi_core.prices.snapshot import snapshot

_BOOK = load_price_book()
_NOW = datetime(2026, 11, 24, tzinfo=UTC)
_CONTEXTS = {
    ServiceTier.SERVICE_TIER_UNSPECIFIED: {},
    ServiceTier.SERVICE_TIER_BATCH: {"processing": "batch"},
    ServiceTier.SERVICE_TIER_FLEX: {"service_tier": "flex"},
    ServiceTier.SERVICE_TIER_PRIORITY: {"service_tier": "priority"},
}
_RATES = Rates(100, 10, 125, 200, 400, MediaRates(300, 30, 900, 1000, 50, 2000), web_search=7_000_000)
_M = 1_000_000


def _details(**parts: int) -> UsageDetails:
    details = UsageDetails()
    for name, tokens in parts.items():
        setattr(details, name, tokens)
    return details


def _usage(**details: int) -> Usage:
    return Usage(input_tokens=5 * _M, cache_read_tokens=3 * _M, output_tokens=2 * _M, details=_details(**details))


@pytest.mark.parametrize("tier", list(_CONTEXTS))
@pytest.mark.parametrize("model", ["gpt-6.1-sol", "gpt-5.4", "gpt-5", "o4-mini", "gpt-4.1"])
@pytest.mark.parametrize("prompt", [1_001, 272_000, 272_001])
def test_tiers_of_service_cost_what_the_package_says(tier: ServiceTier.ValueType, model: str, prompt: int) -> None:
    usage = Usage(input_tokens=prompt - 500, cache_read_tokens=500, output_tokens=77)
    usage.details.service_tier = tier
    ours = _BOOK.cost_nanos(model, usage, _NOW)
    if ours is None:
        assert (tier, model) == (ServiceTier.SERVICE_TIER_FLEX, "gpt-4.1")
        return
    counted = PackageUsage(input_tokens=prompt, cache_read_tokens=500, output_tokens=77)
    theirs = calc_price(counted, model, genai_request_timestamp=_NOW, price_context=_CONTEXTS[tier])
    assert ours == int((theirs.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


def test_a_tier_without_a_price_on_that_day_has_none_rather_than_the_standard_one() -> None:
    usage = Usage(input_tokens=1000, details=UsageDetails(service_tier=ServiceTier.SERVICE_TIER_PRIORITY))
    assert _BOOK.cost_nanos("gpt-4.1", usage, datetime(2026, 10, 11, 23, 59, tzinfo=UTC)) is None
    assert _BOOK.cost_nanos("gpt-4.1", usage, datetime(2026, 10, 12, tzinfo=UTC)) == 3_500_000
    usage.details.service_tier = ServiceTier.SERVICE_TIER_OTHER
    assert _BOOK.cost_nanos("gpt-4.1", usage, _NOW) is None


@pytest.mark.parametrize(
    ("part", "more"),
    [
        ("input_audio_tokens", 900),
        ("input_image_tokens", 200),
        ("cache_read_audio_tokens", 990),
        ("cache_read_image_tokens", 20),
        ("output_audio_tokens", -350),
        ("output_image_tokens", -1),
    ],
)
def test_a_part_costs_its_own_rate_in_place_of_its_bucket_s(part: str, more: int) -> None:
    rates = Rates(
        100, 10, 125, 200, 400,
        MediaRates(input_image=300, cache_read_image=30, output_image=399,
                   input_audio=1000, cache_read_audio=1000, output_audio=50),
    )  # fmt: skip
    plain = rates.cost_nanos(_usage())
    assert rates.detailed_cost_nanos(_usage(**{part: _M})) == plain + more


def test_a_part_beyond_its_bucket_is_no_more_than_the_bucket() -> None:
    assert _RATES.detailed_cost_nanos(_usage(input_image_tokens=99 * _M)) == _RATES.cost_nanos(_usage()) + 5 * 200


def test_images_without_their_own_price_cost_what_text_costs_and_audio_has_none() -> None:
    text_only = Rates(100, 10, 125, 200, 400)
    assert text_only.detailed_cost_nanos(_usage(input_image_tokens=_M)) == text_only.cost_nanos(_usage())
    assert text_only.detailed_cost_nanos(_usage(input_audio_tokens=1)) is None
    assert text_only.detailed_cost_nanos(_usage(output_audio_tokens=1)) is None


def test_searches_are_billed_one_by_one_and_unknown_without_a_price() -> None:
    assert _RATES.detailed_cost_nanos(_usage(web_searches=3)) == _RATES.cost_nanos(_usage()) + 21
    assert Rates(1, 1, 1, 1, 1).detailed_cost_nanos(_usage(web_searches=1)) is None


def test_nothing_negative_makes_an_amount_negative() -> None:
    assert _RATES.cost_nanos(Usage(input_tokens=-5)) == 0
    assert _RATES.detailed_cost_nanos(_usage(web_searches=-9, input_audio_tokens=-9)) == _RATES.cost_nanos(_usage())


def test_an_embedding_costs_its_input() -> None:
    assert _BOOK.cost_nanos("text-embedding-3-small", Usage(input_tokens=1_000), _NOW) == 20_000


def test_models_that_charge_by_the_hour_or_the_letter_have_no_known_price() -> None:
    for model in ("gpt-live-1", "whisper-1", "tts-1"):
        assert _BOOK.model(model) is None


def test_periods_begin_before_any_call_and_differ_from_one_to_the_next() -> None:
    for name in _BOOK:
        price = _BOOK.model(name)
        assert price is not None
        days = [period.since for period in price.periods]
        assert days[0] == date(1970, 1, 1)
        assert days == sorted(set(days))
    assert '"SERVICE_TIER_FLEX"' in snapshot()
