"""Rollups say what the records say: over any time, by any dimension, on both databases, in any order of arrival."""

from dataclasses import asdict
from random import Random
from typing import Any

import pytest
from alembic import command
from sqlalchemy import func, select

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.analytics_store import QUANTILES
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.rollups import MOST_VALUES, bounded
from asahi_billing.domain.store import Span
from asahi_billing.stores.analytics import SqlAnalytics
from asahi_billing.stores.opening import SCHEMA
from asahi_billing.stores.rollup_tables import ROLLUPS, SKETCHES
from asahi_core.errors import InvalidRequest
from asahi_core.sql.schema import alembic_config
from services.billing.tests.analytics_books import added_up, analytics_of, hours
from services.billing.tests.books import Books
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, call, compared, hit

FIELDS = {
    "model": "model",
    "provider": "provider",
    "task_type": "task_type",
    "user": "user_id",
    "api_key": "api_key_id",
}
HOUR = 3600.0


def some_records(count: int, random: Random) -> list[UsageRecord]:
    """Of five days, on either side of noon, out of order."""
    records = []
    for number in range(count):
        fields: dict[str, Any] = {
            "seconds": random.uniform(-60, 60) * HOUR,
            "user_id": random.choice(["", "ada", "bob"]),
            "api_key_id": random.choice(["key_1", "key_2"]),
            "task_type": random.choice(["", "chat", "code"]),
            "tags": {"team": random.choice(["search", "ads"])} if random.random() < 0.5 else {},
            "organization_id": OTHER if random.random() < 0.2 else ORGANIZATION,
        }
        kind = random.randrange(5)
        if kind == 0:
            record = hit(number, tier=random.choice([1, 2, 3]), latency_ms=random.uniform(1, 5), **fields)
        elif kind == 1:
            record = call(number, answered=False, error_code="provider_error", **fields)
        elif kind == 2:
            record = call(number, price_unknown=True, model="nobody-knows", cost_nanos=0, **fields)
        else:
            record = compared(call(number, latency_ms=random.lognormvariate(6, 1), **fields), {"routing": 1000})
        records.append(record)
        if kind == 3:
            records.append(call(number, 2, **fields))
    return records


def plain(found: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Comparable: without values that nothing is of, milliseconds about."""
    told = {value: asdict(figures) | {"latency_ms": 0.0, "saved_nanos": 0} for value, figures in found.items()}
    return {value: figures for value, figures in told.items() if any(figures.values())}


@pytest.mark.parametrize("seed", range(3))
async def test_any_time_by_any_dimension_is_what_the_records_add_up_to(books: Books, seed: int) -> None:
    random = Random(seed)
    records = some_records(300, random)
    sent = list(records)
    while sent:
        size = random.randint(1, 60)
        await books.ledger.record(sent[:size])
        await books.ledger.record(sent[:1])
        sent = sent[size:]
    store = SqlAnalytics(books.store)
    spans = [hours(*sorted(random.uniform(-70, 70) for _ in range(2))) for _ in range(6)]
    for span in [*spans, hours(-72, 72), hours(0, 0), hours(3, 3.5), hours(-24, 24), hours(-60, 200), Span(0, 2**62)]:
        for dimension, field in FIELDS.items():
            found = await store.by_value(ORGANIZATION, dimension, span)
            expected = added_up(records, span, field)
            assert plain(found) == plain(expected), (dimension, span)
            assert all(type(value) is int for one in plain(found).values() for value in one.values() if value)
            latency = sum(figures.latency_ms for figures in found.values())
            assert latency == pytest.approx(sum(figures.latency_ms for figures in expected.values()))


async def test_the_summary_is_the_sum_of_every_breakdown_at_any_time(books: Books) -> None:
    random = Random(9)
    await books.ledger.record(some_records(200, random))
    for span in [*(hours(*sorted(random.uniform(-60, 60) for _ in range(2))) for _ in range(5)), hours(-72, 72)]:
        summary = await books.ledger.cost_summary(ORGANIZATION, span)
        total = (await analytics_of(books).breakdown(ORGANIZATION, span, "model", 0)).total
        assert summary.total_cost_nanos == total.cost_nanos
        assert summary.total_requests == total.requests
        assert sum(saving.nanos for saving in summary.savings) == total.savings_nanos
        trend = await analytics_of(books).trends(ORGANIZATION, span, 1)
        assert sum(figures.cost_nanos for _, figures in trend) == total.cost_nanos


async def test_a_tag_is_broken_down_by_its_values_and_counts_only_what_bears_it(books: Books) -> None:
    records = [call(n, tags={"team": "search" if n % 3 else "ads"}) for n in range(9)] + [call(20)]
    await books.ledger.record(records)
    for span in (hours(-1, 1), hours(0, 15 / 3600)):
        found = await analytics_of(books).breakdown(ORGANIZATION, span, "tag:team", 0)
        assert [(value, figures.requests) for value, figures in found.groups] == [("search", 6), ("ads", 3)]
        assert found.total.cost_nanos == 9 * call().cost_nanos


async def test_values_beyond_what_a_day_keeps_apart_are_summed_up_as_other(books: Books) -> None:
    for first in range(0, MOST_VALUES + 200, 400):
        await books.ledger.record([call(n, user_id=f"user {n}", seconds=1) for n in range(first, first + 400)])
    await books.ledger.record([call(n, user_id="user 7", seconds=2) for n in range(5000, 5003)])
    found = await SqlAnalytics(books.store).by_value(ORGANIZATION, "user", hours(-1, 1))
    assert len(found) == MOST_VALUES + 1
    assert found["other"].requests == 200
    assert found["user 7"].requests == 4
    names = [call(6000 + n, tags={f"name-{n:02}": "v"}, seconds=3) for n in range(12)]
    await books.ledger.record(names)
    store = SqlAnalytics(books.store)
    tags = [await store.by_value(ORGANIZATION, f"tag:name-{n:02}", hours(-1, 1)) for n in range(12)]
    assert [len(found) for found in tags] == [1] * 10 + [0] * 2


async def test_values_of_any_length_are_kept_apart(books: Books) -> None:
    long, longer = "u" * 5000 + "a", "u" * 5000 + "b"
    await books.ledger.record([call(1, user_id=long), call(2, user_id=longer), call(3, user_id="zero\0")])
    found = await SqlAnalytics(books.store).by_value(ORGANIZATION, "user", hours(-1, 1))
    assert set(found) == {bounded(long), bounded(longer), "zero\ufffd"}
    assert len(found) == 3


async def test_the_migration_makes_them_from_the_records_that_are_there(books: Books) -> None:
    await books.ledger.record(some_records(200, Random(5)))
    store = SqlAnalytics(books.store)
    span = hours(-72, 72)

    async def all_figures() -> list[object]:
        return [
            plain(await store.by_value(ORGANIZATION, dimension, span)) for dimension in (*FIELDS, "tag:team", "all")
        ]

    before, (overall, _) = await all_figures(), await store.latencies(ORGANIZATION, span)
    with books.writer.begin() as connection:
        config = alembic_config(connection, SCHEMA)
        command.downgrade(config, "0002")
        command.upgrade(config, "head")
    assert await all_figures() == before
    again, _ = await store.latencies(ORGANIZATION, span)
    assert overall is not None
    assert again is not None
    assert again.requests == overall.requests
    assert again.quantiles_ms == pytest.approx(overall.quantiles_ms, rel=0.01)


async def test_the_check_of_the_ledger_names_rollups_that_disagree(books: Books) -> None:
    await books.ledger.record([call(1), call(2, organization_id=OTHER)])
    await books.agree()
    with books.writer.begin() as connection:
        own = (ROLLUPS.c.organization_id == ORGANIZATION, ROLLUPS.c.dimension == "all", ROLLUPS.c.hours == 1)
        connection.execute(ROLLUPS.update().where(*own).values(cost_nanos=1))
    (found,) = (await books.spending.check("")).breaks
    assert (found.figure, found.organization_id) == ("rollups", ORGANIZATION)
    assert (found.expected_nanos, found.found_nanos) == (call().cost_nanos, 1)


async def test_what_is_refused_changes_no_rollup(books: Books) -> None:
    await books.break_on(call(2).request_id)
    with pytest.raises(Exception, match="ledger"):
        await books.ledger.record([call(1), call(2)])
    with books.writer.begin() as connection:
        for table in (ROLLUPS, SKETCHES):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


async def test_another_organization_sees_nothing_of_it(books: Books) -> None:
    await books.ledger.record([call(1), call(2, organization_id=OTHER)])
    analytics = analytics_of(books)
    found = await analytics.breakdown(OTHER, hours(-1, 1), "model", 0)
    assert found.total.requests == 1
    with pytest.raises(InvalidRequest):
        await analytics.breakdown("", hours(-1, 1), "model", 0)


async def test_percentiles_are_near_the_exact_ones(books: Books) -> None:
    random = Random(3)
    values = sorted(random.lognormvariate(6, 0.8) for _ in range(4000))
    shuffled = random.sample(values, len(values))
    records = [call(n, seconds=random.uniform(-30, 30) * HOUR, latency_ms=ms) for n, ms in enumerate(shuffled)]
    for first in range(0, len(records), 100):
        await books.ledger.record(records[first : first + 100])
    overall, (group,), covered = await analytics_of(books).latencies(ORGANIZATION, hours(-36, 36))
    assert overall is not None
    assert overall.requests == group.requests == 4000
    for share, found in zip(QUANTILES, overall.quantiles_ms, strict=True):
        assert values[int((share - 0.002) * 4000)] < found < values[int((share + 0.002) * 4000)], share
    assert covered == hours(-36, 36)
    assert NOON.minute == 0
