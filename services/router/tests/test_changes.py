"""A model that gets worse is found by its outcomes, soon, and one that does not is seldom taken for it."""

import numpy as np

from asahi_router.domain.learning.changes import fallen_since

_LOOKS = 5
"""Outcomes between two looks: every one of them might be a false alarm."""


def first_alarm(scores: np.ndarray, since: int = 20) -> int | None:
    """Outcomes that there were at the first alarm; None: there was none."""
    return next((n for n in range(since, len(scores) + 1, _LOOKS) if fallen_since(scores[:n])), None)


def test_looked_at_all_the_time_a_steady_model_gives_a_false_alarm_in_fewer_than_three_of_a_hundred_months() -> None:
    random, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        quality = random.uniform(0.5, 0.98)
        alarms += first_alarm((random.random(300) < quality).astype(float)) is not None
    assert alarms <= 6


def test_a_fall_by_a_quarter_is_found_within_eighty_outcomes_and_placed_where_it_was() -> None:
    random, late, places = np.random.default_rng(1), [], []
    for _ in range(40):
        scores = np.concatenate([random.random(200) < 0.85, random.random(200) < 0.6]).astype(float)
        at = first_alarm(scores, since=200)
        late.append((at or 10**6) - 200)
        places.append(fallen_since(scores[:at]))
    assert np.median(late) < 80
    assert abs(np.median(places) - 200) < 10


def test_a_model_that_gets_better_keeps_its_outcomes() -> None:
    assert fallen_since(np.array([0.0] * 40 + [1.0] * 60)) == 0


def test_few_outcomes_say_nothing() -> None:
    assert fallen_since(np.array([1.0] * 10 + [0.0] * 9)) == 0


def test_scores_between_nought_and_one_are_taken_as_they_are() -> None:
    assert fallen_since(np.array([0.9] * 60 + [0.2] * 40)) == 60
