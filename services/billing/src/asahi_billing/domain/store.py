"""The ledger's store as the domain sees it, and the values that pass through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.billing.v1.billing_pb2 import SpendingPlan, UsageRecord
from asahi_billing.domain.figures import Figures


@dataclass(frozen=True, slots=True)
class Span:
    """A time: nanoseconds since 1970, the end exclusive."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class OrphanPosition:
    """Where a page of orphans ended."""

    occurred_at_ns: int
    id: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact sums over an organisation's records of a span."""

    figures: Figures
    savings: Mapping[str, int]
    """Nano-dollars by technique."""


class UsageStore(Protocol):
    """Keeps usage records: they are added, never changed. Raises ServiceUnavailable when it cannot be reached."""

    async def append(self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan] = ()) -> int:
        """Adds what is not known yet by (organisation, request, attempt), durably; says how many that were.

        All of `records` are added or none, with what they change in budgets, as `plans` and those told before say.
        Records have passed `refusals`, plans `check_plan`.

        Raises:
            Overloaded: too many records wait already.
        """
        ...

    async def totals(self, organization_id: str, span: Span) -> Totals:
        """The organisation's sums over `span`."""
        ...

    async def newest_requests(self, organization_id: str, before: str, limit: int) -> list[list[UsageRecord]]:
        """The organisation's newest `limit` requests whose id is less than `before` (empty: all), newest first.

        Each with all its records, in order of attempts.
        """
        ...

    async def request(self, organization_id: str, request_id: str) -> list[UsageRecord]:
        """All records of one request of the organisation, in order of attempts."""
        ...

    async def newest_orphans(
        self, organization_id: str, before: OrphanPosition | None, limit: int
    ) -> list[tuple[OrphanPosition, UsageRecord]]:
        """The newest `limit` orphans before a position (None: all) of an organisation (empty: of all), newest first."""
        ...
