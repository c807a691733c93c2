"""Forecasts: what the model says of series whose course is known, and a back-test against the same hour last week."""

import math
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from asahi_billing.domain.forecast import HISTORY_HOURS, WEEK_HOURS, fit
from asahi_billing.domain.rollups import DAY_NS, HOUR_NS

START = 20_000 * DAY_NS
Course = Callable[[int, Random], float]


def _week(hour: int) -> float:
    """Office hours on working days, a little at night and on weekends."""
    of_day, day = hour % 24, hour // 24 % 7
    return 1.0 + 9.0 * math.exp(-(((of_day - 14) / 4) ** 2)) * (0.15 if day in (2, 3) else 1.0)


def steady(hour: int, random: Random) -> float:
    return _week(hour) * random.lognormvariate(0, 0.3)


def growing(hour: int, random: Random) -> float:
    return _week(hour) * (1 + hour / 2000) * random.lognormvariate(0, 0.3)


def stepping(hour: int, random: Random) -> float:
    return _week(hour) * (2.0 if hour // WEEK_HOURS % 5 >= 3 else 1.0) * random.lognormvariate(0, 0.3)


def spiky(hour: int, random: Random) -> float:
    return _week(hour) * (random.uniform(5, 15) if random.random() < 0.01 else random.lognormvariate(0, 0.5))


def sparse(hour: int, random: Random) -> float:
    return random.lognormvariate(0, 1) if random.random() < _week(hour) / 12 else 0.0


COURSES: dict[str, Course] = {
    "steady": steady, "growing": growing, "stepping": stepping, "spiky": spiky, "sparse": sparse
}  # fmt: skip


def _series(course: Course, seed: int, weeks: int) -> dict[int, float]:
    random = Random(seed)
    return {START + hour * HOUR_NS: course(hour, random) * 1e9 for hour in range(weeks * WEEK_HOURS)}


def back_test(course: Course, days: int) -> tuple[float, float, float]:
    """Absolute errors of the sum of `days` by what was spent, the model's and last week's; share within the band.

    Each of 8 series of 16 weeks is forecast from every second day of its last 8 weeks, knowing only what came before.
    """
    model_errors, naive_errors, spent, within, count = 0.0, 0.0, 0.0, 0, 0
    for seed in range(8):
        series = _series(course, seed, 16)
        for first_day in range(56, 112 - days, 2):
            now = START + first_day * DAY_NS
            end = now + days * DAY_NS
            seen = sum(series[hour] for hour in range(now, end, HOUR_NS))
            known = {hour: spend for hour, spend in series.items() if hour < now}
            amount = fit(known, now - HISTORY_HOURS * HOUR_NS, now).total(now, now, end)
            week = WEEK_HOURS * HOUR_NS
            naive = sum(series[now - week + (hour - now) % week] for hour in range(now, end, HOUR_NS))
            model_errors += abs(amount.expected - seen)
            naive_errors += abs(naive - seen)
            spent += seen
            within += amount.low <= seen <= amount.high
            count += 1
    return model_errors / spent, naive_errors / spent, within / count


Results = dict[int, dict[str, tuple[float, float, float]]]


@pytest.fixture(scope="module")
def results() -> Results:
    """By days and series."""
    return {days: {name: back_test(course, days) for name, course in COURSES.items()} for days in (1, 7, 28)}


@pytest.mark.parametrize("days", [1, 7, 28])
def test_the_model_beats_the_same_hour_last_week(results: Results, days: int) -> None:
    found = results[days]
    assert sum(model for model, _, _ in found.values()) < sum(naive for _, naive, _ in found.values())
    better = [name for name, (model, naive, _) in found.items() if model < naive]
    assert len(better) >= 4, found


def test_the_band_holds_about_eighty_of_a_hundred_outcomes(results: Results) -> None:
    shares = [within for found in results.values() for _, _, within in found.values()]
    assert 0.72 < sum(shares) / len(shares) < 0.88, shares


def test_the_page_shows_what_the_back_test_finds(results: Results) -> None:
    page = (Path(__file__).parents[3] / "docs" / "billing.md").read_text(encoding="utf-8")
    for days, found in results.items():
        for name, (model, naive, within) in found.items():
            row = f"| {name} | {days} | {100 * model:.1f} | {100 * naive:.1f} | {100 * within:.0f} |"
            assert row in page, row
