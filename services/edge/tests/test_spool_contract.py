"""What every spool promises to the delivery: the one on the disk and the one in memory alike."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from asahi_core.clock import ManualClock
from asahi_core.errors import ServiceUnavailable
from asahi_edge.domain.spool import Spool
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import SpoolOptions
from asahi_edge.stores.spool_memory import MemorySpool
from services.edge.tests.usage_records import name_of, usage_record

_MAX_BYTES = 20_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["disk", "disk of small segments", "memory"])
async def spool(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Spool]:
    if request.param == "memory":
        yield MemorySpool(clock, max_bytes=_MAX_BYTES)
        return
    segment_bytes = 300 if "small" in request.param else 1_000_000
    options = SpoolOptions(max_bytes=_MAX_BYTES, segment_bytes=segment_bytes)
    async with open_spool(tmp_path, clock, structlog.get_logger(), options) as spool:
        yield spool


async def test_records_come_back_in_the_order_in_which_they_were_appended(spool: Spool) -> None:
    spool.append([usage_record(1), usage_record(2, organization="org-2")])
    spool.append([usage_record(3)])
    assert await spool.oldest(10) == [usage_record(1), usage_record(2, organization="org-2"), usage_record(3)]


async def test_no_more_than_asked_for_come_back_and_they_stay_until_acknowledged(spool: Spool) -> None:
    spool.append([usage_record(n) for n in range(5)])
    assert await spool.oldest(2) == [usage_record(0), usage_record(1)]
    assert await spool.oldest(2) == [usage_record(0), usage_record(1)]
    spool.acknowledge(2)
    assert await spool.oldest(2) == [usage_record(2), usage_record(3)]
    spool.acknowledge(1)
    assert await spool.oldest(10) == [usage_record(3), usage_record(4)]


async def test_records_are_numbered_and_delivered_says_which_are_done(spool: Spool) -> None:
    assert (spool.appended, spool.delivered) == (0, 0)
    assert spool.append([usage_record(1), usage_record(2)]) == 1
    assert spool.append([usage_record(3)]) == 2
    assert (spool.appended, spool.delivered) == (3, 0)
    await spool.oldest(2)
    spool.acknowledge(2)
    assert (spool.appended, spool.delivered) == (3, 2)


async def test_an_empty_spool_has_nothing_to_deliver(spool: Spool) -> None:
    assert await spool.oldest(10) == []
    spool.append([usage_record(1)])
    await spool.oldest(1)
    spool.acknowledge(1)
    assert await spool.oldest(10) == []


async def test_an_intent_is_open_until_the_record_of_the_same_call_comes(spool: Spool, clock: ManualClock) -> None:
    spool.intend(usage_record(1))
    clock.advance(5)
    spool.intend(usage_record(1, attempt=2))
    assert [(name_of(i.record)[2], i.opened_at) for i in spool.intents()] == [(1, 0.0), (2, 5.0)]
    spool.append([usage_record(1)])
    assert [i.record for i in spool.intents()] == [usage_record(1, attempt=2)]
    spool.append([usage_record(1, attempt=2)])
    assert list(spool.intents()) == []


async def test_an_intent_is_no_record(spool: Spool) -> None:
    spool.intend(usage_record(1))
    assert await spool.oldest(10) == []
    assert spool.appended == 0


async def test_an_open_intent_outlives_many_delivered_records(spool: Spool) -> None:
    spool.intend(usage_record(0))
    for n in range(1, 60):
        spool.append([usage_record(n)])
        await spool.oldest(1)
        spool.acknowledge(1)
    assert [i.record for i in spool.intents()] == [usage_record(0)]


async def test_what_is_written_to_a_lasting_disk_is_durable(spool: Spool) -> None:
    assert await spool.durable(spool.append([usage_record(1)]))


async def test_a_full_spool_admits_nobody_until_it_is_delivered_but_keeps_every_record(spool: Spool) -> None:
    spool.admit()
    count = 200
    for n in range(count):
        spool.append([usage_record(n)])
    with pytest.raises(ServiceUnavailable) as refused:
        spool.admit()
    assert refused.value.retry_after_s
    kept = await spool.oldest(count)
    assert kept == [usage_record(n) for n in range(count)]
    spool.acknowledge(count)
    spool.admit()
