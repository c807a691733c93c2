"""When what is written counts as safe from a power cut."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from asahi_core.clock import SystemClock
from asahi_core.errors import ServiceUnavailable
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.segments import SyncWork
from asahi_edge.stores.spool import SpoolOptions
from asahi_edge.stores.syncing import GroupSync
from services.edge.tests.usage_records import usage_record


def _syncs() -> float:
    return REGISTRY.get_sample_value("asahi_edge_spool_sync_seconds_count") or 0.0


async def test_with_sync_always_a_record_is_durable_only_after_a_sync(tmp_path: Path) -> None:
    options = SpoolOptions(sync_always=True)
    async with open_spool(tmp_path, SystemClock(), structlog.get_logger(), options) as spool:
        before = _syncs()
        assert await spool.durable(spool.append([usage_record(1)]))
        assert _syncs() == before + 1


async def test_records_that_come_together_share_a_sync(tmp_path: Path) -> None:
    options = SpoolOptions(sync_always=True)
    async with open_spool(tmp_path, SystemClock(), structlog.get_logger(), options) as spool:
        before = _syncs()
        assert all(await asyncio.gather(*(spool.durable(spool.append([usage_record(n)])) for n in range(50))))
        assert _syncs() <= before + 2


async def test_otherwise_a_record_is_durable_once_written_and_the_sync_follows(tmp_path: Path) -> None:
    async with open_spool(tmp_path, SystemClock(), structlog.get_logger(), SpoolOptions()) as spool:
        before = _syncs()
        assert await spool.durable(spool.append([usage_record(1)]))
        assert _syncs() == before
    assert _syncs() > before


async def test_a_failed_sync_makes_nothing_durable_and_is_told(tmp_path: Path) -> None:
    told: list[BaseException] = []
    reading, writing = os.pipe()  # a pipe cannot be synced
    no_file = SyncWork(folder=tmp_path, sync=(writing,), close=(reading, writing), unlink=(), names_changed=False)
    with ThreadPoolExecutor(1) as thread:
        sync = GroupSync(lambda: no_file, thread, SystemClock(), delay_s=0.0, on_failure=told.append)
        assert not await sync.request()
    assert [type(error) for error in told] == [OSError]


async def test_after_a_failed_sync_new_requests_are_refused(tmp_path: Path) -> None:
    options = SpoolOptions(sync_always=True)
    async with open_spool(tmp_path, SystemClock(), structlog.get_logger(), options) as spool:
        spool.admit()
        spool.note_failure(OSError(5, "Input/output error"))
        with pytest.raises(ServiceUnavailable):
            spool.admit()
