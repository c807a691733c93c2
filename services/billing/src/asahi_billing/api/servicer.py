"""`asahi.billing.v1.BillingService`: from messages to the ledger and back."""

from typing import Any

import grpc

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1 import billing_pb2_grpc
from asahi_billing.api.requests import span_of
from asahi_billing.domain.identities import Identities
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.plans import Call
from asahi_billing.domain.spending import DEFAULT_LEASE_NS, Spending
from asahi_core.errors import AsahiError
from asahi_core.rpc.status import status_from_error

_Context = grpc.aio.ServicerContext[Any, Any]


class BillingServicer(billing_pb2_grpc.BillingServiceServicer):
    """Serves a `Ledger`, its `Spending` and its `Identities`."""

    def __init__(self, ledger: Ledger, spending: Spending, identities: Identities) -> None:
        self._ledger = ledger
        self._spending = spending
        self._identities = identities

    async def RecordUsage(self, request: pb.RecordUsageRequest, context: _Context) -> pb.RecordUsageResponse:
        recorded = await self._ledger.record(request.records, request.plans, singly=request.reject_singly)
        return pb.RecordUsageResponse(recorded=recorded.new, duplicates=recorded.duplicates, rejected=recorded.rejected)

    async def GetCostSummary(self, request: pb.GetCostSummaryRequest, context: _Context) -> pb.GetCostSummaryResponse:
        return await self._ledger.cost_summary(request.organization_id, span_of(request))

    async def ListInferences(self, request: pb.ListInferencesRequest, context: _Context) -> pb.ListInferencesResponse:
        page, token = await self._ledger.inferences(request.organization_id, request.page_size, request.page_token)
        return pb.ListInferencesResponse(inferences=page, next_page_token=token)

    async def GetInference(self, request: pb.GetInferenceRequest, context: _Context) -> pb.GetInferenceResponse:
        return pb.GetInferenceResponse(
            inference=await self._ledger.inference(request.organization_id, request.request_id)
        )

    async def ListOrphans(self, request: pb.ListOrphansRequest, context: _Context) -> pb.ListOrphansResponse:
        page, token = await self._ledger.orphans(request.organization_id, request.page_size, request.page_token)
        return pb.ListOrphansResponse(records=page, next_page_token=token)

    async def Reserve(self, request: pb.ReserveRequest, context: _Context) -> pb.ReserveResponse:
        return _held(await self._spending.reserve(request, _lease(request)))

    async def ReserveMany(self, request: pb.ReserveManyRequest, context: _Context) -> pb.ReserveManyResponse:
        requests = [(one, _lease(one)) for one in request.reservations]
        outcomes = await self._spending.reserve_many(requests, request.plans)
        return pb.ReserveManyResponse(outcomes=map(_outcome, outcomes))

    async def RenewHolds(self, request: pb.RenewHoldsRequest, context: _Context) -> pb.RenewHoldsResponse:
        until, ended = await self._spending.renew([_call(key) for key in request.calls], _lease(request))
        answer = pb.RenewHoldsResponse(ended=[_key(call) for call in ended])
        answer.held_until.FromNanoseconds(until)
        return answer

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: _Context) -> pb.ReleaseHoldResponse:
        return pb.ReleaseHoldResponse(released=await self._spending.release(_call(request.call)))

    async def GetBudgets(self, request: pb.GetBudgetsRequest, context: _Context) -> pb.GetBudgetsResponse:
        states = await self._spending.budgets(request.organization_id, request.api_key_id, request.user_id)
        return pb.GetBudgetsResponse(budgets=states)

    async def EraseIdentities(
        self, request: pb.EraseIdentitiesRequest, context: _Context
    ) -> pb.EraseIdentitiesResponse:
        records, alerts = await self._identities.erase(request.organization_id, request.user_id)
        return pb.EraseIdentitiesResponse(records=records, alerts=alerts)

    async def CheckLedger(self, request: pb.CheckLedgerRequest, context: _Context) -> pb.CheckLedgerResponse:
        return await self._spending.check(request.organization_id)


def _held(until_ns: int) -> pb.ReserveResponse:
    answer = pb.ReserveResponse()
    answer.held_until.FromNanoseconds(until_ns)
    return answer


def _outcome(outcome: int | AsahiError) -> pb.ReserveOutcome:
    if isinstance(outcome, AsahiError):
        return pb.ReserveOutcome(failed_status=status_from_error(outcome).SerializeToString())
    return pb.ReserveOutcome(held=_held(outcome))


def _call(key: pb.CallKey) -> Call:
    return Call(key.organization_id, key.request_id, key.attempt)


def _key(call: Call) -> pb.CallKey:
    return pb.CallKey(organization_id=call.organization_id, request_id=call.request_id, attempt=call.attempt)


def _lease(request: pb.ReserveRequest | pb.RenewHoldsRequest) -> int:
    """Nanoseconds."""
    if not request.HasField("lease"):
        return DEFAULT_LEASE_NS
    return request.lease.seconds * 1_000_000_000 + request.lease.nanos
