"""A log with propensities says what routing was worth beside simpler policies; one without says that it cannot."""

import numpy as np
import pytest

from asahi_router.domain.learning.controls import Control, Log, compare, harms

GOOD, CHEAP = 0.9, 0.8
MODELS = ("dear", "cheap")


def log(count: int, exploration: float, *, routed: float = 0.5, biased: float = 0.0, seed: int = 0) -> Log:
    """Half of the questions are easy: both are right in nine of ten. Of the others the cheap one is in seven.

    The router sends a share `routed` to the cheap one, easy ones first. `biased`: how far off the regressions are.
    """
    random = np.random.default_rng(seed)
    hardness = random.random(count)
    truth = np.stack([np.full(count, GOOD), np.where(hardness < 0.5, GOOD, 2 * CHEAP - GOOD)], axis=1)
    decided = (hardness < routed).astype(np.intp)
    explored = random.random(count) < exploration
    chosen = np.where(explored, random.integers(0, 2, count), decided)
    each = exploration / 2
    propensity = np.where(chosen == decided, 1 - exploration + each, each)
    score = (random.random(count) < truth[np.arange(count), chosen]).astype(float)
    costs = np.tile([10.0, 1.0], (count, 1))
    expected = np.full((count, 2), 0.85)
    expected[:, 1] += biased
    return Log(MODELS, 0, chosen, score, propensity, np.full((count, 2), each), expected, costs)


def by_name(controls: list[Control]) -> dict[str, Control]:
    return {control.policy: control for control in controls}


def test_what_simpler_policies_would_have_brought_is_found_though_most_was_answered_by_others() -> None:
    seen = by_name(compare(log(40_000, 0.2), 0.01))
    assert list(seen) == ["router", "always_baseline", "cheapest", "best_constant", "cost_matched_mix"]
    assert all(control.measured for control in seen.values())
    cheap_loss = 1 - CHEAP / GOOD
    assert seen["cheapest"].model == "cheap"
    assert seen["cheapest"].lost == pytest.approx(cheap_loss, abs=0.02)
    assert seen["cheapest"].saved == pytest.approx(0.9)
    assert seen["always_baseline"].lost == 0 == seen["always_baseline"].saved
    assert seen["best_constant"].model == "dear", "the cheap one loses more than may be lost"
    explored = 0.1 * cheap_loss * 2 * 0.5
    assert seen["router"].lost == pytest.approx(explored, abs=0.02)
    mix = seen["cost_matched_mix"]
    assert mix.saved == pytest.approx(seen["router"].saved)
    assert mix.lost == pytest.approx(0.5 * cheap_loss, abs=0.02), (
        "a random mix at that price loses more than the router"
    )


def test_intervals_hold_the_truth_as_often_as_they_say_even_if_the_regressions_are_off() -> None:
    held = 0
    for seed in range(200):
        cheapest = by_name(compare(log(3000, 0.3, biased=0.1, seed=seed), 0.01))["cheapest"]
        held += cheapest.low <= 1 - CHEAP / GOOD <= cheapest.high
    assert held >= 180


def test_a_log_in_which_nothing_was_drawn_says_that_it_cannot_tell() -> None:
    seen = by_name(compare(log(40_000, 0.0), 0.01))
    assert not any(control.measured for control in seen.values())
    assert seen["cheapest"].overlap == pytest.approx(0.5, abs=0.02)
    assert harms(list(seen.values()), 0.01) is None


def test_with_few_judged_answers_nothing_is_said() -> None:
    assert compare(log(199, 0.5), 0.01) == []
    assert harms([], 0.01) is None


def test_a_router_that_surely_loses_too_much_is_found_and_a_good_one_is_not() -> None:
    harmful = harms(compare(log(20_000, 0.2, routed=1.0), 0.01), 0.01)
    assert harmful is not None
    assert harmful.low > 0.01
    assert harms(compare(log(20_000, 0.1, routed=0.45), 0.02), 0.02) is None
