"""The usage spool on a disk: what is appended survives a kill of the process at once, a power cut after the next sync.

An entry is written on the event loop (microseconds, into the page cache); syncs, removals and reads of what is no
longer in memory happen in a thread. Acknowledgements are entries too. Segments leave in order, once all their records
are acknowledged; intents still open are written again at the end before.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from google.protobuf.json_format import MessageToJson
from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.clock import Clock
from asahi_core.errors import ServiceUnavailable
from asahi_edge.domain.spool import OpenIntent
from asahi_edge.stores.frames import Damage, Kind
from asahi_edge.stores.recovery import (
    KEY_BYTES,
    Found,
    delivered_entry,
    key_of,
    payload_of,
    record_in,
)
from asahi_edge.stores.segments import Extent, Position, SegmentedLog
from asahi_edge.stores.syncing import GroupSync

_REFUSED = "refused.jsonl"
_IN_MEMORY = 2000
_RETRY_S = 0.25
_FAILING_S = 1.0


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """How a spool behaves."""

    max_bytes: int = 256 * 1024 * 1024
    """Above, no new request is admitted; those under way are still recorded."""
    persistent: bool = True
    """Whether the disk outlives the process's container."""
    sync_always: bool = False
    """Whether a record counts as durable only once it is synced."""
    sync_delay_s: float = 0.008
    """How long writes gather for a sync; at risk on power loss is this and one sync."""
    segment_bytes: int = 4 * 1024 * 1024
    """Size of one file; at most an eighth of `max_bytes`, so that what is delivered makes room."""

    def open_log(self, folder: Path) -> SegmentedLog:
        """The log in `folder`."""
        return SegmentedLog(folder, segment_bytes=min(self.segment_bytes, self.max_bytes // 8))


@dataclass(slots=True)
class _Open:
    segment: int
    payload: bytes
    opened_at: float | None


class DiskSpool:
    """A spool in one folder; `opening.open_spool` makes it. Belongs to the event loop's thread."""

    def __init__(
        self,
        folder: Path,
        segments: SegmentedLog,
        found: Found,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        options: SpoolOptions,
    ) -> None:
        self._folder = folder
        self._segments = segments
        self._clock = clock
        self._log = log
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._sync = GroupSync(
            lambda: segments.take_sync_work(sync=options.persistent),
            self._thread,
            clock,
            delay_s=0.0 if options.sync_always else options.sync_delay_s,
            on_failure=self.note_failure,
        )
        self._open = {key: _Open(segment, payload, None) for key, (segment, payload) in found.intents.items()}
        self._head: deque[tuple[UsageRecord, Position]] = deque()
        """The oldest records in the log that are not acknowledged, as many as memory may hold."""
        self._unwritten: deque[UsageRecord] = deque()
        """What the disk did not take, newer than all in the log."""
        self._delivered_to = found.delivered
        self._written = found.records
        self._retry: asyncio.TimerHandle | None = None
        self._failing_until = clock.monotonic()
        self.appended = found.records
        self.delivered = 0
        self.damaged = found.damaged
        """Stretches of the log that could not be read, since start."""
        self._sweep()

    @property
    def bytes(self) -> int:
        """What the log takes on the disk."""
        return self._segments.bytes

    @property
    def max_bytes(self) -> int:
        """Above, no new request is admitted."""
        return self._options.max_bytes

    @property
    def open_intents(self) -> int:
        """Provider calls that have no record yet."""
        return len(self._open)

    def admit(self) -> None:
        """Raises ServiceUnavailable while the spool is over its bound or its disk takes nothing."""
        if self._unwritten or self._clock.monotonic() < self._failing_until:
            raise ServiceUnavailable("Usage cannot be written at the moment; try again in 2 s.", retry_after_s=2.0)
        if self._segments.bytes >= self._options.max_bytes:
            raise ServiceUnavailable(
                "Too much usage waits for its delivery to billing; try again in 5 s.", retry_after_s=5.0
            )

    def intend(self, intent: UsageRecord) -> None:
        """Writes an intent. Raises ServiceUnavailable when the disk does not take it."""
        payload = payload_of(intent)
        try:
            (end,) = self._segments.append([(Kind.INTENT, payload)])
        except OSError as error:
            self.note_failure(error)
            raise ServiceUnavailable(
                "Usage cannot be written at the moment, so the request is refused; try again in 2 s.", retry_after_s=2.0
            ) from error
        self._open[key_of(intent)] = _Open(end.segment, payload, self._clock.monotonic())
        self._sync.request()

    def append(self, records: Sequence[UsageRecord]) -> int:
        """Writes records, or keeps them in memory and tries again until the disk takes them or billing does."""
        self._unwritten.extend(records)
        self.appended += len(records)
        self._write()
        return self.appended - 1

    async def durable(self, number: int) -> bool:
        """Whether record `number` is written, and synced where that is asked for, on a disk that lasts."""
        if not self._options.persistent or number >= self._written:
            return False
        return not self._options.sync_always or await asyncio.shield(self._sync.request())

    async def oldest(self, limit: int) -> list[UsageRecord]:
        """From memory where they are there, else from the disk."""
        if not self._head and self._written > self.delivered:
            await self._load()
        if self._head:
            return [record for record, _ in islice(self._head, limit)]
        return list(islice(self._unwritten, limit))

    def acknowledge(self, count: int) -> None:
        """Notes it in the log, and drops the segments that nothing needs any more."""
        noted = self._delivered_to
        for _ in range(count):
            if self._head:
                _, self._delivered_to = self._head.popleft()
            else:
                self._open.pop(key_of(self._unwritten.popleft()), None)
                self._written += 1
        self.delivered += count
        if self._delivered_to != noted:
            with suppress(OSError):  # unnoted, they are delivered once more by the next process, and counted once
                self._segments.append([delivered_entry(self._delivered_to)])
        self._sweep()

    async def refuse(self, record: UsageRecord, reason: str) -> None:
        """Adds the record as a line of JSON to `refused.jsonl`, synced."""
        line = f'{{"reason": {json.dumps(reason)}, "record": {MessageToJson(record, indent=None)}}}\n'
        await asyncio.get_running_loop().run_in_executor(self._thread, _add_line, self._folder / _REFUSED, line)

    def intents(self) -> Iterator[OpenIntent]:
        """Open intents; not to be asked on after another call has changed the spool."""
        return (OpenIntent(record_in(intent.payload), intent.opened_at) for intent in self._open.values())

    def note_failure(self, error: BaseException) -> None:
        """The disk failed: admits nobody for a second."""
        now = self._clock.monotonic()
        if now >= self._failing_until:
            self._log.error("spool_write_failed", error=str(error))
        self._failing_until = now + _FAILING_S

    async def close(self) -> None:
        """Syncs everything."""
        if self._retry is not None:
            self._retry.cancel()
        self._write()
        await self._sync.settled()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._segments.close)
        except OSError as error:
            self._log.error("spool_close_failed", error=str(error))
        if self._unwritten:
            self._log.error("usage_lost", records=len(self._unwritten), reason="the disk of the spool took nothing")
        self._thread.shutdown()

    def _write(self) -> None:
        """Writes what is not written yet; tries again later if the disk takes nothing."""
        if not self._unwritten:
            return
        payloads = [payload_of(record) for record in self._unwritten]
        try:
            ends = self._segments.append([(Kind.RECORD, payload) for payload in payloads])
        except OSError as error:
            self.note_failure(error)
            self._retry_later()
            return
        in_memory = len(self._head) == self._written - self.delivered
        for record, payload, end in zip(self._unwritten, payloads, ends, strict=True):
            self._open.pop(payload[:KEY_BYTES], None)
            in_memory = in_memory and len(self._head) < _IN_MEMORY
            if in_memory:
                self._head.append((record, end))
        self._written += len(ends)
        self._unwritten.clear()
        self._sync.request()

    def _retry_later(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._write)

    async def _load(self) -> None:
        """Fills the head from the disk."""
        extents, written = self._segments.extents(self._delivered_to), self._written
        loop = asyncio.get_running_loop()
        loaded, to_the_end = await loop.run_in_executor(self._thread, _read_records, extents)
        self._head.extend(loaded)
        lost = written - self.delivered - len(loaded)
        if to_the_end and lost:
            self.delivered += lost
            self.damaged += lost
            self._log.error("spool_records_unreadable", records=lost)

    def _sweep(self) -> None:
        """Drops delivered segments, oldest first."""
        for segment in self._segments.closed():
            if segment.number >= self._delivered_to.segment and self._written > self.delivered:
                return
            still_open = [intent for intent in self._open.values() if intent.segment == segment.number]
            try:
                ends = self._segments.append([(Kind.INTENT, intent.payload) for intent in still_open])
            except OSError as error:
                self.note_failure(error)
                return
            for intent, end in zip(still_open, ends, strict=True):
                intent.segment = end.segment
            self._segments.remove(segment)
            self._sync.request()


def _read_records(extents: Sequence[Extent]) -> tuple[list[tuple[UsageRecord, Position]], bool]:
    """The first records, as many as memory may hold, and whether there is no more."""
    records: list[tuple[UsageRecord, Position]] = []
    for extent in extents:
        for position, item in extent.read():
            if not isinstance(item, Damage) and item.kind is Kind.RECORD:
                if len(records) == _IN_MEMORY:
                    return records, False
                records.append((record_in(item.payload), position))
    return records, True


def _add_line(path: Path, line: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
