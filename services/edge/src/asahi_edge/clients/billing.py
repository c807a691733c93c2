"""The billing service: the ledger."""

from collections.abc import Sequence
from datetime import datetime

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.clients.reservations import Reservations

_ERASE_S = 60.0
SERVICE = pb.DESCRIPTOR.services_by_name["BillingService"]


class BillingClient:
    """Calls the billing service."""

    def __init__(self, channel: ServiceChannel, reserve_timeout_s: float) -> None:
        self._stub = BillingServiceStub(channel)
        self._reserve_timeout_s = reserve_timeout_s
        self._reservations = Reservations(self._stub, reserve_timeout_s)

    async def record(self, records: Sequence[pb.UsageRecord], plans: Sequence[pb.SpendingPlan]) -> None:
        """Records usage durably, counted by `plans`; a record that is known already changes nothing."""
        await self._stub.RecordUsage(pb.RecordUsageRequest(records=records, plans=plans))

    async def reserve(self, request: pb.ReserveRequest, plans: Sequence[pb.SpendingPlan]) -> None:
        """Holds a call's upper bound; raises InsufficientQuota or BudgetReserved where a budget refuses it."""
        await self._reservations.reserve(request, plans)

    async def renew_holds(self, calls: Sequence[pb.CallKey], lease_s: float) -> Sequence[pb.CallKey]:
        """Prolongs holds; those that are not open any more."""
        request = pb.RenewHoldsRequest(calls=calls)
        request.lease.FromNanoseconds(int(lease_s * 1e9))
        ended: Sequence[pb.CallKey] = (await self._stub.RenewHolds(request)).ended
        return ended

    async def release_hold(self, call: pb.CallKey) -> None:
        """Gives back the hold of a call that was not made, also of one that arrives later."""
        await self._stub.ReleaseHold(pb.ReleaseHoldRequest(call=call), timeout=self._reserve_timeout_s)

    async def budgets(self, organization_id: str) -> Sequence[pb.BudgetState]:
        """How an organisation's budgets stand in their present windows, as far as anything was spent or is held."""
        states: Sequence[pb.BudgetState]
        states = (await self._stub.GetBudgets(pb.GetBudgetsRequest(organization_id=organization_id))).budgets
        return states

    async def erase_identities(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        """Takes out who asked, of one end user or of all; how many records and alerts named somebody."""
        request = pb.EraseIdentitiesRequest(organization_id=organization_id, user_id=user_id)
        erased = await self._stub.EraseIdentities(request, timeout=_ERASE_S)
        return erased.records, erased.alerts

    async def cost_summary(self, organization_id: str, start: datetime, end: datetime) -> pb.GetCostSummaryResponse:
        """Sums of an organisation over [start, end)."""
        request = pb.GetCostSummaryRequest(organization_id=organization_id)
        request.start_time.FromDatetime(start)
        request.end_time.FromDatetime(end)
        return await self._stub.GetCostSummary(request)

    async def inferences(self, organization_id: str, page_size: int, page_token: str) -> pb.ListInferencesResponse:
        """A page of an organisation's requests, newest first."""
        request = pb.ListInferencesRequest(organization_id=organization_id, page_size=page_size, page_token=page_token)
        return await self._stub.ListInferences(request)

    async def inference(self, organization_id: str, request_id: str) -> pb.Inference:
        """One request; raises NotFound, in the same words for an unknown and a foreign one."""
        request = pb.GetInferenceRequest(organization_id=organization_id, request_id=request_id)
        return (await self._stub.GetInference(request)).inference
