"""Hours unlike the same hours of the weeks before: medians and median deviations, which no single outlier moves.

An hour is compared with the same hour of the week, and the two beside it, in each of the eight weeks before: up to 24
values. It is unusual when it is more than five robust standard deviations (1.4826 × the median absolute deviation, at
least a tenth of the median) from their median, and the difference is large enough to matter. Unusual hours on the same
side that follow each other are one anomaly.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from asahi_billing.domain.figures import Figures
from asahi_billing.domain.rollups import HOUR_NS
from asahi_billing.domain.store import Span

WEEK_NS = 168 * HOUR_NS
HISTORY_WEEKS = 8
LEAST_WEEKS = 2
_DEVIATIONS = 5.0
_LEAST_SPREAD = 0.1
_LEAST_COST_NANOS = 10_000_000
_LEAST_LATENCY_MS = 50.0
_LEAST_ERRORS = 0.02
_LEAST_EVENTS = 20


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Unusual hours that follow each other."""

    metric: str
    span: Span
    expected: float
    seen: float
    deviations: float


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    value: Callable[[Figures], float]
    weight: Callable[[Figures], int]
    """How many events the value is a mean of; 0: it is a sum."""
    least_difference: float


def _attempts(figures: Figures) -> int:
    return max(figures.calls, figures.requests + figures.errors)


_METRICS = (
    _Metric("cost", lambda f: float(f.cost_nanos), lambda _: 0, _LEAST_COST_NANOS),
    _Metric(
        "latency", lambda f: f.latency_ms / f.requests if f.requests else 0.0, lambda f: f.requests, _LEAST_LATENCY_MS
    ),
    _Metric("error_rate", lambda f: f.errors / _attempts(f) if _attempts(f) else 0.0, _attempts, _LEAST_ERRORS),
)


@dataclass(frozen=True, slots=True)
class _Odd:
    hour: int
    expected: float
    seen: float
    deviations: float
    weight: int


def anomalies(figures: Mapping[int, Figures], hours: Iterable[int], first_hour: int) -> list[Anomaly]:
    """What is unusual about `hours`, latest first. `figures` are of full hours since `first_hour`; missing ones: 0."""
    wanted = list(hours)
    found = [one for metric in _METRICS for one in _runs(metric, figures, wanted, first_hour)]
    return sorted(found, key=lambda one: (-one.span.start_ns, one.metric))


def _runs(metric: _Metric, figures: Mapping[int, Figures], hours: list[int], first_hour: int) -> list[Anomaly]:
    runs: list[list[_Odd]] = []
    for hour in hours:
        odd = _odd(metric, figures, hour, first_hour)
        if odd is None:
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and last.hour + HOUR_NS == hour and (last.deviations > 0) == (odd.deviations > 0):
            runs[-1].append(odd)
        else:
            runs.append([odd])
    return [_anomaly(metric, run) for run in runs]


def _odd(metric: _Metric, figures: Mapping[int, Figures], hour: int, first_hour: int) -> _Odd | None:
    figure = figures.get(hour, Figures())
    weight = metric.weight(figure)
    is_mean = metric.name != "cost"
    if is_mean and weight < _LEAST_EVENTS:
        return None
    before = []
    for week in range(1, HISTORY_WEEKS + 1):
        for beside in (-1, 0, 1):
            at = hour - week * WEEK_NS + beside * HOUR_NS
            known = figures.get(at, Figures())
            if at >= first_hour and (not is_mean or metric.weight(known)):
                before.append(metric.value(known))
    if len(before) < 3 * LEAST_WEEKS - 1:
        return None
    expected = median(before)
    spread = max(1.4826 * median(abs(value - expected) for value in before), _LEAST_SPREAD * expected)
    seen = metric.value(figure)
    if abs(seen - expected) < metric.least_difference:
        return None
    spread = max(spread, metric.least_difference / _DEVIATIONS)
    deviations = (seen - expected) / spread
    return _Odd(hour, expected, seen, deviations, weight) if abs(deviations) > _DEVIATIONS else None


def _anomaly(metric: _Metric, run: list[_Odd]) -> Anomaly:
    """Sums add up over the hours, means are weighted by what they are means of."""
    weight = sum(odd.weight for odd in run)
    worst = max((odd.deviations for odd in run), key=abs)
    span = Span(run[0].hour, run[-1].hour + HOUR_NS)
    if metric.name == "cost":
        return Anomaly(metric.name, span, sum(odd.expected for odd in run), sum(odd.seen for odd in run), worst)
    expected, seen = (
        sum(value * odd.weight for odd, value in zip(run, values, strict=True)) / weight
        for values in ([odd.expected for odd in run], [odd.seen for odd in run])
    )
    return Anomaly(metric.name, span, expected, seen, worst)
