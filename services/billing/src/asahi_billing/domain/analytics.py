"""Analytics as callers know it: figures over a time, of one organisation, by dimension and by interval."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asahi.billing.v1.analytics_pb2 import ModelQuality
from asahi.billing.v1.billing_pb2 import BudgetState, UsageRecord
from asahi.type.v1.policy_pb2 import Policy
from asahi_billing.domain import anomalies, forecast
from asahi_billing.domain.advice import Advice, Usages, advise
from asahi_billing.domain.analytics_store import AnalyticsStore, Latencies
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.rollups import ALL, DAY_NS, HOUR_NS, PLAIN, TAG, WORK, work_of
from asahi_billing.domain.spending import Spending
from asahi_billing.domain.store import Span
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest
from asahi_core.prices import Books

MOST_GROUPS = 1000
_DEFAULT_GROUPS = 100
_LONGEST_NS = 400 * DAY_NS
_LONGEST_HORIZON_NS = 90 * DAY_NS
_INTERVALS = (1, 24, 168)
_MOST_POINTS = 5000
_MONDAY_NS = 4 * DAY_NS
"""The first Monday after 1970 began."""
_MOST_SEARCHED_NS = 92 * DAY_NS
_BEFORE_NS = 90 * DAY_NS
_TAG_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Figures by value, dearest first."""

    groups: Sequence[tuple[str, Figures]]
    rest: Sequence[Figures]
    """Of the values beyond the limit."""
    total: Figures


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected spend."""

    span: Span
    total: forecast.Amount
    days: Sequence[tuple[int, forecast.Amount]]
    """By the beginning of each day or part of one."""
    budgets: Sequence[tuple[BudgetState, int | None]]
    """The organisation's, with when (ns since 1970) each runs out; None: not in its window or the horizon."""
    history_hours: int


class Analytics:
    """Asks an `AnalyticsStore`. Raises what that raises, and InvalidRequest for what cannot be asked."""

    def __init__(self, store: AnalyticsStore, spending: Spending, prices: Books, clock: Clock) -> None:
        self._store = store
        self._spending = spending
        self._prices = prices
        self._clock = clock

    async def breakdown(self, organization_id: str, span: Span, group_by: str, limit: int) -> Breakdown:
        """Figures by a dimension, of at most `limit` values (0: 100)."""
        _check(organization_id, span)
        if not 0 <= limit <= MOST_GROUPS:
            raise InvalidRequest(f"limit is {limit}; it takes 1 to {MOST_GROUPS}, or 0 for 100.", param="limit")
        named = group_by.removeprefix(TAG)
        if group_by not in PLAIN and not (group_by.startswith(TAG) and _TAG_NAME.fullmatch(named)):
            accepted = ", ".join((*PLAIN, "tag:NAME"))
            raise InvalidRequest(f"group_by: {group_by[:80]!r} is none of {accepted}.", param="group_by")
        found = await self._store.by_value(organization_id, group_by, span)
        ordered = sorted(found.items(), key=lambda one: (-one[1].cost_nanos, -one[1].requests, one[0]))
        kept = limit or _DEFAULT_GROUPS
        total = Figures()
        for _, figures in ordered:
            total.add(figures)
        return Breakdown(ordered[:kept], [figures for _, figures in ordered[kept:]], total)

    async def trends(self, organization_id: str, span: Span, interval_hours: int) -> list[tuple[int, Figures]]:
        """Figures by the beginning of each interval, empty ones included."""
        _check(organization_id, span)
        if interval_hours not in _INTERVALS:
            message = f"interval_hours is {interval_hours}; it takes 1, 24 or 168."
            raise InvalidRequest(message, param="interval_hours")
        width = interval_hours * HOUR_NS
        offset = _MONDAY_NS if interval_hours == 168 else 0
        first = span.start_ns - (span.start_ns - offset) % width
        if (span.end_ns - first) // width >= _MOST_POINTS:
            message = f"The time has more than {_MOST_POINTS} intervals; take longer ones."
            raise InvalidRequest(message, param="interval_hours")
        points = {start: Figures() for start in range(first, span.end_ns, width)}
        found = await self._store.by_time(organization_id, span, days=interval_hours > 1)
        for start, figures in found.items():
            points[start - (start - offset) % width].add(figures)
        return list(points.items())

    async def latencies(self, organization_id: str, span: Span) -> tuple[Latencies | None, list[Latencies], Span]:
        """Latencies in all and by model and tier, most requests first, and the full hours that they are of."""
        _check(organization_id, span)
        hours = _hours(span)
        overall, groups = await self._store.latencies(organization_id, hours)
        groups.sort(key=lambda group: (-group.requests, group.model, group.tier))
        return overall, groups, hours

    async def forecast(self, organization_id: str, horizon_ns: int) -> Forecast:
        """Expected spend over the next `horizon_ns`."""
        _check_organization(organization_id)
        if not HOUR_NS <= horizon_ns <= _LONGEST_HORIZON_NS:
            raise InvalidRequest("horizon is outside 1 hour to 90 days.", param="horizon")
        now = self._now()
        last = now - now % HOUR_NS
        history = Span(last - forecast.HISTORY_HOURS * HOUR_NS, last)
        figures = await self._store.by_time(organization_id, history)
        first = min(figures, default=last)
        known_hours = (last - first) // HOUR_NS
        spend = {hour: float(found.cost_nanos) for hour, found in figures.items()}
        enough = known_hours >= forecast.LEAST_HOURS
        model = forecast.fit(spend, first, last) if enough else None
        span = Span(now, now + horizon_ns)
        budgets = await self._spending.budgets(organization_id, "", "")
        own = [state for state in budgets if state.budget.per == "organization" and not state.api_key_id]
        return Forecast(
            span,
            model.total(last, span.start_ns, span.end_ns) if model else forecast.Amount(0, 0, 0),
            [(part.start_ns, model.total(last, part.start_ns, part.end_ns)) for part in _days(span)] if model else [],
            [(state, _runs_out(state, model, last, span) if model else None) for state in own],
            known_hours,
        )

    async def anomalies(self, organization_id: str, span: Span) -> tuple[list[anomalies.Anomaly], bool]:
        """What is unusual about the full hours within `span`; False: there is too little to compare them with."""
        _check(organization_id, span)
        if span.end_ns - span.start_ns > _MOST_SEARCHED_NS:
            raise InvalidRequest("Anomalies are looked for in at most 92 days; ask for fewer.", param="start_time")
        end = min(span.end_ns, self._now())
        hours = range(span.start_ns - span.start_ns % HOUR_NS, end - end % HOUR_NS, HOUR_NS)
        if not hours:
            return [], True
        before = Span(hours[0] - anomalies.HISTORY_WEEKS * anomalies.WEEK_NS - HOUR_NS, hours[-1] + HOUR_NS)
        figures = await self._store.by_time(organization_id, before)
        first = min(figures, default=hours[-1])
        enough = first + anomalies.LEAST_WEEKS * anomalies.WEEK_NS <= hours[-1]
        if not enough:
            return [], False
        return await asyncio.to_thread(anomalies.anomalies, figures, hours, first), True

    async def recommendations(
        self, organization_id: str, span: Span, policy: Policy | None, models: Sequence[ModelQuality]
    ) -> list[Advice]:
        """Changes worth money, by what `span` says (in full hours)."""
        _check(organization_id, span)
        hours = _hours(span)
        earlier = Span(hours.start_ns - _BEFORE_NS, hours.start_ns)
        work = await self._store.by_value(organization_id, WORK, hours)
        usages = Usages(
            total=(await self._store.by_value(organization_id, ALL, hours)).get("", Figures()),
            before=(await self._store.by_value(organization_id, ALL, earlier)).get("", Figures()),
            by_work={work_of(value): figures for value, figures in work.items()},
            by_model=await self._store.by_value(organization_id, "model", hours),
        )
        return advise(usages, policy, models, self._prices.of(organization_id), self._clock.now())

    def export(self, organization_id: str, span: Span) -> AsyncIterator[Sequence[UsageRecord]]:
        """Every record of `span`, oldest first, some at a time."""
        _check(organization_id, span)
        return self._store.export(organization_id, span)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000_000)


def _runs_out(state: BudgetState, model: forecast.Model, known_until_ns: int, span: Span) -> int | None:
    """When the budget's limit is expected to be reached; what calls under way hold is taken for spent."""
    left = float(state.left_nanos)
    if left <= 0:
        return span.start_ns
    end = min(span.end_ns, state.window_end.ToNanoseconds())
    at = span.start_ns
    for hour, share in forecast.hours_of(span.start_ns, end):
        spent = model.hour(hour, (hour - known_until_ns) / DAY_NS + 0.5) * share
        if spent and spent >= left:
            return round(at + left / spent * share * HOUR_NS)
        left -= spent
        at += round(share * HOUR_NS)
    return None


def _days(span: Span) -> list[Span]:
    bounds = [span.start_ns, *range(span.start_ns - span.start_ns % DAY_NS + DAY_NS, span.end_ns, DAY_NS), span.end_ns]
    return [Span(start, end) for start, end in pairwise(bounds)]


def _hours(span: Span) -> Span:
    """The full hours that a time touches."""
    return Span(span.start_ns - span.start_ns % HOUR_NS, -(-span.end_ns // HOUR_NS) * HOUR_NS)


def _check(organization_id: str, span: Span) -> None:
    _check_organization(organization_id)
    if not 0 <= span.start_ns <= span.end_ns:
        raise InvalidRequest("end_time is before start_time; it must not be.", param="end_time")
    if span.end_ns - span.start_ns > _LONGEST_NS:
        raise InvalidRequest("The time is longer than 400 days; ask for a shorter one.", param="start_time")


def _check_organization(organization_id: str) -> None:
    if not organization_id:
        raise InvalidRequest("organization_id is missing: figures are of one organisation.", param="organization_id")
