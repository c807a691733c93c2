"""The spool against a real disk, real processes and real kills."""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
import structlog

from asahi_core.clock import SystemClock
from asahi_core.errors import ServiceUnavailable
from asahi_edge.stores.folders import FolderInUse, LockedFolder
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import DiskSpool, SpoolOptions
from services.edge.tests.usage_records import usage_record

_LOG = structlog.get_logger()
_ROOT = Path(__file__).parents[3]
_WRITER = "services.edge.tests.usage_writer"
_GUARD_S = 60


def _open(root: Path, options: SpoolOptions | None = None) -> AbstractAsyncContextManager[DiskSpool]:
    return open_spool(root, SystemClock(), _LOG, options or SpoolOptions())


async def _drain(spool: DiskSpool) -> list[str]:
    requests = []
    while batch := await spool.oldest(500):
        requests += [record.request_id for record in batch]
        spool.acknowledge(len(batch))
    return requests


def _told_before_a_kill(root: Path, life: int, sync_always: bool) -> set[str]:
    """The requests that a writing process told as settled before it was killed, at a random moment."""
    arguments = [sys.executable, "-m", _WRITER, str(root), str(life * 1_000_000), str(int(sync_always))]
    with subprocess.Popen(arguments, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = {writer.stdout.readline().strip() for _ in range(random.randint(1, 300))}
        writer.send_signal(signal.SIGKILL)
        told |= {line.strip() for line in writer.stdout if line.endswith("\n")}
    assert "" not in told, "the writer ended by itself"
    return told


@pytest.mark.parametrize("sync_always", [False, True])
async def test_every_record_that_a_caller_was_told_of_survives_kill_9(tmp_path: Path, sync_always: bool) -> None:
    told = {request for life in range(4) for request in _told_before_a_kill(tmp_path, life, sync_always)}
    async with _open(tmp_path) as spool:
        intents = {intent.record.request_id for intent in spool.intents()}
        delivered = await _drain(spool)
        assert spool.damaged == 0
    assert told <= set(delivered)
    assert len(delivered) == len(set(delivered))
    assert len(intents) <= 4, "at most the call under way at each kill is without its record"
    assert intents.isdisjoint(delivered)


async def test_damage_in_the_middle_is_counted_and_what_follows_is_delivered(tmp_path: Path) -> None:
    async with _open(tmp_path) as spool:
        spool.append([usage_record(n) for n in range(3)])
    (segment,) = (tmp_path / "1").glob("*.log")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    async with _open(tmp_path) as spool:
        assert spool.damaged == 1
        assert await _drain(spool) == ["request-0", "request-2"]


async def test_damage_that_comes_while_records_wait_holds_up_nothing(tmp_path: Path) -> None:
    async with _open(tmp_path) as spool:
        spool.append([usage_record(n) for n in range(3)])
    async with _open(tmp_path) as spool:
        (segment,) = (tmp_path / "1").glob("*.log")
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 0xFF
        segment.write_bytes(data)
        assert await _drain(spool) == ["request-0", "request-2"]
        assert spool.damaged == 1
        assert spool.delivered == spool.appended
        spool.append([usage_record(4)])
        assert await _drain(spool) == ["request-4"]


async def test_more_than_memory_holds_is_delivered_in_order_from_the_disk(tmp_path: Path) -> None:
    count = 7000
    options = SpoolOptions(segment_bytes=200_000)
    async with _open(tmp_path, options) as spool:
        for n in range(count // 2):
            spool.append([usage_record(n)])
        first = [record.request_id for record in await spool.oldest(500)]
        spool.acknowledge(500)
        for n in range(count // 2, count):
            spool.append([usage_record(n)])
        assert first + await _drain(spool) == [f"request-{n}" for n in range(count)]


async def test_delivered_segments_leave_the_disk(tmp_path: Path) -> None:
    options = SpoolOptions(segment_bytes=2_000)
    async with _open(tmp_path, options) as spool:
        spool.intend(usage_record(0))
        for n in range(1, 200):
            spool.append([usage_record(n)])
        await _drain(spool)
    assert sum(path.stat().st_size for path in (tmp_path / "1").glob("*.log")) < 4_000
    async with _open(tmp_path, options) as spool:
        assert [intent.record for intent in spool.intents()] == [usage_record(0)]
        assert await _drain(spool) == []


async def test_a_folder_is_held_by_one_process_and_the_next_takes_the_next(tmp_path: Path) -> None:
    async with _open(tmp_path) as first, _open(tmp_path) as second:
        first.append([usage_record(1)])
        second.append([usage_record(2)])
        with pytest.raises(FolderInUse, match="is in use by another process; stop it or choose another folder"):
            LockedFolder(tmp_path / "1")
        assert await _drain(first) == ["request-1"]
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


async def test_what_an_abandoned_folder_holds_is_adopted_and_a_held_one_is_left_alone(tmp_path: Path) -> None:
    async with _open(tmp_path) as first:
        async with _open(tmp_path) as second:
            second.intend(usage_record(20))
            second.append([usage_record(21), usage_record(22)])
            await second.oldest(1)
            second.acknowledge(1)
        first.append([usage_record(11)])
        async with _open(tmp_path) as second:
            assert await _drain(second) == ["request-22"]
            second.append([usage_record(23)])
    async with _open(tmp_path) as first:
        assert await _drain(first) == ["request-11", "request-23"]
        assert [intent.record for intent in first.intents()] == [usage_record(20)]
        assert not list((tmp_path / "2").glob("*.log"))


async def test_a_refused_record_is_kept_for_a_person(tmp_path: Path) -> None:
    async with _open(tmp_path) as spool:
        await spool.refuse(usage_record(1), 'It said "no".')
        await spool.refuse(usage_record(2), "Nor this.")
    lines = [json.loads(line) for line in (tmp_path / "1" / "refused.jsonl").read_text().splitlines()]
    assert [(line["reason"], line["record"]["requestId"]) for line in lines] == [
        ('It said "no".', "request-1"),
        ("Nor this.", "request-2"),
    ]


async def test_a_spool_on_a_disk_that_does_not_last_promises_nothing(tmp_path: Path) -> None:
    async with _open(tmp_path, SpoolOptions(persistent=False)) as spool:
        assert not await spool.durable(spool.append([usage_record(1)]))
    async with _open(tmp_path, SpoolOptions(persistent=False)) as spool:
        assert await _drain(spool) == ["request-1"]


@contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, the kernel writes up to a point and then no more: beyond `size` in any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_while_the_disk_is_full_calls_are_refused_and_records_are_kept_until_it_has_room(tmp_path: Path) -> None:
    async with _open(tmp_path) as spool:
        spool.append([usage_record(1)])
        with _files_no_larger_than(100):
            number = spool.append([usage_record(2), usage_record(3)])
            assert not await spool.durable(number)
            with pytest.raises(ServiceUnavailable) as refused:
                spool.admit()
            assert refused.value.retry_after_s
            with pytest.raises(ServiceUnavailable, match="the request is refused"):
                spool.intend(usage_record(4))
            assert spool.appended == 3
        async with asyncio.timeout(_GUARD_S):
            while not await spool.durable(number):  # noqa: ASYNC110 - the spool tries again by itself, and tells nobody
                await asyncio.sleep(0.01)
    async with _open(tmp_path) as spool:
        assert await _drain(spool) == ["request-1", "request-2", "request-3"]
        assert spool.damaged == 0


async def test_what_a_full_disk_does_not_take_goes_to_billing_from_memory(tmp_path: Path) -> None:
    async with _open(tmp_path) as spool:
        spool.intend(usage_record(2))
        spool.append([usage_record(1)])
        with _files_no_larger_than(100):
            spool.append([usage_record(2)])
            assert spool.open_intents == 1, "the intent stands for the record until one of them is safe"
            assert await _drain(spool) == ["request-1", "request-2"]
            assert spool.open_intents == 0
        assert spool.appended == spool.delivered == 2
