"""The bytes of a log: entries framed by a marker, a checksum and a length, found again after damage.

A frame is marker (4) | CRC-32 of what follows (4) | length of the payload (4) | kind (1) | payload; little endian. The
marker is random for each file, so that no payload can pass for a frame when a damaged one is searched for its end.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MARKER_BYTES = 4
_CHECKED = struct.Struct("<IB")
_CRC = struct.Struct("<I")
_HEADER_BYTES = MARKER_BYTES + _CRC.size + _CHECKED.size


class Kind(IntEnum):
    """What an entry says."""

    INTENT = 1
    """A provider call is about to be made."""
    RECORD = 2
    """What a call cost."""
    DELIVERED = 3
    """Everything up to a position is acknowledged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An intact frame; `end` is the offset after it."""

    kind: Kind
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that hold no intact frame."""

    start: int
    end: int
    torn: bool
    """Whether it is the unfinished last write of a process that was killed; nobody was told that it was written."""


def encode(marker: bytes, kind: Kind, payload: bytes) -> bytes:
    """The frame of one entry."""
    checked = _CHECKED.pack(len(payload), kind) + payload
    return marker + _CRC.pack(zlib.crc32(checked)) + checked


def decode(data: bytes, marker: bytes, start: int) -> Iterator[Entry | Damage]:
    """The entries of a file from offset `start` on; what is damaged is told and stepped over."""
    at = start
    while at < len(data):
        entry = _entry(data, marker, at)
        if entry is None:
            intact = _next_intact(data, marker, at + 1)
            yield Damage(at, intact, torn=intact == len(data) and _unfinished(data, marker, at))
            at = intact
        else:
            yield entry
            at = entry.end


def _entry(data: bytes, marker: bytes, at: int) -> Entry | None:
    """The intact frame at `at`, if there is one."""
    begin = at + _HEADER_BYTES
    if begin > len(data) or not data.startswith(marker, at):
        return None
    length, kind = _CHECKED.unpack_from(data, at + MARKER_BYTES + _CRC.size)
    end = begin + length
    if end > len(data):
        return None
    (crc,) = _CRC.unpack_from(data, at + MARKER_BYTES)
    payload = data[begin:end]
    if zlib.crc32(payload, zlib.crc32(data[begin - _CHECKED.size : begin])) != crc or kind not in _KINDS:
        return None
    return Entry(_KINDS[kind], payload, end)


_KINDS = {int(kind): kind for kind in Kind}


def _next_intact(data: bytes, marker: bytes, at: int) -> int:
    """The offset of the first intact frame from `at` on, or the end of the data."""
    while (at := data.find(marker, at)) >= 0:
        if _entry(data, marker, at) is not None:
            return at
        at += 1
    return len(data)


def _unfinished(data: bytes, marker: bytes, at: int) -> bool:
    """Whether the rest of the data is the beginning of a frame, or what a file system fills in after a power cut."""
    rest = data[at:]
    if not rest.strip(b"\0"):
        return True
    if not rest.startswith(marker[: len(rest)]):
        return False
    if len(rest) < _HEADER_BYTES:
        return True
    length, _ = _CHECKED.unpack_from(rest, MARKER_BYTES + _CRC.size)
    return int(length) > len(rest) - _HEADER_BYTES
