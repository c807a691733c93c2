"""The billing service: the ledger."""

from collections.abc import Sequence
from datetime import datetime

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["BillingService"]


class BillingClient:
    """Calls the billing service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = BillingServiceStub(channel)

    async def record(self, records: Sequence[pb.UsageRecord]) -> None:
        """Records usage durably; a record that is known already changes nothing."""
        await self._stub.RecordUsage(pb.RecordUsageRequest(records=records))

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
