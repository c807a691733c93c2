"""Repricing: counter-entries for calls that were recorded at a price that was wrong. Records are never changed."""

from collections.abc import Sequence
from datetime import UTC
from typing import Protocol

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.billing.v1.prices_pb2 import RepriceRequest, RepriceResponse
from asahi_billing.domain.operations import Operation, Reprice
from asahi_billing.domain.rules import charged_nanos
from asahi_billing.domain.store import Span
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest
from asahi_core.globs import matches_any
from asahi_core.ids import Ids
from asahi_core.prices import Books
from asahi_core.times import nanos_of

_AT_ONCE = 500
_NANOS = 1_000_000_000


class CallStore(Protocol):
    """The ledger's records and accounts. Raises ServiceUnavailable when it cannot be reached."""

    async def calls_after(
        self, organization_id: str, span: Span, after_id: int, limit: int
    ) -> Sequence[tuple[int, UsageRecord]]:
        """Provider calls of a span, in the order in which they were recorded, after a place; each with its own."""
        ...

    async def run(self, operation: Operation) -> tuple[int, int]:
        """What `operation` answers, once it is durable."""
        ...


class Repricing:
    """Books what calls cost by the prices of now against what they were recorded at."""

    def __init__(self, store: CallStore, prices: Books, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock
        self._ids = ids

    async def reprice(self, request: RepriceRequest) -> RepriceResponse:
        """Reprices an organisation's calls of a time; a call's overhead stays as it was recorded.

        Raises:
            InvalidRequest: no organisation, or no time in the past.
        """
        span = self._span(request)
        book = self._prices.of(request.organization_id)
        repricing_id = f"reprice:{self._ids.request_id()}"
        told = RepriceResponse(price_version=book.version)
        place = 0
        while found := await self._store.calls_after(request.organization_id, span, place, _AT_ONCE):
            place = found[-1][0]
            wanted = [
                record for _, record in found if not request.models or matches_any(record.model, [request.models])
            ]
            costs: list[tuple[UsageRecord, int]] = []
            for record in wanted:
                told.calls += 1
                cost = book.cost_nanos(record.model, record.usage, record.occurred_at.ToDatetime(UTC))
                if cost is None:
                    told.price_unknown_calls += 1
                else:
                    costs.append((record, cost + record.cost_nanos - charged_nanos(record)))
            if not costs:
                continue
            changed, nanos = await self._store.run(Reprice(costs, repricing_id, book.version, dry_run=request.dry_run))
            told.changed_calls += changed
            told.difference_nanos += nanos
        if told.changed_calls and not request.dry_run:
            told.repricing_id = repricing_id
        return told

    def _span(self, request: RepriceRequest) -> Span:
        if not request.organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        for field in ("start_time", "end_time"):
            if not request.HasField(field):
                raise InvalidRequest(f"{field} is missing.", param=field)
        now_ns = int(self._clock.now().timestamp() * _NANOS)
        start_ns, end_ns = nanos_of(request.start_time, "start_time"), nanos_of(request.end_time, "end_time")
        if not start_ns < end_ns <= now_ns:
            message = "A repricing is of a time in the past: start_time, then end_time, and that at most now."
            raise InvalidRequest(message, param="end_time")
        return Span(start_ns, end_ns)
