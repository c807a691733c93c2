"""The ledger's store as the domain sees it, and the values that pass through it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from asahi.billing.v1.billing_pb2 import SpendingPlan, UsageRecord

REPRICING = "repricing"
"""Among the techniques of a sum of savings: what costs turned out to be above, or below, what was recorded."""


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
    """Exact sums over an organisation's records of a span. Money in nano-dollars; unknown prices are in none of it."""

    cost_nanos: int = 0
    overhead_nanos: int = 0
    orphan_nanos: int = 0
    original_nanos: int = 0
    compared_nanos: int = 0
    """The cost of the records that `original_nanos` covers."""
    requests: int = 0
    """Answered ones, each once. The figures below to `latency_ms` are of the records that answered them."""
    tier_1_hits: int = 0
    tier_2_hits: int = 0
    tier_3_hits: int = 0
    coalesced: int = 0
    latency_ms: float = 0.0
    price_unknown_calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    savings: dict[str, int] = field(default_factory=dict)
    """By technique."""

    def adjusted(self, nanos: int, compared_nanos: int) -> "Totals":
        """These sums with what repricings added to costs; `compared_nanos`: the part that savings are affected by."""
        savings = self.savings | ({REPRICING: -compared_nanos} if compared_nanos else {})
        return replace(
            self,
            cost_nanos=self.cost_nanos + nanos,
            compared_nanos=self.compared_nanos + compared_nanos,
            savings=savings,
        )


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
