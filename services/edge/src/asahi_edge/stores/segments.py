"""An append-only log in a folder: files of bounded size, written at their end only and removed whole.

Everything but `SyncWork.run` and `Extent.read` belongs to one thread, and blocks no longer than a write to memory.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from asahi_edge.stores.frames import MARKER_BYTES, Damage, Entry, Kind, decode, encode

_NAME = "[0-9]*-*.log"


class Position(NamedTuple):
    """A place in the log: the number of a segment, an offset in it."""

    segment: int
    offset: int


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the log."""

    number: int
    marker: bytes
    path: Path
    size: int
    fd: int = -1
    """Open for writing where it is not negative."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The part of a segment that was written when the extent was taken."""

    number: int
    marker: bytes
    path: Path
    start: int
    end: int

    def read(self) -> Iterator[tuple[Position, Entry | Damage]]:
        """What it holds, each with the position after it; reads the file."""
        with self.path.open("rb") as file:
            data = file.read(self.end)
        for item in decode(data, self.marker, self.start):
            yield Position(self.number, item.end), item


@dataclass(frozen=True, slots=True)
class SyncWork:
    """What makes the log durable as it stood when the work was taken."""

    folder: Path
    sync: tuple[int, ...]
    close: tuple[int, ...]
    unlink: tuple[Path, ...]
    names_changed: bool

    def run(self) -> None:
        """Syncs, and only then removes what is not needed any more. Blocks; raises OSError."""
        try:
            for fd in self.sync:
                os.fdatasync(fd)
            if self.names_changed:
                _sync_folder(self.folder)
        finally:
            for fd in self.close:
                os.close(fd)
        for path in self.unlink:
            path.unlink(missing_ok=True)


class SegmentedLog:
    """The log of one folder. A new process starts a new segment, so that a torn end stays an end."""

    def __init__(self, folder: Path, *, segment_bytes: int, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._random_bytes = random_bytes
        found = sorted(map(_segment, folder.glob(_NAME)), key=lambda segment: segment.number)
        self._segments = {segment.number: segment for segment in found}
        self._next_number = found[-1].number + 1 if found else 1
        self._active: Segment | None = None
        self._retired: list[Segment] = []
        self._doomed: list[Segment] = []
        self._names_changed = False
        self.bytes = sum(segment.size for segment in found)
        """Size of all segments."""

    def append(self, entries: Sequence[tuple[Kind, bytes]]) -> list[Position]:
        """Writes all entries or none, and returns the position after each. Raises OSError, as on a full disk."""
        if not entries:
            return []
        segment = self._writable()
        frames = [encode(segment.marker, kind, payload) for kind, payload in entries]
        data = b"".join(frames)
        self._write(segment, data)
        offsets = accumulate(map(len, frames), initial=segment.size)
        ends = [Position(segment.number, offset) for offset in islice(offsets, 1, None)]
        segment.size += len(data)
        self.bytes += len(data)
        return ends

    def extents(self, start: Position) -> list[Extent]:
        """All that is written from `start` on."""
        return [
            Extent(s.number, s.marker, s.path, start.offset if s.number == start.segment else 0, s.size)
            for s in self._segments.values()
            if s.number >= start.segment
        ]

    def closed(self) -> list[Segment]:
        """The segments that nothing more is written to, oldest first."""
        return [segment for segment in self._segments.values() if segment is not self._active]

    def remove(self, segment: Segment) -> None:
        """Drops a closed segment; its file goes after the next sync."""
        del self._segments[segment.number]
        self.bytes -= segment.size
        self._doomed.append(segment)

    def take_sync_work(self, *, sync: bool = True) -> SyncWork:
        """The work that makes durable what is written, and removes what was dropped; to be run once, by any thread."""
        retired, self._retired = self._retired, []
        doomed, self._doomed = self._doomed, []
        active = [self._active] if self._active is not None else []
        work = SyncWork(
            folder=self._folder,
            sync=tuple(segment.fd for segment in [*retired, *active]) if sync else (),
            close=tuple(segment.fd for segment in retired),
            unlink=tuple(segment.path for segment in doomed),
            names_changed=sync and self._names_changed,
        )
        self._names_changed = False
        return work

    def close(self) -> None:
        """Syncs and closes everything. Blocks; raises OSError."""
        if self._active is not None:
            self._retire(self._active)
        self.take_sync_work().run()

    def _writable(self) -> Segment:
        if self._active is not None and self._active.size >= self._segment_bytes:
            self._retire(self._active)
        if self._active is None:
            marker = self._random_bytes(MARKER_BYTES)
            path = self._folder / f"{self._next_number:012d}-{marker.hex()}.log"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._active = Segment(self._next_number, marker, path, 0, fd)
            self._segments[self._next_number] = self._active
            self._next_number += 1
            self._names_changed = True
        return self._active

    def _retire(self, segment: Segment) -> None:
        self._active = None
        self._retired.append(segment)

    def _write(self, segment: Segment, data: bytes) -> None:
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += os.pwrite(segment.fd, view[written:], segment.size + written)
        except OSError:
            with suppress(OSError):  # what is left is overwritten, or read as a torn end
                os.ftruncate(segment.fd, segment.size)
            if segment.size:
                self._retire(segment)  # another file may have room where this one is at its limit
            raise


def _segment(path: Path) -> Segment:
    number, _, marker = path.stem.partition("-")
    return Segment(int(number), bytes.fromhex(marker), path, path.stat().st_size)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
