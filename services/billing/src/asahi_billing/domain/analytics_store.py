"""What analytics needs of a store: figures, latencies and records of an organisation, read and never changed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.store import Span

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long answered requests took; milliseconds at each of `QUANTILES`."""

    model: str
    tier: int
    requests: int
    quantiles_ms: tuple[float, ...]


class AnalyticsStore(Protocol):
    """Raises ServiceUnavailable when it cannot be reached, DeadlineExceeded when a question takes too long."""

    async def by_value(self, organization_id: str, dimension: str, span: Span) -> dict[str, Figures]:
        """Figures by the values of a dimension."""
        ...

    async def by_time(self, organization_id: str, span: Span, *, days: bool = False) -> dict[int, Figures]:
        """Figures by the beginning (ns since 1970) of the hours that have any.

        With `days`, full days (UTC) are told as a whole, by their beginning.
        """
        ...

    async def latencies(self, organization_id: str, span: Span) -> tuple[Latencies | None, list[Latencies]]:
        """Latencies of full hours: of all requests (None: there are none), and by model and tier."""
        ...

    def export(self, organization_id: str, span: Span) -> AsyncIterator[Sequence[UsageRecord]]:
        """Every record of `span`, oldest first, a bounded number at a time."""
        ...
