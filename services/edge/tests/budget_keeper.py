"""Billing as tests script it: one budget that is counted as billing counts it, and a ledger."""

from collections.abc import Sequence

from asahi.billing.v1.billing_pb2 import CallKey, ReserveRequest, SpendingPlan, UsageRecord
from asahi_core.errors import AsahiError, BudgetReserved, InsufficientQuota, VersionConflict
from services.edge.tests.usage_records import CountingLedger, Name


def name_of(call: CallKey | ReserveRequest) -> Name:
    return call.organization_id, call.request_id, call.attempt


class BudgetKeeper:
    """Holds against `limit_nanos`, and passes records on to the ledger."""

    def __init__(self, ledger: CountingLedger) -> None:
        self.ledger = ledger
        self.limit_nanos = 1_000_000_000
        self.held: dict[Name, int] = {}
        self.ended: set[Name] = set()
        """Calls whose hold was given back or settled."""
        self.reservations: list[ReserveRequest] = []
        self.held_against: list[SpendingPlan] = []
        """What came with the last reservation."""
        self.renewed: list[Name] = []
        self.plans: list[SpendingPlan] = []
        """What came with the last records."""
        self.failure: AsahiError | None = None

    async def reserve(self, request: ReserveRequest, plans: Sequence[SpendingPlan]) -> None:
        self.held_against = list(plans)
        if self.failure is not None:
            raise self.failure
        self.reservations.append(request)
        name, spent = name_of(request), sum(record.cost_nanos for record in self.ledger.records.values())
        if name in self.ended:
            raise VersionConflict("It has ended.")
        if spent + request.upper_bound_nanos > self.limit_nanos:
            raise InsufficientQuota("The budget is spent.")
        if spent + sum(self.held.values()) + request.upper_bound_nanos > self.limit_nanos:
            raise BudgetReserved("Calls under way hold it.", retry_after_s=1.0)
        self.held[name] = request.upper_bound_nanos

    async def renew_holds(self, calls: Sequence[CallKey], lease_s: float) -> Sequence[CallKey]:
        if self.failure is not None:
            raise self.failure
        self.renewed += map(name_of, calls)
        return [call for call in calls if name_of(call) not in self.held]

    async def release_hold(self, call: CallKey) -> None:
        if self.failure is not None:
            raise self.failure
        self._end(name_of(call))

    async def record(self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan]) -> None:
        await self.ledger.record(records)
        self.plans = list(plans)
        for record in records:
            self._end((record.organization_id, record.request_id, record.attempt))

    def _end(self, name: Name) -> None:
        self.held.pop(name, None)
        self.ended.add(name)
