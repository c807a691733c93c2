"""What requests are charged: priced by call, savings that sum to the nano-dollar, never free for lack of a price."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi.router.v1.router_pb2 import AttemptOutcome
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.prices import load_price_book
from asahi_edge.domain.charge import Charge, charge_calls, charge_reused
from services.edge.tests.neighbours import answer, reported

_PRICES = load_price_book()
_NOW = datetime(2026, 6, 1, tzinfo=UTC)
_KNOWN = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5")
_UNKNOWN = "nobody-knows-its-price"
_tokens = st.integers(0, 1_000_000)
_usages = st.builds(
    Usage,
    input_tokens=_tokens,
    cache_read_tokens=_tokens,
    cache_write_5m_tokens=_tokens,
    cache_write_1h_tokens=_tokens,
    output_tokens=_tokens,
)


def _calls(usages: list[tuple[str, Usage | None]]) -> list[AttemptOutcome]:
    return [
        AttemptOutcome(attempt=number, model=model, provider="p", outcome="answered", usage=usage)
        for number, (model, usage) in enumerate(usages, start=1)
    ]


def _sums(charge: Charge) -> bool:
    if charge.original_nanos is None:
        return charge.savings == ()
    return sum(nanos for _, nanos in charge.savings) == charge.original_nanos - charge.cost_nanos == charge.saved_nanos


_attempts = st.lists(st.tuples(st.sampled_from((*_KNOWN, _UNKNOWN)), st.none() | _usages), min_size=1, max_size=5)


@given(_attempts, st.sampled_from((*_KNOWN, _UNKNOWN)))
def test_calls_sum_to_their_request_and_savings_to_the_difference(
    usages: list[tuple[str, Usage | None]], reference: str
) -> None:
    calls = _calls(usages)
    charge = charge_calls(_PRICES, calls, reference, _NOW)
    assert sorted(charge.calls) == [call.attempt for call in calls]
    assert charge.total.cost_nanos == sum(one.cost_nanos for one in charge.calls.values())
    assert charge.total.price_unknown == any(model == _UNKNOWN and usage for model, usage in usages)
    assert all(map(_sums, [charge.total, *charge.calls.values()]))
    originals = [one.original_nanos for one in charge.calls.values()]
    if charge.total.original_nanos is not None:
        assert charge.total.original_nanos == sum(nanos for nanos in originals if nanos is not None)
        assert None not in originals


@given(_usages, st.sampled_from(_KNOWN))
def test_what_it_would_have_cost_is_the_last_calls_tokens_at_the_reference_model(usage: Usage, reference: str) -> None:
    calls = _calls([("gpt-4o", reported(7, 7)), ("gpt-4o-mini", usage)])
    charge = charge_calls(_PRICES, calls, reference, _NOW)
    assert charge.total.original_nanos == _PRICES.cost_nanos(reference, usage, _NOW)
    assert charge.calls[1].original_nanos == 0


@given(_usages)
def test_an_answer_at_the_reference_model_saves_nothing_and_names_no_technique(usage: Usage) -> None:
    charge = charge_calls(_PRICES, _calls([("gpt-4o", usage)]), "gpt-4o", _NOW)
    assert (charge.total.saved_nanos, charge.total.savings) == (0, ())


def test_a_call_without_a_known_price_is_not_free_but_unknown() -> None:
    charge = charge_calls(_PRICES, _calls([(_UNKNOWN, reported())]), "gpt-4o", _NOW)
    assert (charge.total.price_unknown, charge.calls[1].price_unknown) == (True, True)
    assert (charge.total.original_nanos, charge.total.savings_percent) == (None, None)


def test_a_call_that_the_provider_does_not_bill_costs_nothing_whatever_its_model() -> None:
    charge = charge_calls(_PRICES, _calls([(_UNKNOWN, None)]), "gpt-4o", _NOW)
    assert (charge.total.cost_nanos, charge.total.price_unknown) == (0, False)


def test_a_dearer_model_than_the_reference_saves_less_than_nothing() -> None:
    charge = charge_calls(_PRICES, _calls([("gpt-4o", reported(1_000, 0))]), "gpt-4o-mini", _NOW)
    assert charge.total.savings == (("routing", 150_000 - 2_500_000),)
    assert charge.total.savings_percent == pytest.approx(100 * (1 - 2_500_000 / 150_000))


@given(_usages, st.sampled_from((*_KNOWN, _UNKNOWN)), st.sampled_from(("cache_tier_1", "coalesced")))
def test_a_reused_answer_costs_nothing_against_its_tokens_at_todays_price(
    usage: Usage, reference: str, technique: str
) -> None:
    charge = charge_reused(_PRICES, answer("42", usage=usage), reference, technique, _NOW)
    assert (charge.cost_nanos, charge.original_nanos) == (0, _PRICES.cost_nanos(reference, usage, _NOW))
    assert _sums(charge)
    assert {name for name, _ in charge.savings} <= {technique}


def test_a_charge_says_what_was_saved() -> None:
    assert Charge(25, 100).savings_percent == 75
    assert Charge(150, 100).savings_percent == -50
    assert (Charge(5, None).savings_percent, Charge(5, None).saved_nanos) == (None, 0)
    assert Charge(0, 0).savings_percent is None


@given(_usages, st.sampled_from(_KNOWN), st.sampled_from(_KNOWN))
def test_what_a_kept_beginning_saves_is_told_apart_from_routing(usage: Usage, model: str, reference: str) -> None:
    (call,) = _calls([(model, usage)])
    call.prompt_cache_asked = True
    assert charge_calls(_PRICES, [call], model, _NOW).total.savings == (), "it was the caller who asked"
    charge = charge_calls(_PRICES, [call], reference, _NOW, asked_to_keep=True).total
    plain = Usage(
        input_tokens=usage.input_tokens
        + usage.cache_read_tokens
        + usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
    )
    without = _PRICES.cost_nanos(model, plain, _NOW)
    assert without is not None
    assert charge.original_nanos == _PRICES.cost_nanos(reference, plain, _NOW)
    assert dict(charge.savings).get("provider_prompt_cache", 0) == without - charge.cost_nanos
    assert _sums(charge)


def test_what_a_provider_keeps_by_itself_is_nothing_that_asahi_saved() -> None:
    usage = Usage(input_tokens=100, cache_read_tokens=9000, output_tokens=10)
    calls = _calls([("gpt-4o-mini", usage)])
    charge = charge_calls(_PRICES, calls, "gpt-4o-mini", _NOW, asked_to_keep=True).total
    assert charge.savings == ()


def test_an_answer_that_failed_its_check_is_a_loss_of_the_cascade() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    calls = _calls([("gpt-4o-mini", usage), ("gpt-4o-mini", usage), ("gpt-4o", usage)])
    calls[0].outcome, calls[1].outcome = "cascade: json_schema", "interrupted"
    charge = charge_calls(_PRICES, calls, "gpt-4o", _NOW)
    cheap = charge.calls[1].cost_nanos
    assert charge.total.cost_nanos == charge.calls[3].cost_nanos + 2 * cheap
    assert charge.total.savings == (("cascade", -cheap), ("routing", -cheap))
