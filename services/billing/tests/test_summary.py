"""Sums are exact, whatever the order, the repetitions and the batches that records came in."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, Saving, TierSummary, UsageRecord
from asahi.type.v1.usage_pb2 import Usage
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.rules import TOKEN_FIELDS
from asahi_billing.domain.store import Span
from asahi_billing.stores.opening import open_engines
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import SystemClock
from asahi_core.errors import InvalidRequest
from asahi_core.sql.databases import database_at
from services.billing.tests.generated import histories
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, PRICES, call, compared, hit, usage

ALWAYS = Span(0, 2**62)


def _span(start_s: float, end_s: float) -> Span:
    noon_ns = int(NOON.timestamp()) * 10**9
    return Span(noon_ns + int(start_s * 10**9), noon_ns + int(end_s * 10**9))


def _expected(records: list[UsageRecord], organization_id: str, span: Span) -> GetCostSummaryResponse:
    """The contract's words as a loop."""
    own = [
        record
        for record in records
        if record.organization_id == organization_id
        and span.start_ns <= record.occurred_at.ToNanoseconds() < span.end_ns
    ]
    known = [record for record in own if record.HasField("cost_original_nanos")]
    answered = [record for record in own if record.answered]
    hits = [record for record in answered if record.cache_tier and not record.coalesced]
    saved: Counter[str] = Counter()
    for record in own:
        for saving in record.savings:
            saved[saving.technique] += saving.nanos
    by_tier = Counter(record.cache_tier for record in hits)
    return GetCostSummaryResponse(
        total_cost_nanos=sum(record.cost_nanos for record in own),
        cost_original_nanos=sum(record.cost_original_nanos for record in known),
        compared_cost_nanos=sum(record.cost_nanos for record in known),
        total_requests=len(answered),
        cache_hits=len(hits),
        cache_saved_nanos=sum(nanos for name, nanos in saved.items() if name.startswith("cache_tier_")),
        savings=[
            Saving(technique=name, nanos=nanos)
            for name, nanos in sorted(saved.items(), key=lambda item: (-item[1], item[0]))
        ],
        price_unknown_calls=sum(1 for record in own if record.price_unknown and record.attempt),
        usage=Usage(**{name: sum(getattr(record.usage, name) for record in own) for name in TOKEN_FIELDS}),
        tiers=[
            TierSummary(tier=tier, hits=by_tier[tier], saved_nanos=saved[f"cache_tier_{tier}"])
            for tier in sorted(by_tier)
        ],
        coalesced_requests=sum(1 for record in answered if record.coalesced),
        overhead_cost_nanos=sum(record.cost_overhead_nanos for record in own),
        orphan_cost_nanos=sum(record.cost_nanos for record in own if record.orphan),
    )


@given(histories(), st.data())
@settings(max_examples=25, deadline=None)
async def test_order_repetition_and_batches_change_no_sum(records: list[UsageRecord], data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(records), max_size=10)) if records else []
    arriving = data.draw(st.permutations([*records, *repeated]))
    span = data.draw(st.sampled_from([ALWAYS, _span(0, 1800), _span(900, 2700)]))
    with TemporaryDirectory() as folder:
        store = SqlStore(
            open_engines(database_at("", Path(folder) / "billing.db"), 60),
            SystemClock(),
            structlog.get_logger(),
            queue_records=1000,
            read_limit_s=60,
            observe_commit_s=lambda _: None,
        )
        store.open()
        ledger = Ledger(store, PRICES)
        while arriving:
            size = data.draw(st.integers(1, len(arriving)))
            await ledger.record(arriving[:size])
            arriving = arriving[size:]
        summaries = {name: await ledger.cost_summary(name, span) for name in (ORGANIZATION, OTHER)}
        await store.close()
    for organization_id, summary in summaries.items():
        expected = _expected(records, organization_id, span)
        latencies = [
            record.latency_ms
            for record in records
            if record.organization_id == organization_id
            and record.answered
            and span.start_ns <= record.occurred_at.ToNanoseconds() < span.end_ns
        ]
        assert summary.mean_latency_ms == pytest.approx(sum(latencies) / len(latencies) if latencies else 0.0)
        summary.mean_latency_ms = 0.0
        assert summary == expected
        assert sum(saving.nanos for saving in summary.savings) == (
            summary.cost_original_nanos - summary.compared_cost_nanos
        )


async def test_a_day_in_the_life(ledger: Ledger) -> None:
    failed = call(1, 1, answered=False, error_code="provider_error", usage=usage(input_tokens=1000))
    answer = compared(call(1, 2, latency_ms=1000.0), {"routing": 10_000})
    orphan = call(5, answered=False, orphan=True)
    unknown = call(6, price_unknown=True, model="nobody-knows", cost_nanos=0, latency_ms=500.0)
    shared = hit(4, saved=700, coalesced=True, cache_tier=0, savings={"coalesced": 700}, latency_ms=100.0)
    semantic = hit(3, tier=2, saved=400, cost_nanos=30, cost_overhead_nanos=30, savings={"cache_tier_2": 370})
    await ledger.record([failed, answer, hit(2, latency_ms=0.0), semantic, shared, orphan, unknown])

    summary = await ledger.cost_summary(ORGANIZATION, ALWAYS)
    assert summary.total_cost_nanos == failed.cost_nanos + answer.cost_nanos + 30 + orphan.cost_nanos
    assert summary.overhead_cost_nanos == 30
    assert summary.orphan_cost_nanos == orphan.cost_nanos > 0
    assert summary.total_requests == 5
    assert (summary.cache_hits, summary.coalesced_requests, summary.price_unknown_calls) == (2, 1, 1)
    assert summary.cache_saved_nanos == 970
    assert [(saving.technique, saving.nanos) for saving in summary.savings] == [
        ("routing", 10_000),
        ("coalesced", 700),
        ("cache_tier_1", 600),
        ("cache_tier_2", 370),
    ]
    assert [(tier.tier, tier.hits, tier.saved_nanos) for tier in summary.tiers] == [(1, 1, 600), (2, 1, 370)]
    assert summary.usage.input_tokens == 4000
    assert summary.mean_latency_ms == pytest.approx((1000 + 0 + 2 + 100 + 500) / 5)


async def test_a_span_includes_its_start_and_not_its_end(ledger: Ledger) -> None:
    await ledger.record([call(n) for n in (10, 20, 30)])
    assert (await ledger.cost_summary(ORGANIZATION, _span(10, 30))).total_requests == 2
    assert (await ledger.cost_summary(ORGANIZATION, _span(10, 10))).total_requests == 0
    with pytest.raises(InvalidRequest):
        await ledger.cost_summary(ORGANIZATION, _span(30, 10))


async def test_sums_go_beyond_what_a_float_holds_exactly(ledger: Ledger) -> None:
    large = 10**15 - 1
    await ledger.record([call(n, cost_nanos=large, price_version="other") for n in range(1000)])
    assert (await ledger.cost_summary(ORGANIZATION, ALWAYS)).total_cost_nanos == 1000 * large


async def test_an_organization_sees_its_own_sums_and_nobody_elses(ledger: Ledger) -> None:
    await ledger.record([call(1), call(2, organization_id=OTHER), call(3, organization_id=OTHER)])
    assert (await ledger.cost_summary(ORGANIZATION, ALWAYS)).total_requests == 1
    assert (await ledger.cost_summary(OTHER, ALWAYS)).total_requests == 2
    assert await ledger.cost_summary("org_unknown", ALWAYS) == GetCostSummaryResponse(usage=Usage())
