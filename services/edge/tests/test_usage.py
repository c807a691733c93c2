"""What the edge promises about usage on its way to billing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC
from pathlib import Path
from random import Random

import pytest
import structlog
from structlog.testing import capture_logs

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import ManualClock, SystemClock
from asahi_core.errors import InvalidRequest, RequestTooLarge, ServiceUnavailable
from asahi_core.prices import load_price_book
from asahi_edge.domain.spool import Spool
from asahi_edge.domain.usage import UsageDelivery, gathering_s
from asahi_edge.stores.metrics import UsageCollector
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import DiskSpool, SpoolOptions
from asahi_edge.stores.spool_memory import MemorySpool
from services.edge.tests.usage_records import CountingLedger, name_of, usage_record

_GUARD_S = 120
_PRICES = load_price_book()
_AWAY = ServiceUnavailable("The billing service does not answer.", retry_after_s=1.0)


@asynccontextmanager
async def _delivering(
    ledger: CountingLedger,
    spool: Spool,
    *,
    acknowledge_within_s: float = 0.2,
    orphan_settle_s: float = 60.0,
    longest_call_s: float = 660.0,
) -> AsyncIterator[UsageDelivery]:
    usage = UsageDelivery(
        ledger,
        spool,
        prices=_PRICES,
        clock=SystemClock(),
        random=Random(1),
        log=structlog.get_logger(),
        acknowledge_within_s=acknowledge_within_s,
        orphan_settle_s=orphan_settle_s,
        longest_call_s=longest_call_s,
    )
    running = asyncio.create_task(usage.run())
    try:
        yield usage
    finally:
        await usage.close(0.3)
        await running


def _memory(*, persistent: bool = True) -> MemorySpool:
    return MemorySpool(SystemClock(), persistent=persistent)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_GUARD_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def _in_time(awaitable: Awaitable[bool]) -> bool:
    async with asyncio.timeout(_GUARD_S):
        return await awaitable


async def test_on_a_lasting_disk_a_record_is_settled_without_waiting_for_billing() -> None:
    ledger = CountingLedger()
    ledger.never_answers = True
    async with _delivering(ledger, _memory()) as usage:
        assert await _in_time(usage.settle(usage_record(1)))
        assert ledger.names == []


async def test_on_a_disk_that_does_not_last_a_record_is_settled_once_billing_has_it() -> None:
    ledger = CountingLedger()
    async with _delivering(ledger, _memory(persistent=False)) as usage:
        assert await _in_time(usage.settle(usage_record(1)))
        assert ledger.names == [name_of(usage_record(1))]


async def test_on_a_disk_that_does_not_last_a_silent_billing_degrades_the_answer_and_the_record_waits() -> None:
    ledger = CountingLedger()
    ledger.never_answers = True
    async with _delivering(ledger, _memory(persistent=False)) as usage:
        assert not await _in_time(usage.settle(usage_record(1)))
        assert usage.backlog == 1


async def test_records_of_an_organisation_arrive_in_the_order_in_which_they_were_settled() -> None:
    ledger = CountingLedger()
    async with _delivering(ledger, _memory()) as usage:
        for n in range(0, 40, 2):
            usage.deliver_later(usage_record(n, organization=f"org-{n % 4}"))
            await usage.settle(usage_record(n + 1, organization=f"org-{n % 4}"))
        assert await usage.flush(_GUARD_S)
    for organization in ("org-0", "org-2"):
        arrived = [int(request.split("-")[1]) for org, request, _ in ledger.names if org == organization]
        assert arrived == sorted(arrived)
    assert len(ledger.names) == 40


async def test_free_records_arrive_by_themselves() -> None:
    ledger = CountingLedger()
    async with _delivering(ledger, _memory()) as usage:
        usage.deliver_later(usage_record(1))
        usage.deliver_later(usage_record(2))
        assert usage.backlog == 2
        await _until(lambda: len(ledger.names) == 2)
    assert ledger.batches == [2]


async def test_many_records_go_in_few_batches() -> None:
    ledger = CountingLedger()
    async with _delivering(ledger, _memory()) as usage:
        for n in range(1200):
            await usage.settle(usage_record(n))
        assert await usage.flush(_GUARD_S)
    assert sum(ledger.batches) == 1200
    assert max(ledger.batches) <= 500
    assert len(ledger.batches) <= 10


async def test_while_billing_is_away_records_wait_and_all_arrive_in_order_once_it_is_back() -> None:
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with _delivering(ledger, _memory()) as usage:
        for n in range(50):
            assert await usage.settle(usage_record(n))
        await _until(lambda: not usage.reachable)
        assert usage.backlog == 50
        ledger.failure = None
        assert await usage.flush(_GUARD_S)
        assert usage.reachable
        assert usage.backlog == 0
    assert ledger.names == [name_of(usage_record(n)) for n in range(50)]
    assert set(ledger.seen.values()) == {1}


async def test_while_billing_is_known_to_be_away_nobody_waits_for_it() -> None:
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with _delivering(ledger, _memory(persistent=False), acknowledge_within_s=2 * _GUARD_S) as usage:
        usage.deliver_later(usage_record(0))
        await _until(lambda: not usage.reachable)
        assert not await _in_time(usage.settle(usage_record(1)))


@pytest.mark.parametrize("error", [InvalidRequest("It is too odd."), RequestTooLarge("It is too large.")])
async def test_a_refused_record_is_set_aside_and_holds_up_no_other(error: InvalidRequest | RequestTooLarge) -> None:
    ledger, spool = CountingLedger(), _memory()
    ledger.refuses = lambda record: error if record.request_id in {"request-3", "request-77"} else None
    with capture_logs() as logs:
        async with _delivering(ledger, spool) as usage:
            for n in range(100):
                await usage.settle(usage_record(n))
            assert await usage.flush(_GUARD_S)
            assert usage.refused == 2
    assert ledger.names == [name_of(usage_record(n)) for n in range(100) if n not in {3, 77}]
    assert spool.refused == [(usage_record(3), error.message), (usage_record(77), error.message)]
    told = [entry for entry in logs if entry["event"] == "usage_refused"]
    assert [entry["usage_request_id"] for entry in told] == ["request-3", "request-77"]
    assert "research" not in str(told), "a log names a record by its ids and tells nothing else of it"


async def test_what_is_not_delivered_at_the_end_is_delivered_by_the_next_process(tmp_path: Path) -> None:
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool) as usage:
        await usage.settle(usage_record(1))
        usage.deliver_later(usage_record(2))
    assert ledger.names == []
    ledger.failure = None
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool) as usage:
        await _until(lambda: len(ledger.names) == 2)
    assert ledger.names == [name_of(usage_record(1)), name_of(usage_record(2))]


async def test_everything_is_delivered_before_the_end_when_billing_answers(tmp_path: Path) -> None:
    ledger = CountingLedger()
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool) as usage:
        await usage.settle(usage_record(1))
        usage.deliver_later(usage_record(2))
    assert len(ledger.names) == 2


async def test_a_call_that_a_killed_process_left_is_settled_by_estimate_as_an_orphan(tmp_path: Path) -> None:
    intent = usage_record(1)
    intent.cost_nanos = 0
    async with _on_disk(tmp_path) as spool, _delivering(CountingLedger(), spool) as usage:
        usage.intend(intent, 1_000)
    ledger = CountingLedger()
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool, orphan_settle_s=0.05) as usage:
        await _until(lambda: len(ledger.names) == 1)
        assert usage.orphans == 1
    (orphan,) = ledger.records.values()
    estimate = Usage(input_tokens=1_000, source=UsageSource.USAGE_SOURCE_ESTIMATED)
    cost = _PRICES.cost_nanos("gpt-4o", estimate, intent.occurred_at.ToDatetime(UTC))
    assert orphan.orphan
    assert not orphan.answered
    assert orphan.usage == estimate
    assert orphan.cost_nanos == cost
    assert orphan.price_version == _PRICES.version
    assert not orphan.HasField("cost_original_nanos")
    assert name_of(orphan) == name_of(intent)


async def test_an_orphan_without_a_known_price_says_so_and_is_not_free(tmp_path: Path) -> None:
    async with _on_disk(tmp_path) as spool, _delivering(CountingLedger(), spool) as usage:
        usage.intend(usage_record(1, model="a-model-of-their-own"), 1_000)
    ledger = CountingLedger()
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool, orphan_settle_s=0.05):
        await _until(lambda: len(ledger.names) == 1)
    (orphan,) = ledger.records.values()
    assert orphan.price_unknown
    assert orphan.cost_nanos == 0


async def test_a_call_that_was_settled_is_no_orphan_and_a_call_under_way_is_none_either(tmp_path: Path) -> None:
    ledger = CountingLedger()
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool, orphan_settle_s=0.02) as usage:
        usage.intend(usage_record(1), 10)
        await usage.settle(usage_record(1))
        usage.intend(usage_record(2), 10)
        await asyncio.sleep(0.2)
        assert usage.orphans == 0
        await usage.settle(usage_record(2))
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool, orphan_settle_s=0.02) as usage:
        await asyncio.sleep(0.2)
        assert usage.orphans == 0
    assert [record.orphan for record in ledger.records.values()] == [False, False]


async def test_a_call_that_never_ends_is_settled_once_no_call_can_still_be_under_way() -> None:
    ledger = CountingLedger()
    async with _delivering(ledger, _memory(), orphan_settle_s=0.02, longest_call_s=0.1) as usage:
        usage.intend(usage_record(1), 10)
        await _until(lambda: len(ledger.names) == 1)
        assert usage.orphans == 1


async def test_an_intent_is_noted_as_it_stood_and_the_callers_message_is_left_alone() -> None:
    spool = _memory()
    async with _delivering(CountingLedger(), spool) as usage:
        intent = usage_record(1)
        usage.intend(intent, 42)
        (noted,) = spool.intents()
    assert not intent.HasField("usage")
    assert noted.record.usage.input_tokens == 42


async def test_a_full_spool_refuses_new_requests() -> None:
    spool = MemorySpool(ManualClock(), max_bytes=100)
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with _delivering(ledger, spool) as usage:
        usage.admit()
        await usage.settle(usage_record(1))
        with pytest.raises(ServiceUnavailable):
            usage.admit()


async def test_the_figures_tell_what_waits_and_how_long(tmp_path: Path) -> None:
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with _on_disk(tmp_path) as spool, _delivering(ledger, spool) as usage:
        usage.intend(usage_record(9), 10)
        record: UsageRecord = usage_record(1)
        await usage.settle(record)
        await _until(lambda: not usage.reachable)
        figures = {metric.name: metric.samples[0].value for metric in UsageCollector(usage, spool).collect()}
    assert figures["asahi_edge_usage_backlog_records"] == 1
    assert figures["asahi_edge_usage_open_intents"] == 1
    assert figures["asahi_edge_usage_backlog_age_seconds"] > 0
    assert figures["asahi_edge_spool_max_bytes"] == SpoolOptions().max_bytes
    assert figures["asahi_edge_spool_bytes"] > len(record.SerializeToString())
    assert figures["asahi_edge_usage_refused"] == figures["asahi_edge_usage_orphans"] == 0


def _on_disk(root: Path) -> AbstractAsyncContextManager[DiskSpool]:
    return open_spool(root, SystemClock(), structlog.get_logger(), SpoolOptions())


@pytest.mark.parametrize(("took_s", "gathered_s"), [(0.0, 0.05), (0.001, 0.05), (0.005, 0.1), (0.1, 0.25), (9.0, 0.25)])
def test_the_longer_a_delivery_takes_the_more_the_next_one_brings(took_s: float, gathered_s: float) -> None:
    assert gathering_s(took_s) == pytest.approx(gathered_s)
