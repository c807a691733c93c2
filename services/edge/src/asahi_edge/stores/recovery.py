"""What a log holds when a process takes it over: what waits for delivery, which intents are open, what is damaged."""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_edge.stores.frames import Damage, Kind
from asahi_edge.stores.segments import Position, SegmentedLog

KEY_BYTES = 16
_POSITION = struct.Struct("<QQ")
_COPY_AT_ONCE = 500


@dataclass(slots=True)
class Found:
    """The state of a log."""

    delivered: Position = field(default_factory=lambda: Position(0, 0))
    """All records up to here are acknowledged."""
    records: int = 0
    """Records after it."""
    intents: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Open intents by key, oldest first: the segment each stands in, and its entry's payload."""
    damaged: int = 0
    """Stretches that could not be read."""
    torn: int = 0
    """Unfinished last writes."""


def key_of(record: UsageRecord) -> bytes:
    """What names a provider call in the log, 16 bytes."""
    name = f"{record.organization_id}\0{record.request_id}\0{record.attempt}"
    return blake2b(name.encode(), digest_size=KEY_BYTES).digest()


def payload_of(record: UsageRecord) -> bytes:
    """The payload of a record's or an intent's entry: its key, then the message."""
    return key_of(record) + record.SerializeToString()


def record_in(payload: bytes) -> UsageRecord:
    """The message in a record's or an intent's entry."""
    return UsageRecord.FromString(payload[KEY_BYTES:])


def delivered_entry(position: Position) -> tuple[Kind, bytes]:
    """The entry that says that all records up to `position` are acknowledged."""
    return Kind.DELIVERED, _POSITION.pack(*position)


def survey(log: SegmentedLog) -> Found:
    """Reads the whole log. Blocks."""
    found = Found()
    waiting: deque[int] = deque()  # where records end, as one number each: there may be a million
    for extent in log.extents(found.delivered):
        for position, item in extent.read():
            if isinstance(item, Damage):
                found.torn += item.torn
                found.damaged += not item.torn
                continue
            match item.kind:
                case Kind.INTENT:
                    found.intents[item.payload[:KEY_BYTES]] = (position.segment, item.payload)
                case Kind.RECORD:
                    found.intents.pop(item.payload[:KEY_BYTES], None)
                    waiting.append(_as_number(position))
                case Kind.DELIVERED:
                    found.delivered = max(found.delivered, Position(*_POSITION.unpack(item.payload)))
                    while waiting and waiting[0] <= _as_number(found.delivered):
                        waiting.popleft()
    found.records = len(waiting)
    return found


def adopt(abandoned: SegmentedLog, target: SegmentedLog) -> Found:
    """Moves what another log still holds into `target`, durably before it is removed there.

    Blocks. Raises OSError; what was moved until then is in both, and billing counts it once.
    """
    found = survey(abandoned)
    chunk: list[tuple[Kind, bytes]] = [(Kind.INTENT, payload) for _, payload in found.intents.values()]
    for payload in _undelivered(abandoned, found.delivered):
        chunk.append((Kind.RECORD, payload))
        if len(chunk) >= _COPY_AT_ONCE:
            target.append(chunk)
            chunk = []
    if chunk:
        target.append(chunk)
    target.take_sync_work().run()
    for segment in abandoned.closed():
        abandoned.remove(segment)
    abandoned.take_sync_work().run()
    return found


def _undelivered(log: SegmentedLog, start: Position) -> Iterator[bytes]:
    for extent in log.extents(start):
        for _, item in extent.read():
            if not isinstance(item, Damage) and item.kind is Kind.RECORD:
                yield item.payload


def _as_number(position: Position) -> int:
    return position.segment << 32 | position.offset
