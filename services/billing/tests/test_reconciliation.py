"""The ledger beside the provider's bill: what agrees, and what is named when it does not."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
import structlog

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.billing.v1.reconciliation_pb2 import LineFault, Reconciliation, ReportFormat
from asahi.type.v1.usage_pb2 import ServiceTier, Usage, UsageDetails, UsageSource
from asahi_billing.domain.cost_reports.charges import BUCKETS
from asahi_billing.domain.cost_reports.reconciliation import Head, ReportDesk
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.reports import SqlReports
from asahi_core.errors import InvalidRequest, RequestTooLarge
from asahi_core.sql.databases import Database
from services.billing.tests.books import Books, open_books
from services.billing.tests.cost_reports import Row, anthropic, openai, openai_csv, pieces
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, PRICES, call

_FIELDS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
_OPENAI = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5-mini", "gpt-6-sol", "gpt-6-luna", "o3")
_KEYS = {"proj_a": "openai", "proj_b": "openai-two", "proj_c": "openai-three"}
_HEAD = Head(ORGANIZATION, "", {})
_TODAY = NOON.date()


class Reconciled:
    """A ledger, and a desk that compares it."""

    def __init__(self, books: Books, reports: ReportDesk) -> None:
        self.books = books
        self.reports = reports

    async def record(self, records: Sequence[UsageRecord]) -> None:
        for start in range(0, len(records), 1000):
            await self.books.ledger.record(records[start : start + 1000])

    async def compare(self, report: bytes, head: Head = _HEAD) -> Reconciliation:
        answer = await self.reports.import_report(head, pieces(report))
        return answer.reconciliation


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reconciled]:
    database: Database = request.getfixturevalue("database" if request.param == "sqlite" else "on_postgresql")
    async with open_books(database) as books:
        desk = Desk(database, books.clock, structlog.get_logger(), read_limit_s=60)
        yield Reconciled(books, ReportDesk(SqlReports(desk), lambda _: PRICES, books.clock))
        await desk.close()


def billed(records: Sequence[UsageRecord], keys: dict[str, str] | None = None) -> list[Row]:
    """What the provider bills for the calls, by day, model, kind of token and key: exact, rounded nowhere."""
    sums: dict[tuple[date, str, str, str], list[Decimal]] = {}
    for record in records:
        at = record.occurred_at.ToDatetime(UTC)
        rates = PRICES.rates(record.model, record.usage.input_tokens, at)
        assert rates is not None
        each = (rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.output)
        key = next((name for name, provider in (keys or {}).items() if provider == record.provider), "")
        for item, field, rate in zip(BUCKETS, _FIELDS, each, strict=True):
            tokens = getattr(record.usage, field)
            if tokens:
                found = sums.setdefault((at.date(), record.model, item, key), [Decimal(0), Decimal(0)])
                found[0] += Decimal(tokens * rate) / 10**15
                found[1] += tokens
    return [Row(*key[:3], dollars, int(tokens), key[3]) for key, (dollars, tokens) in sorted(sums.items())]


def traffic(days: int, calls: int, providers: Sequence[str] = ("openai",)) -> list[UsageRecord]:
    random = Random(7)
    return [
        call(
            number,
            seconds=-86_400 * random.randrange(days) - random.randrange(3600),
            model=random.choice(_OPENAI),
            provider=random.choice(providers),
            usage=Usage(
                input_tokens=random.randrange(1, 2000),
                cache_read_tokens=random.randrange(0, 500),
                output_tokens=random.randrange(1, 900),
                source=UsageSource.USAGE_SOURCE_PROVIDER,
            ),
        )
        for number in range(calls)
    ]


def named(result: Reconciliation) -> set[tuple[str, str, str, str]]:
    return {(line.day, line.model, line.item, LineFault.Name(line.fault)[11:].lower()) for line in result.worst}


async def test_a_report_of_all_calls_captures_everything_and_differs_by_nothing(desk: Reconciled) -> None:
    records = traffic(3, 300)
    await desk.record(records)
    result = await desk.compare(openai(billed(records)))
    assert result.reported_nanos
    assert result.captured_nanos == result.reported_nanos
    assert not result.worst
    assert result.agreeing_lines == result.lines > 50
    assert abs(result.reported_nanos - result.ledger_nanos) <= len(records)
    assert result.rounding_nanos == result.reported_nanos - result.ledger_nanos


async def test_of_thousands_of_rows_exactly_those_that_were_removed_or_repriced_are_named(desk: Reconciled) -> None:
    records = traffic(30, 4000, tuple(_KEYS.values()))
    await desk.record(records)
    rows = billed(records, _KEYS)
    random = Random(11)
    removed = random.sample(range(len(rows)), len(rows) // 100)
    changed = next(index for index in range(len(rows)) if index not in removed)
    report = [row.times("1.5") if index == changed else row for index, row in enumerate(rows) if index not in removed]
    result = await desk.compare(openai(report), Head(ORGANIZATION, "", _KEYS))
    assert len(rows) > 2000
    assert result.differing_lines == len(removed) + 1
    expected = {
        (str(rows[i].day), rows[i].model, rows[i].item, _KEYS[rows[i].key], "missing_in_report") for i in removed
    }
    row = rows[changed]
    expected.add((str(row.day), row.model, row.item, _KEYS[row.key], "price"))
    found = {
        (line.day, line.model, line.item, line.provider, LineFault.Name(line.fault)[11:].lower())
        for line in result.worst
    }
    assert found == expected
    (priced,) = [line for line in result.worst if line.fault == LineFault.LINE_FAULT_PRICE]
    assert list(priced.keys) == [row.key]
    assert result.price_difference_nanos == priced.reported_nanos - priced.ledger_nanos > 0
    assert result.captured_nanos == result.reported_nanos
    sizes = [abs(line.reported_nanos - line.ledger_nanos) for line in result.worst]
    assert sizes == sorted(sizes, reverse=True)


async def test_what_the_ledger_lacks_is_not_captured(desk: Reconciled) -> None:
    records = traffic(1, 100)
    await desk.record([record for record in records if record.model != "o3"])
    result = await desk.compare(openai(billed(records)))
    assert named(result) == {
        (str(_TODAY), "o3", item, "missing_in_ledger") for item in ("input", "cache_read", "output")
    }
    assert result.missing_in_ledger_nanos == sum(line.reported_nanos for line in result.worst)
    assert result.captured_nanos == result.reported_nanos - result.missing_in_ledger_nanos


async def test_tokens_that_differ_are_told_from_prices_that_differ(desk: Reconciled) -> None:
    records = [call(number, model="gpt-4o") for number in range(10)]
    await desk.record(records[:9])
    result = await desk.compare(openai(billed(records)))
    assert named(result) == {(str(_TODAY), "gpt-4o", item, "usage") for item in ("input", "output")}
    assert {(line.reported_tokens, line.ledger_tokens) for line in result.worst} == {(10_000, 9000), (5000, 4500)}
    assert result.captured_nanos == result.ledger_nanos


async def test_anthropics_report_is_in_cents_and_says_no_tokens(desk: Reconciled) -> None:
    tokens = Usage(
        input_tokens=100,
        cache_read_tokens=5000,
        cache_write_5m_tokens=700,
        output_tokens=90,
        source=UsageSource.USAGE_SOURCE_PROVIDER,
    )
    records = [
        call(number, model=model, provider="anthropic", usage=tokens)
        for number, model in enumerate(["claude-opus-4-5", "claude-haiku-4-5", "claude-haiku-4-5"])
    ]
    await desk.record(records)
    rows = billed(records)
    dated = [Row(row.day, f"{row.model}-20251001", row.item, row.dollars, key="wrkspc_1") for row in rows]
    good = await desk.compare(anthropic(dated))
    assert (good.differing_lines, good.lines, good.captured_nanos) == (0, 8, good.reported_nanos)
    bad = await desk.compare(anthropic([dated[0].times("0.5"), *dated[1:]]))
    assert named(bad) == {(str(_TODAY), dated[0].model, dated[0].item, "amount")}


async def test_a_csv_says_the_same_as_json(desk: Reconciled) -> None:
    records = traffic(2, 50)
    await desk.record(records)
    answer = await desk.reports.import_report(_HEAD, pieces(openai_csv(billed(records))))
    assert answer.format == ReportFormat.REPORT_FORMAT_OPENAI
    assert answer.reconciliation.agreeing_lines == answer.reconciliation.lines > 10


async def test_the_same_report_again_changes_nothing_and_a_later_one_takes_its_place(desk: Reconciled) -> None:
    records = traffic(1, 20)
    await desk.record(records)
    rows = billed(records)
    partial = openai(rows[:-1])
    first = await desk.reports.import_report(_HEAD, pieces(partial))
    again = await desk.reports.import_report(_HEAD, pieces(partial, 7))
    assert (first.known, again.known) == (False, True)
    assert first.import_id == again.import_id
    assert first.reconciliation.differing_lines == again.reconciliation.differing_lines == 1
    assert not (await desk.compare(openai(rows))).differing_lines
    stale = await desk.reports.import_report(_HEAD, pieces(partial))
    assert stale.known
    now = await desk.reports.reconciliation(ORGANIZATION, NOON - timedelta(hours=12), NOON + timedelta(hours=1))
    assert not now.differing_lines
    assert [(used.days, used.import_id == first.import_id) for used in now.reports] == [(1, False)]


async def test_a_report_is_held_against_its_organizations_ledger_alone(desk: Reconciled) -> None:
    mine, others = [call(1), call(2)], [call(3, organization_id=OTHER)]
    await desk.record([*mine, *others])
    own = await desk.compare(openai(billed(mine)))
    assert not own.differing_lines
    foreign = await desk.reports.reconciliation(OTHER, NOON - timedelta(days=1), NOON + timedelta(days=1))
    assert not foreign.lines
    everybody = await desk.compare(openai(billed([*mine, *others])), Head("", "", {}))
    assert (everybody.differing_lines, everybody.lines) == (0, 2)


async def test_days_without_charges_are_covered_and_other_days_are_not_compared(desk: Reconciled) -> None:
    yesterday = _TODAY - timedelta(days=1)
    await desk.record([call(1), call(2, seconds=-86_400), call(3, seconds=-2 * 86_400)])
    result = await desk.compare(openai(billed([call(1)]), yesterday))
    assert named(result) == {(str(yesterday), "gpt-4o-mini", item, "missing_in_report") for item in ("input", "output")}


async def test_calls_that_cannot_be_split_are_compared_as_a_whole(desk: Reconciled) -> None:
    plain, flex = call(1, model="o3"), call(2, model="o3")
    flex.usage.details.CopyFrom(UsageDetails(service_tier=ServiceTier.SERVICE_TIER_FLEX))
    flex.cost_nanos = PRICES.cost_nanos("o3", flex.usage, NOON) or 0
    await desk.record([plain, flex])
    whole = Decimal(plain.cost_nanos + flex.cost_nanos) / 10**9
    row = Row(_TODAY, "o3", "output", whole, 1000)
    assert not (await desk.compare(openai([row]))).differing_lines
    assert named(await desk.compare(openai([row.times("2")]))) == {(str(_TODAY), "o3", "", "amount")}


async def test_orphans_and_calls_without_a_price_are_told(desk: Reconciled) -> None:
    lost = call(1, orphan=True, answered=False)
    await desk.record([lost, call(2, model="gpt-4o", price_unknown=True)])
    result = await desk.compare(openai(billed([lost])))
    assert (result.orphans, result.orphan_nanos, result.price_unknown_calls) == (1, lost.cost_nanos, 1)
    assert [(one.request_id, one.attempt) for one in result.orphan_calls] == [(lost.request_id, 1)]


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{}", "covers no day"),
        (b'{"data": [', "ends too early"),
        (b'{"data": [1]}', "no bucket"),
        (b'{"data": [{"start_time": "soon"}]}', "data[0].start_time: 'soon' is no time"),
        (b'{"data": [{"start_time": 1730419200, "end_time": 1730422800, "results": []}]}', "no whole day"),
        (b'{"data": [{"start_time": 1730419200}]}', "data[0].results is missing"),
        (
            b'{"data": [{"start_time": 1730419200, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}',
            "'eur' is not usd",
        ),
        (b'{"data": [{"start_time": 1730419200, "results": [{"amount": {"value": 1e999}}]}]}', "no amount of money"),
        (b'{"data": [{"start_time": 1730419200, "results": [{"amount": {"value": 1}}]}]}', "group_by=line_item"),
        (b'{"data": [{"starting_at": "2026-11-01T00:00:00Z", "results": [{"amount": "1"}]}]}', "description"),
        (b"a,b\n1,2\n", "no column amount_value"),
        (b"start_time,amount_value\n1730419200\n", "Line 2 has 1 cells"),
        (b"\xff\xfe\x00", "neither JSON nor CSV"),
        (b"x" * 70_000, "Line 1 has more than"),
    ],
)
async def test_a_file_that_is_no_cost_report_is_refused_with_its_fault(
    desk: Reconciled, report: bytes, told: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await desk.reports.import_report(_HEAD, pieces(report))
    assert told in refused.value.message
    everything = await desk.reports.reconciliation(ORGANIZATION, datetime(2026, 1, 1, tzinfo=UTC), NOON)
    assert not everything.reports


async def test_a_report_without_end_is_refused_before_it_fills_the_memory(desk: Reconciled) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"data": [{"start_time": 1730419200, "results": ["'
        while True:
            yield b"x" * 1_000_000

    with pytest.raises((InvalidRequest, RequestTooLarge)):
        await desk.reports.import_report(_HEAD, endless())


async def test_the_worked_example_of_the_page(desk: Reconciled) -> None:
    tokens = [(1200, 0, 300), (800, 1024, 150), (2000, 0, 500)]
    calls = [
        call(
            number,
            usage=Usage(
                input_tokens=fresh,
                cache_read_tokens=cached,
                output_tokens=output,
                source=UsageSource.USAGE_SOURCE_PROVIDER,
            ),
        )
        for number, (fresh, cached, output) in enumerate(tokens)
    ]
    assert [record.cost_nanos for record in calls] == [360_000, 286_800, 600_000]
    await desk.record(calls)
    charged = [
        Row(_TODAY, "gpt-4o-mini", "input", Decimal("0.0006"), 4000),
        Row(_TODAY, "gpt-4o-mini", "output", Decimal("0.000627"), 950),
        Row(_TODAY, "gpt-4o", "output", Decimal("0.0012"), 120),
    ]
    result = await desk.compare(openai(charged))
    assert (result.reported_nanos, result.ledger_nanos) == (2_427_000, 1_246_800)
    assert (result.price_difference_nanos, result.missing_in_ledger_nanos) == (57_000, 1_200_000)
    assert (result.missing_in_report_nanos, result.rounding_nanos) == (76_800, 0)
    assert (result.captured_nanos, f"{100 * result.captured_nanos / result.reported_nanos:.2f}") == (1_227_000, "50.56")
    assert [(line.model, line.item, LineFault.Name(line.fault)[11:].lower()) for line in result.worst] == [
        ("gpt-4o", "output", "missing_in_ledger"),
        ("gpt-4o-mini", "cache_read", "missing_in_report"),
        ("gpt-4o-mini", "output", "price"),
    ]
