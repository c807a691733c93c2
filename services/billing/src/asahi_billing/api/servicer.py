"""`asahi.billing.v1.BillingService`: from messages to the ledger and back."""

from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1 import billing_pb2_grpc
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.store import Span
from asahi_core.errors import InvalidRequest

_Context = grpc.aio.ServicerContext[Any, Any]
_MAX_INT64 = 2**63 - 1


class BillingServicer(billing_pb2_grpc.BillingServiceServicer):
    """Serves a `Ledger`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def RecordUsage(self, request: pb.RecordUsageRequest, context: _Context) -> pb.RecordUsageResponse:
        recorded = await self._ledger.record(request.records)
        return pb.RecordUsageResponse(recorded=recorded.new, duplicates=recorded.duplicates)

    async def GetCostSummary(self, request: pb.GetCostSummaryRequest, context: _Context) -> pb.GetCostSummaryResponse:
        span = Span(_time(request, "start_time"), _time(request, "end_time"))
        return await self._ledger.cost_summary(request.organization_id, span)

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


def _time(request: Message, field: str) -> int:
    """Nanoseconds since 1970 of a timestamp field, as near as an int64 holds them."""
    if not request.HasField(field):
        raise InvalidRequest(f"{field} is missing.", param=field)
    time: Timestamp = getattr(request, field)
    return max(-_MAX_INT64, min(time.seconds * 1_000_000_000 + time.nanos, _MAX_INT64))
