"""Records enter the ledger once, whatever is repeated."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asahi_billing.domain.ledger import Ledger, Recorded
from asahi_billing.domain.store import Span
from asahi_billing.stores.opening import Engines
from asahi_billing.stores.sql import SqlStore
from asahi_core.errors import InvalidRequest, ServiceUnavailable
from services.billing.tests.records import ORGANIZATION, OTHER, call, hit, request_id

ALWAYS = Span(0, 2**62)


async def test_a_record_that_is_known_already_changes_nothing(ledger: Ledger) -> None:
    assert await ledger.record([call(1), hit(2)]) == Recorded(new=2, duplicates=0)
    other = call(1, cost_nanos=999, price_version="another book")
    assert await ledger.record([other, hit(2), hit(3)]) == Recorded(new=1, duplicates=2)
    kept = await ledger.inference(ORGANIZATION, request_id(1))
    assert kept.record == call(1)


async def test_a_record_twice_in_one_call_counts_once(ledger: Ledger) -> None:
    assert await ledger.record([call(1), call(1)]) == Recorded(new=1, duplicates=1)


async def test_attempts_and_organizations_make_different_records(ledger: Ledger) -> None:
    failed = call(1, 1, answered=False, error_code="overloaded")
    records = [failed, call(1, 2), call(1, 2, organization_id=OTHER)]
    assert await ledger.record(records) == Recorded(new=3, duplicates=0)


async def test_records_are_in_the_file_when_the_call_answers(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.record([call(1), call(2)])
    with sqlite3.connect(tmp_path / "billing.db") as other:
        assert other.execute("SELECT count(*) FROM usage_records").fetchone() == (2,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


async def test_one_bad_record_refuses_its_call_and_no_other(ledger: Ledger) -> None:
    bad = ledger.record([call(1), hit(2, savings={"routing": 1})])
    outcomes = await asyncio.gather(bad, *(ledger.record([call(n)]) for n in range(10, 30)), return_exceptions=True)
    assert isinstance(outcomes[0], InvalidRequest)
    assert outcomes[1:] == [Recorded(1, 0)] * 20
    assert (ledger.refused, ledger.recorded) == (1, 20)
    assert await ledger.record([call(1)]) == Recorded(new=1, duplicates=0)


async def test_concurrent_deliveries_of_the_same_records_count_them_once(ledger: Ledger) -> None:
    records = [call(n) for n in range(200)]
    outcomes = await asyncio.gather(*(ledger.record(records) for _ in range(8)))
    assert sum(outcome.new for outcome in outcomes) == 200
    assert (await ledger.cost_summary(ORGANIZATION, ALWAYS)).total_requests == 200


async def test_a_second_answer_of_a_request_is_kept_and_counted_but_is_no_second_request(
    ledger: Ledger, store: SqlStore
) -> None:
    await ledger.record([call(1, 1), call(1, 2)])
    await ledger.record([call(1, 3), call(2, 1)])
    summary = await ledger.cost_summary(ORGANIZATION, ALWAYS)
    assert summary.total_cost_nanos == 4 * call().cost_nanos
    assert summary.total_requests == 2
    assert store.repeated_answers == 2
    with capture_logs() as logs:
        await ledger.record([call(1, 3)])
        assert store.repeated_answers == 2
        await ledger.record([call(2, 2)])
    (told,) = [entry for entry in logs if entry["event"] == "answered_twice"]
    assert (told["request_id"], told["attempt"]) == (call(2).request_id, 2)


async def test_a_full_disk_refuses_records_and_loses_none(ledger: Ledger, engines: Engines) -> None:
    await ledger.record([call(1)])
    with engines.writer.connect() as connection:  # the only one there is: the store's next commit meets the limit
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    many = [call(n) for n in range(1000)]
    with pytest.raises(ServiceUnavailable) as refused:
        await ledger.record(many)
    assert refused.value.retry_after_s
    with engines.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert await ledger.record(many) == Recorded(new=999, duplicates=1)


async def test_reading_goes_on_while_the_ledger_is_locked_for_writing(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.record([call(1)])
    lock = sqlite3.connect(tmp_path / "billing.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert (await ledger.cost_summary(ORGANIZATION, ALWAYS)).total_requests == 1
    lock.execute("ROLLBACK")
    lock.close()
