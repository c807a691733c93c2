"""A spool in the process's memory, for tests: keeps the promises of the one on the disk, and ends with the process."""

from collections import deque
from collections.abc import Iterator, Sequence

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.clock import Clock
from asahi_core.errors import ServiceUnavailable
from asahi_edge.domain.spool import OpenIntent
from asahi_edge.stores.recovery import key_of


class MemorySpool:
    """Holds everything until it is acknowledged."""

    def __init__(self, clock: Clock, *, max_bytes: int = 256 * 1024 * 1024, persistent: bool = True) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._persistent = persistent
        self._records: deque[UsageRecord] = deque()
        self._open: dict[bytes, OpenIntent] = {}
        self.appended = 0
        self.delivered = 0
        self.refused: list[tuple[UsageRecord, str]] = []

    def admit(self) -> None:
        """Raises ServiceUnavailable while the spool is over its bound."""
        held = [*self._records, *(intent.record for intent in self._open.values())]
        if sum(record.ByteSize() for record in held) >= self._max_bytes:
            raise ServiceUnavailable("Too much usage waits for its delivery; try again in 5 s.", retry_after_s=5.0)

    def intend(self, intent: UsageRecord) -> None:
        """Keeps an intent."""
        self._open[key_of(intent)] = OpenIntent(intent, self._clock.monotonic())

    def append(self, records: Sequence[UsageRecord]) -> int:
        """Keeps records."""
        for record in records:
            self._open.pop(key_of(record), None)
            self._records.append(record)
        self.appended += len(records)
        return self.appended - 1

    async def durable(self, number: int) -> bool:
        """What it was told to say."""
        return self._persistent

    async def oldest(self, limit: int) -> list[UsageRecord]:
        """The oldest records."""
        return [self._records[i] for i in range(min(limit, len(self._records)))]

    def acknowledge(self, count: int) -> None:
        """Forgets the oldest records."""
        for _ in range(count):
            self._records.popleft()
        self.delivered += count

    async def refuse(self, record: UsageRecord, reason: str) -> None:
        """Keeps the record in `refused`."""
        self.refused.append((record, reason))

    def intents(self) -> Iterator[OpenIntent]:
        """Open intents, oldest first."""
        return iter(self._open.values())
