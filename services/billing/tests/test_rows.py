"""Records come out of the ledger as they went in."""

from hypothesis import given, settings
from sqlalchemy import create_engine, select

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.rules import check_records
from asahi_billing.stores.rows import from_row, to_row
from asahi_billing.stores.tables import USAGE_RECORDS
from services.billing.tests.generated import histories
from services.billing.tests.records import PRICES, call, compared, in_order, usage


@given(histories())
@settings(max_examples=50, deadline=None)
def test_no_field_is_lost(records: list[UsageRecord]) -> None:
    if records:
        check_records(records, PRICES)
    assert in_order(_kept(records)) == in_order(records)


def test_every_field_of_the_message_is_kept() -> None:
    record = compared(call(cost_overhead_nanos=10), {"routing": 5, "cascade": -3})
    record.tags["team"] = "search"
    record.purpose = "shadow"
    record.user_id, record.task_id, record.task_type, record.error_code = "ada", "t-1", "code", "provider_error"
    record.price_unknown = record.orphan = record.coalesced = True
    record.cache_tier = 2
    record.reused_usage.CopyFrom(usage(input_tokens=5))
    record.usage.MergeFrom(
        usage(cache_read_tokens=1, cache_write_5m_tokens=2, cache_write_1h_tokens=3, reasoning_tokens=4)
    )
    unset = {field.name for field in UsageRecord.DESCRIPTOR.fields} - {field.name for field, _ in record.ListFields()}
    assert not unset, "this test must set every field that the message has"
    assert _kept([record]) == [record]


def test_savings_stay_in_the_order_of_the_record() -> None:
    record = compared(call(), {"routing": 5, "cascade": -3, "a": 1})
    assert [saving.technique for saving in _kept([record])[0].savings] == ["routing", "cascade", "a"]


def test_zero_characters_in_labels_are_replaced() -> None:
    kept = _kept([call(user_id="a\0b", tags={"k\0": "v\0"})])[0]
    assert kept.user_id == "a\ufffdb"
    assert dict(kept.tags) == {"k\ufffd": "v\ufffd"}


def _kept(records: list[UsageRecord]) -> list[UsageRecord]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        USAGE_RECORDS.create(connection)
        for record in records:
            connection.execute(USAGE_RECORDS.insert(), to_row(record) | {"repeats_answer": False})
        kept = [from_row(row) for row in connection.execute(select(USAGE_RECORDS))]
    engine.dispose()
    return kept
