"""What analytics answer beyond sums: intervals, forecasts with budgets, anomalies, advice, exports."""

import asyncio
import tracemalloc
from datetime import timedelta
from random import Random

import pytest

from asahi.billing.v1.analytics_pb2 import ModelQuality
from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.policy_pb2 import BudgetWindow, CachePolicy, Policy, QualityPolicy
from asahi_billing.domain.rollups import DAY_NS, HOUR_NS
from asahi_billing.domain.store import Span
from asahi_core.errors import InvalidRequest
from services.billing.tests.analytics_books import analytics_of, hours, ns
from services.billing.tests.books import Books, budget, plan
from services.billing.tests.records import MODEL, NOON, ORGANIZATION, OTHER, PRICES, at, call, hit, usage

HOUR = 3600.0
WEEK_HOURS = 168
CENT = 10_000_000


def costing(number: int, hour: float, nanos: int, **fields: object) -> UsageRecord:
    """A call of a given price, some hours after noon."""
    return call(number, seconds=hour * HOUR, cost_nanos=nanos, price_version="other", **fields)  # type: ignore[arg-type]  # whatever a record has


async def weeks(books: Books, count: int, *, nanos: int = 100 * CENT, random: Random | None = None) -> None:
    """So many weeks up to noon in which each hour costs about as much, at night a fifth."""
    random = random or Random(1)
    records = []
    for hour in range(-count * WEEK_HOURS, 0):
        share = 0.2 if (hour + 12) % 24 < 6 else 1.0
        spent = round(nanos * share * random.uniform(0.9, 1.1))
        records.append(costing(hour + 100_000, hour + 0.5, spent, latency_ms=500.0))
    for first in range(0, len(records), 500):
        await books.ledger.record(records[first : first + 500])


async def test_intervals_are_full_hours_days_and_weeks_from_monday(books: Books) -> None:
    await books.ledger.record([call(1, seconds=-30 * HOUR), call(2), call(3, seconds=HOUR)])
    analytics = analytics_of(books)
    hourly = await analytics.trends(ORGANIZATION, hours(-31.5, 2), 1)
    assert len(hourly) == 34
    assert {start for start, _ in hourly} == {ns(NOON) + hour * HOUR_NS for hour in range(-32, 2)}
    assert [figures.requests for _, figures in hourly if figures.requests] == [1, 1, 1]
    daily = await analytics.trends(ORGANIZATION, hours(-31.5, 2), 24)
    assert [figures.requests for _, figures in daily] == [1, 2]
    assert all(start % DAY_NS == 0 for start, _ in daily)
    ((monday, week),) = await analytics.trends(ORGANIZATION, hours(-31.5, 2), 168)
    assert monday == ns(NOON.replace(hour=0) - timedelta(days=NOON.weekday()))
    assert week.requests == 3
    with pytest.raises(InvalidRequest, match="intervals"):
        await analytics.trends(ORGANIZATION, hours(0, 6000), 1)


async def test_a_forecast_follows_the_hours_of_the_week_and_says_when_budgets_run_out(books: Books) -> None:
    await weeks(books, 4)
    a_day = (18 + 6 * 0.2) * 100 * CENT
    monthly = budget(limit_nanos=round(3.5 * a_day), window=BudgetWindow.BUDGET_WINDOW_MONTH, blocks=False)
    ample = budget(limit_nanos=10**15, window=BudgetWindow.BUDGET_WINDOW_WEEK, blocks=False)
    of_users = budget("user", limit_nanos=1, blocks=False)
    await books.ledger.record([costing(1, -0.01, CENT)], [plan(monthly, ample, of_users)])
    found = await analytics_of(books).forecast(ORGANIZATION, 7 * DAY_NS)
    assert found.history_hours == 4 * WEEK_HOURS
    assert found.total.expected == pytest.approx(7 * a_day, rel=0.03)
    assert found.total.low < found.total.expected < found.total.high
    assert found.total.high - found.total.low < 0.3 * found.total.expected
    assert len(found.days) == 8
    assert sum(day.expected for _, day in found.days) == pytest.approx(found.total.expected)
    runs_out = {state.budget.window: at_ns for state, at_ns in found.budgets}
    assert len(found.budgets) == 2
    assert runs_out[BudgetWindow.BUDGET_WINDOW_WEEK] is None
    end = runs_out[BudgetWindow.BUDGET_WINDOW_MONTH]
    assert end is not None
    assert end == pytest.approx(ns(NOON) + 3.5 * DAY_NS, abs=6 * HOUR_NS)


async def test_a_budget_that_is_spent_runs_out_now(books: Books) -> None:
    await weeks(books, 1)
    spent = budget(limit_nanos=CENT, window=BudgetWindow.BUDGET_WINDOW_MONTH, blocks=False)
    await books.ledger.record([costing(1, -0.01, CENT)], [plan(spent)])
    found = await analytics_of(books).forecast(ORGANIZATION, DAY_NS)
    assert [at_ns for _, at_ns in found.budgets] == [ns(NOON)]


async def test_two_days_are_the_least_that_a_forecast_is_made_from(books: Books) -> None:
    await books.ledger.record([costing(n, -47 + n, CENT) for n in range(47)])
    found = await analytics_of(books).forecast(ORGANIZATION, DAY_NS)
    assert (found.history_hours, found.days, found.total.expected) == (47, [], 0)
    with pytest.raises(InvalidRequest):
        await analytics_of(books).forecast(ORGANIZATION, 91 * DAY_NS)


async def test_an_expensive_morning_is_an_anomaly_and_every_night_is_none(books: Books) -> None:
    await weeks(books, 5)
    usual, _ = await analytics_of(books).anomalies(ORGANIZATION, hours(-WEEK_HOURS, 0))
    assert usual == []
    await books.ledger.record([costing(n, -3.4 + n, 900 * CENT) for n in range(3)])
    (found,), enough = await analytics_of(books).anomalies(ORGANIZATION, hours(-24, 0))
    assert enough
    assert found.metric == "cost"
    assert found.span == hours(-4, -1)
    assert found.expected == pytest.approx(300 * CENT, rel=0.1)
    assert found.seen == pytest.approx(3000 * CENT, rel=0.1)
    assert found.deviations > 5


async def test_one_outlier_of_the_past_makes_no_other_hour_look_unusual(books: Books) -> None:
    await weeks(books, 5)
    await books.ledger.record([costing(1, -2 * WEEK_HOURS - 2.5, 50_000 * CENT)])
    found, _ = await analytics_of(books).anomalies(ORGANIZATION, hours(-WEEK_HOURS, 0))
    assert found == []


async def test_slow_and_failing_hours_are_anomalies_where_enough_was_asked(books: Books) -> None:
    await weeks(books, 5)
    slow = [costing(n, -2.5, 0, latency_ms=9000.0) for n in range(100)]
    failed = [costing(1000 + n, -1.5, 0, answered=False, error_code="provider_error") for n in range(50)]
    await books.ledger.record(slow + failed)
    found, _ = await analytics_of(books).anomalies(ORGANIZATION, hours(-24, 0))
    assert {one.metric: one.span for one in found} == {"latency": hours(-3, -2), "error_rate": hours(-2, -1)}
    by_metric = {one.metric: one for one in found}
    assert by_metric["latency"].expected == pytest.approx(500)
    assert by_metric["error_rate"].seen == pytest.approx(50 / 51, rel=0.05)


async def test_less_than_two_weeks_are_too_little_to_call_anything_unusual(books: Books) -> None:
    await weeks(books, 1)
    found, enough = await analytics_of(books).anomalies(ORGANIZATION, hours(-24, 0))
    assert (found, enough) == ([], False)


async def test_a_cheaper_model_of_equal_quality_is_recommended_with_its_price(books: Books) -> None:
    tokens = usage(input_tokens=10_000, output_tokens=5_000)
    records = [call(n, model="gpt-4o", task_type="chat", usage=tokens) for n in range(50)]
    await books.ledger.record(records)
    models = [
        ModelQuality(model="gpt-4o", quality_by_task={"chat": 4.0}),
        ModelQuality(model=MODEL, quality_by_task={"chat": 3.97}),
        ModelQuality(model="gpt-4.1-nano", quality_by_task={"chat": 2.0}),
    ]
    policy = Policy(quality=QualityPolicy(epsilon=0.01), cache=CachePolicy(tiers=[1], ttl_seconds=86_400))
    (advice,) = await analytics_of(books).recommendations(ORGANIZATION, hours(-1, 1), policy, models)
    cheaper = PRICES.cost_nanos(MODEL, tokens, at(0))
    assert cheaper is not None
    assert advice.kind == "cheaper_model"
    assert advice.saving_nanos == 50 * (records[0].cost_nanos - cheaper)
    assert advice.policy == {"allowed_models": [MODEL, "gpt-4.1-nano"]}
    assert MODEL in advice.title
    models[1].quality_by_task["chat"] = 3.9
    assert not await analytics_of(books).recommendations(ORGANIZATION, hours(-1, 1), policy, models)


async def test_what_a_cache_that_is_off_once_saved_is_told(books: Books) -> None:
    before = [hit(n, seconds=-30 * HOUR + n) if n % 4 == 0 else call(n, seconds=-30 * HOUR + n) for n in range(80)]
    await books.ledger.record(before + [call(1000 + n, seconds=n) for n in range(40)])
    policy = Policy(cache=CachePolicy(tiers=[2]))
    (advice,) = await analytics_of(books).recommendations(ORGANIZATION, hours(0, 1), policy, [])
    assert advice.kind == "enable_cache"
    assert advice.saving_nanos == round(0.25 * 40 * call().cost_nanos)
    assert advice.policy == {"cache": {"tiers": [1, 2]}}


async def test_short_times_to_live_orphans_and_unknown_prices_are_told(books: Books) -> None:
    records = [
        *(hit(n) for n in range(3)),
        call(10, price_unknown=True, model="nobody-knows", cost_nanos=0),
        costing(11, 0.01, 5 * CENT, answered=False, orphan=True),
    ]
    await books.ledger.record(records)
    policy = Policy(cache=CachePolicy(tiers=[1], ttl_seconds=60))
    found = await analytics_of(books).recommendations(ORGANIZATION, hours(-1, 1), policy, [])
    assert [(one.kind, one.saving_nanos) for one in found] == [
        ("orphans", 5 * CENT),
        ("longer_cache", None),
        ("unknown_price", None),
    ]
    assert found[1].policy == {"cache": {"ttl_seconds": 86_400}}
    assert "nobody-knows" in found[2].title


async def test_an_export_has_every_record_once_oldest_first_in_bounded_pages(books: Books) -> None:
    records = [call(n, seconds=float(n // 7)) for n in range(1400)]
    foreign = [call(2000, organization_id=OTHER)]
    for first in range(0, 1400, 700):
        await books.ledger.record(records[first : first + 700])
    await books.ledger.record(foreign)
    pages = [page async for page in analytics_of(books).export(ORGANIZATION, hours(-1, 1))]
    assert [len(page) for page in pages] == [500, 500, 400]
    found = [record for page in pages for record in page]
    assert found == sorted(found, key=lambda record: record.occurred_at.ToNanoseconds())
    assert {record.request_id for record in found} == {record.request_id for record in records}
    assert [page async for page in analytics_of(books).export(OTHER, Span(0, 10**9))] == []


async def test_an_export_takes_no_more_memory_when_there_is_more(books: Books) -> None:
    async def peak(until: float) -> int:
        tracemalloc.start()
        async for _ in analytics_of(books).export(ORGANIZATION, hours(-1, until)):
            await asyncio.sleep(0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    for first in range(0, 8000, 1000):
        await books.ledger.record([call(n, seconds=float(n)) for n in range(first, first + 1000)])
    await peak(0.3)
    assert await peak(3) < 1.5 * await peak(0.3)
