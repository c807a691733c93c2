"""How fast models are expected to be, and what their answers teach."""

from dataclasses import replace

import pytest

from asahi_core.clock import ManualClock
from asahi_router.domain.observations import Observations
from services.router.tests.decision_rig import BASELINE, MODELS, NOW, PEER, chosen, scale, task

BY_ID = {model.id: model for model in MODELS}


def test_before_the_first_answer_the_catalog_is_believed() -> None:
    speed = Observations(BY_ID, ManualClock(NOW)).speed(BY_ID[PEER])
    assert (speed.first_token_ms, speed.output_tokens_per_second) == (1000, 100)
    assert speed.total_ms(100) == 2000


def test_a_streamed_answer_teaches_both_figures() -> None:
    observations = Observations(BY_ID, ManualClock(NOW))
    for _ in range(100):
        observations.observed(PEER, 400.0, 101, 2400.0)
    speed = observations.speed(BY_ID[PEER])
    assert speed.first_token_ms == pytest.approx(400, rel=0.01)
    assert speed.output_tokens_per_second == pytest.approx(50, rel=0.01)


def test_a_plain_answer_teaches_how_long_all_of_it_takes() -> None:
    observations = Observations(BY_ID, ManualClock(NOW))
    for _ in range(100):
        observations.observed(PEER, None, 100, 500.0)
    assert observations.speed(BY_ID[PEER]).total_ms(100) == pytest.approx(500, rel=0.05)


def test_an_answer_that_comes_at_once_teaches_its_first_token_only() -> None:
    observations = Observations(BY_ID, ManualClock(NOW))
    observations.observed(PEER, 300.0, 50, 300.2)
    speed = observations.speed(BY_ID[PEER])
    assert speed.first_token_ms == pytest.approx(650)
    assert speed.output_tokens_per_second == pytest.approx(100)


@pytest.mark.parametrize(("model", "tokens", "ms"), [("unheard-of", 10, 10.0), (PEER, 0, 10.0), (PEER, 10, 0.0)])
def test_what_teaches_nothing_is_passed_over(model: str, tokens: int, ms: float) -> None:
    observations = Observations(BY_ID, ManualClock(NOW))
    observations.observed(model, None, tokens, ms)
    assert observations.speed(BY_ID[PEER]).first_token_ms == 1000


def test_a_model_that_becomes_slow_is_left_for_one_that_meets_the_budget() -> None:
    at = scale()
    asked = task(latency_budget_ms=3500)
    assert chosen(asked, at=at) == PEER
    assert isinstance(at.speeds, Observations)
    for _ in range(30):
        at.speeds.observed(PEER, 9000.0, 100, 12_000.0)
    assert chosen(asked, at=at) == BASELINE


def test_a_model_that_was_left_for_being_slow_is_asked_again_one_day() -> None:
    clock = ManualClock(NOW)
    observations = Observations(BY_ID, clock)
    at = replace(scale(), speeds=observations)
    for _ in range(30):
        observations.observed(PEER, 9000.0, 100, 12_000.0)
    assert chosen(task(latency_budget_ms=3500), at=at) == BASELINE
    clock.advance(600)
    assert observations.speed(BY_ID[PEER]).first_token_ms == pytest.approx(5000, rel=0.05)
    clock.advance(3600)
    assert chosen(task(latency_budget_ms=3500), at=at) == PEER


def test_a_model_that_is_silent_when_its_time_is_up_is_expected_to_take_longer() -> None:
    at = scale()
    assert isinstance(at.speeds, Observations)
    at.speeds.silent(PEER, 200.0)
    assert at.speeds.speed(BY_ID[PEER]).first_token_ms == 1000, "that was too short a wait to say anything"
    assert chosen(task(latency_budget_ms=3500), at=at) == PEER
    at.speeds.silent(PEER, 1700.0)
    assert chosen(task(latency_budget_ms=3500), at=at) == BASELINE
