"""What will be spent: the share of each hour of the week, times a level that follows the days.

The model, stated so that it can be done by hand:

1. Profile: of the last eight weeks, the mean spend of each hour of the week (UTC), divided by the mean of all hours;
   with less than two weeks, of each hour of the day. Each is drawn towards 1 as if a week of even spend came first.
2. Level: for each full day, spend divided by what the profile gives for the day; smoothed, `level += 0.3 × (day −
   level)`, from the mean of the first week on. It does not trend: it stays where it is (damped fully).
3. Expected spend of an hour is level × profile.
4. Band: σ is the root mean square of the level's one-day errors. The sum of n days errs by σ √(Σ (1 + 0.3 (n − k))²),
   k = 1 … n, as the sum of a smoothed level does; ± 1.2816 of it holds 80 of 100 outcomes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from asahi_billing.domain.rollups import DAY_NS, HOUR_NS

WEEK_HOURS = 168
HISTORY_HOURS = 8 * WEEK_HOURS
LEAST_HOURS = 48
_SMOOTHING = 0.3
_BAND = 1.2816
_TWO_WEEKS = 2 * WEEK_HOURS


@dataclass(frozen=True, slots=True)
class Amount:
    """Nano-dollars: expected, and what one outcome in ten is below and above."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model of spend."""

    profile: tuple[float, ...]
    """Of each hour of the week, from Thursday 0:00 UTC (as 1970 began); mean about 1."""
    level: float
    """Nano-dollars an hour."""
    sigma: float
    """Root mean square of the level's errors over a day, nano-dollars an hour."""

    def hour(self, start_ns: int) -> float:
        """Expected nano-dollars of the hour that begins at `start_ns`."""
        return self.level * self.profile[start_ns // HOUR_NS % WEEK_HOURS]

    def total(self, start_ns: int, end_ns: int) -> Amount:
        """Expected spend from one instant to another, with its band."""
        expected = sum(self.hour(hour) * share for hour, share in hours_of(start_ns, end_ns))
        days = (end_ns - start_ns) / DAY_NS
        whole = max(1, round(days))
        variance = sum((1 + _SMOOTHING * (whole - k)) ** 2 for k in range(1, whole + 1))
        spread = _BAND * self.sigma * 24 * math.sqrt(variance) * min(1.0, days / whole)
        return Amount(expected, max(0.0, expected - spread), expected + spread)


def hours_of(start_ns: int, end_ns: int) -> list[tuple[int, float]]:
    """The hours that a time touches, each with the share of it that is within."""
    hours = []
    hour = start_ns - start_ns % HOUR_NS
    while hour < end_ns:
        within = min(end_ns, hour + HOUR_NS) - max(start_ns, hour)
        hours.append((hour, within / HOUR_NS))
        hour += HOUR_NS
    return hours


def fit(spend: Mapping[int, float], start_ns: int, end_ns: int) -> Model:
    """A model of `spend`, nano-dollars by full hour, from one full hour to another; what is missing is 0."""
    hours = range(start_ns, end_ns, HOUR_NS)
    profile = _profile(spend, hours)
    days = _days(spend, profile, hours)
    if not days:
        return Model(profile, 0.0, 0.0)
    first = days[:7]
    level, squares = sum(first) / len(first), list[float]()
    for day in days:
        squares.append((day - level) ** 2)
        level += _SMOOTHING * (day - level)
    return Model(profile, level, math.sqrt(sum(squares) / len(squares)))


def _profile(spend: Mapping[int, float], hours: range) -> tuple[float, ...]:
    mean = sum(spend.get(hour, 0.0) for hour in hours) / len(hours) if hours else 0.0
    if not mean:
        return (1.0,) * WEEK_HOURS
    period = WEEK_HOURS if len(hours) >= _TWO_WEEKS else 24
    sums, counts = [mean] * period, [1] * period
    for hour in hours:
        slot = hour // HOUR_NS % period
        sums[slot] += spend.get(hour, 0.0)
        counts[slot] += 1
    shares = [total / count / mean for total, count in zip(sums, counts, strict=True)]
    return tuple(shares[slot % period] for slot in range(WEEK_HOURS))


def _days(spend: Mapping[int, float], profile: tuple[float, ...], hours: range) -> list[float]:
    """The level of each run of 24 hours that ends where `hours` do, oldest first."""
    levels = []
    for first in range(len(hours) % 24, len(hours), 24):
        day = hours[first : first + 24]
        share = sum(profile[hour // HOUR_NS % WEEK_HOURS] for hour in day)
        levels.append(sum(spend.get(hour, 0.0) for hour in day) / share if share else 0.0)
    return levels
