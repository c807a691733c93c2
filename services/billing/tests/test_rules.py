"""What a record must be to enter the ledger."""

import math
from datetime import UTC, datetime

import pytest

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.rules import MAX_COST_NANOS, MAX_RECORDS, MAX_TOKENS, check_records
from asahi_core.errors import InvalidRequest
from services.billing.tests.records import PRICES, call, compared, hit, usage


def _refusal(records: list[UsageRecord]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        check_records(records, PRICES)
    return refused.value


def _cleared(field: str) -> UsageRecord:
    record = call()
    record.ClearField(field)  # type: ignore[arg-type]
    return record


def _at(seconds: int, nanos: int = 0) -> UsageRecord:
    record = call()
    record.occurred_at.seconds, record.occurred_at.nanos = seconds, nanos
    return record


@pytest.mark.parametrize(
    "record",
    [
        call(),
        hit(),
        hit(coalesced=True, cache_tier=0, savings={"coalesced": 600}),
        compared(call(), {"routing": -17, "cascade": 20}),
        call(answered=False, orphan=True),
        call(usage=usage(), answered=False, error_code="provider_error"),
        call(price_unknown=True, model="nobody-knows", price_version=""),
        call(price_unknown=True, model="nobody-knows"),
        call(price_version="an older book", cost_nanos=123),
        call(cost_overhead_nanos=50),
        hit(cost_nanos=50, cost_overhead_nanos=50, cost_original_nanos=650),
        hit(saved=0, savings={}),
        _cleared("cost_original_nanos"),
        call(api_key_id="", user_id="", task_id="", routing_reason=""),
    ],
)
def test_what_edges_and_routers_send_is_taken(record: UsageRecord) -> None:
    check_records([record], PRICES)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (call(organization_id=""), "organization_id"),
        (call(organization_id="o" * 129), "organization_id"),
        (call(organization_id="org_\0"), "organization_id"),
        (call(request_id=""), "request_id"),
        (call(attempt=-1), "attempt"),
        (_cleared("occurred_at"), "occurred_at"),
        (_at(2**62), "occurred_at"),
        (_at(1_795_000_000, 10**9), "occurred_at"),
        (_at(1_795_000_000, -1), "occurred_at"),
        (call(latency_ms=math.nan), "latency_ms"),
        (call(latency_ms=-1), "latency_ms"),
        (call(overhead_ms=math.inf), "overhead_ms"),
        (call(cache_tier=4), "cache_tier"),
        (call(cache_tier=-1), "cache_tier"),
        (call(orphan=True), "answered"),
        (call(usage=usage(input_tokens=-1), cost_nanos=0), "usage.input_tokens"),
        (call(usage=usage(output_tokens=MAX_TOKENS + 1), cost_nanos=0), "usage.output_tokens"),
        (hit(reused_usage=usage(reasoning_tokens=-5)), "reused_usage.reasoning_tokens"),
        (call(cost_nanos=-1), "cost_nanos"),
        (call(cost_nanos=MAX_COST_NANOS + 1), "cost_nanos"),
        (call(cost_nanos=1, cost_overhead_nanos=2), "cost_overhead_nanos"),
        (call(cost_overhead_nanos=-1), "cost_overhead_nanos"),
        (call(cost_original_nanos=-1), "cost_original_nanos"),
        (call(price_unknown=True, cost_nanos=5), "cost_nanos"),
        (compared(call(price_unknown=True), {"routing": 7}), "cost_original_nanos"),
        (hit(cost_nanos=5, cost_original_nanos=605), "cost_nanos"),
        (hit(usage=usage(output_tokens=1)), "usage"),
        (hit(savings={"cache_tier_1": 599}), "savings"),
        (hit(saved=0, savings={"": 0}), "savings"),
        (call(savings={"routing": 5}), "savings"),
        (compared(call(), {"routing": 2 * MAX_COST_NANOS, "cascade": -2 * MAX_COST_NANOS}), "savings"),
        (call(price_version=""), "price_version"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused_by_its_field(record: UsageRecord, field: str) -> None:
    refusal = _refusal([hit(), record, hit()])
    assert refusal.param == f"records[1].{field}"
    assert refusal.message.startswith(f"records[1].{field} ")


def test_a_technique_counts_once_in_a_record() -> None:
    record = hit(saved=600, savings={"cache_tier_1": 300})
    record.savings.add(technique="cache_tier_1", nanos=300)
    assert _refusal([record]).param == "records[0].savings"


@pytest.mark.parametrize("count", [0, MAX_RECORDS + 1])
def test_a_call_takes_one_to_a_thousand_records(count: int) -> None:
    assert _refusal([hit()] * count).param == "records"


@pytest.mark.parametrize("off", [-1, 1])
def test_a_cost_that_is_a_nano_dollar_off_the_price_book_is_refused(off: int) -> None:
    record = call(cost_overhead_nanos=40)
    record.cost_nanos += off
    refusal = _refusal([record])
    assert refusal.param == "records[0].cost_nanos"
    assert PRICES.version in refusal.message


def test_a_cost_for_a_model_that_the_book_lacks_is_refused() -> None:
    refusal = _refusal([call(model="nobody-knows", cost_nanos=1)])
    assert "say price_unknown" in refusal.message


def test_a_failed_call_of_a_model_that_the_book_lacks_needs_no_price() -> None:
    check_records([call(model="nobody-knows", cost_nanos=0, usage=usage(), answered=False)], PRICES)


def test_every_bucket_counts_in_the_recomputed_price() -> None:
    tokens = {
        "input_tokens": 1001,
        "cache_read_tokens": 2002,
        "cache_write_5m_tokens": 3003,
        "cache_write_1h_tokens": 4004,
        "output_tokens": 505,
    }
    check_records([call(usage=usage(None, **tokens, reasoning_tokens=99))], PRICES)
    for bucket, count in tokens.items():
        record = call(usage=usage(None, **tokens))
        setattr(record.usage, bucket, 10 * count)
        assert _refusal([record]).param == "records[0].cost_nanos", bucket


def test_a_price_is_the_one_of_the_day_of_the_call() -> None:
    before, after = datetime(2026, 7, 29, 23, 59, tzinfo=UTC), datetime(2026, 7, 30, tzinfo=UTC)
    tokens = usage(input_tokens=1000, output_tokens=500)
    record = call(model="gpt-5.6-luna", usage=tokens, cost_nanos=4_000_000)
    record.occurred_at.FromDatetime(before)
    check_records([record], PRICES)
    record.occurred_at.FromDatetime(after)
    assert _refusal([record]).param == "records[0].cost_nanos"
    record.cost_nanos = 800_000
    check_records([record], PRICES)
