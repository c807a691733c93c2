"""Where usage waits for billing: what the delivery needs of it, kept by a disk or, in tests, by memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.billing.v1.billing_pb2 import UsageRecord


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """A provider call that was announced and has no record yet."""

    record: UsageRecord
    """As it stood before the call; its usage is what the call was expected to take."""
    opened_at: float | None
    """Monotonic seconds; None: an earlier process announced it."""


class Spool(Protocol):
    """Keeps records in order until they are acknowledged, and intents until their record comes.

    Records are numbered from 0, those that an earlier process left first. Messages are not changed once handed over.
    """

    @property
    def appended(self) -> int:
        """How many records were taken over; the next one gets this number."""
        ...

    @property
    def delivered(self) -> int:
        """Records with a number below are done with."""
        ...

    def admit(self) -> None:
        """Raises ServiceUnavailable while one more request could not be recorded."""
        ...

    def intend(self, intent: UsageRecord) -> None:
        """Keeps an intent. Raises ServiceUnavailable when it cannot: the call must not be made then."""
        ...

    def append(self, records: Sequence[UsageRecord]) -> int:
        """Keeps records, closes their intents, and returns the number of the last. Drops none, whatever happens."""
        ...

    async def durable(self, number: int) -> bool:
        """Whether record `number` outlives this process here; False: only billing's acknowledgement is certain."""
        ...

    async def oldest(self, limit: int) -> list[UsageRecord]:
        """Up to `limit` records that are not acknowledged, oldest first; empty: none waits."""
        ...

    def acknowledge(self, count: int) -> None:
        """The `count` oldest records are done with; they were returned by the last `oldest`."""
        ...

    async def refuse(self, record: UsageRecord, reason: str) -> None:
        """Sets a record aside for a person, durably, before it is acknowledged. Raises OSError when it cannot."""
        ...

    def intents(self) -> Iterable[OpenIntent]:
        """Open intents, those of an earlier process first, then oldest first."""
        ...
