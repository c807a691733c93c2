"""What will be spent: the share of each hour of the week, times a level that follows the days.

The model, stated so that it can be done by hand:

1. Profile: of the last eight weeks, the mean spend of each hour of the week (UTC), divided by the mean of all hours;
   with less than two weeks, of each hour of the day. Each is drawn towards 1 as by a quarter of a week of even spend.
2. Level and trend: for each full day, spend divided by what the profile gives for the day. The level begins as the
   mean of the first week, the trend as 0. Expected is `level + 0.98 trend`; by a day's error e, the level becomes
   `expected + a e` and the trend `0.98 trend + a b e` (exponential smoothing with a damped trend), with those a of
   0.05, 0.1, 0.2, 0.3, 0.5 and b of 0, 0.05, 0.1 whose errors from one day to the next are least.
3. Expected spend of an hour, d days on, is (level + (0.98 + … + 0.98^d) trend) × profile.
4. Band: σ is the root mean square of those errors. An error of one day moves the j-th day after it by
   `a (1 + b (0.98 + … + 0.98^j))`; the variance of a sum of days is σ² times the squares of what each error moves in
   it. ± 1.2816 standard deviations hold 80 of 100 outcomes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from asahi_billing.domain.rollups import DAY_NS, HOUR_NS

WEEK_HOURS = 168
HISTORY_HOURS = 8 * WEEK_HOURS
LEAST_HOURS = 48
_SMOOTHINGS = (0.05, 0.1, 0.2, 0.3, 0.5)
_TREND_SMOOTHINGS = (0.0, 0.05, 0.1)
_DAMPING = 0.98
_EVEN_WEEKS = 0.25
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
    """A fitted model of spend; amounts are nano-dollars an hour."""

    profile: tuple[float, ...]
    """Of each hour of the week, from Thursday 0:00 UTC (as 1970 began); mean about 1."""
    level: float = 0.0
    """As of the end of what is known."""
    trend: float = 0.0
    """What the level grows by in a day, at first."""
    sigma: float = 0.0
    """Root mean square of the level's errors from one day to the next."""
    smoothing: float = 0.0
    """How far the level follows a day, 0 to 1."""
    trend_smoothing: float = 0.0
    """How far the trend follows the level, 0 to 1."""

    def hour(self, start_ns: int, days: float) -> float:
        """Expected nano-dollars of the hour that begins at `start_ns`, `days` after what is known."""
        level = max(0.0, self.level + self.trend * _damped(days))
        return level * self.profile[start_ns // HOUR_NS % WEEK_HOURS]

    def total(self, known_until_ns: int, start_ns: int, end_ns: int) -> Amount:
        """Expected spend from one instant to another, with its band."""
        expected = sum(
            self.hour(hour, (hour - known_until_ns) / DAY_NS + 0.5) * share
            for hour, share in hours_of(start_ns, end_ns)
        )
        days = (end_ns - start_ns) / DAY_NS
        before, whole = round((start_ns - known_until_ns) / DAY_NS), max(1, round(days))
        spread = _BAND * self.sigma * 24 * math.sqrt(self._variance(before, whole)) * min(1.0, days / whole)
        return Amount(expected, max(0.0, expected - spread), expected + spread)

    def _variance(self, before: int, days: int) -> float:
        """Of the sum of `days` that begin `before` days after what is known, in variances of a day's error."""
        carried = [self.smoothing * (1 + self.trend_smoothing * _damped(ahead)) for ahead in range(1, before + days)]
        total = 0.0
        for shock in range(before + days):
            later = carried[max(0, before - shock - 1) : before + days - shock - 1]
            total += ((shock >= before) + sum(later)) ** 2
        return total


def _damped(days: float) -> float:
    """What a trend of 1 a day adds up to in `days`."""
    return _DAMPING * (1 - math.pow(_DAMPING, days)) / (1 - _DAMPING)


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
        return Model(profile)
    fitted = (_smoothed(days, profile, level, trend) for level in _SMOOTHINGS for trend in _TREND_SMOOTHINGS)
    return min(fitted, key=lambda model: model.sigma)


def _smoothed(days: list[float], profile: tuple[float, ...], smoothing: float, trend_smoothing: float) -> Model:
    first = days[:7]
    level, trend, squares = sum(first) / len(first), 0.0, 0.0
    for day in days:
        expected = level + _DAMPING * trend
        error = day - expected
        squares += error**2
        level = expected + smoothing * error
        trend = _DAMPING * trend + smoothing * trend_smoothing * error
    return Model(profile, level, trend, math.sqrt(squares / len(days)), smoothing, trend_smoothing)


def _profile(spend: Mapping[int, float], hours: range) -> tuple[float, ...]:
    mean = sum(spend.get(hour, 0.0) for hour in hours) / len(hours) if hours else 0.0
    if not mean:
        return (1.0,) * WEEK_HOURS
    period = WEEK_HOURS if len(hours) >= _TWO_WEEKS else 24
    sums, counts = [mean * _EVEN_WEEKS] * period, [_EVEN_WEEKS] * period
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
