"""Builders of usage, and a ledger that counts as billing does."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.errors import AsahiError

Name = tuple[str, str, int]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def usage_record(request: int, *, organization: str = "org-1", attempt: int = 1, model: str = "gpt-4o") -> UsageRecord:
    record = UsageRecord(
        organization_id=organization,
        request_id=f"request-{request}",
        attempt=attempt,
        api_key_id="key-1",
        model=model,
        provider="openai",
        cost_nanos=1_000 + request,
        answered=True,
        tags={"team": "research"},
        routing_reason="The cheapest model that is good enough for this kind of work.",
    )
    record.occurred_at.FromDatetime(NOON)
    return record


def name_of(record: UsageRecord) -> Name:
    return record.organization_id, record.request_id, record.attempt


class CountingLedger:
    """Keeps what it is given, once by name as billing does, and refuses or fails as told."""

    def __init__(self) -> None:
        self.records: dict[Name, UsageRecord] = {}
        self.seen: Counter[Name] = Counter()
        self.batches: list[int] = []
        self.failure: AsahiError | None = None
        self.refuses: Callable[[UsageRecord], AsahiError | None] = lambda _: None
        self.never_answers = False

    async def record(self, records: Sequence[UsageRecord]) -> None:
        if self.never_answers:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        for record in records:
            error = self.refuses(record)
            if error is not None:
                raise error
        self.batches.append(len(records))
        for record in records:
            self.seen[name_of(record)] += 1
            self.records.setdefault(name_of(record), record)

    @property
    def names(self) -> list[Name]:
        """What was recorded, in the order in which it came first."""
        return list(self.records)
