"""`asahi.billing.v1.ReconciliationService`: cost reports in, comparisons out."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from asahi.billing.v1 import reconciliation_pb2 as pb
from asahi.billing.v1 import reconciliation_pb2_grpc
from asahi_billing.domain.cost_reports.reconciliation import Head, ReportDesk
from asahi_core.errors import InvalidRequest
from asahi_core.times import moment_of

_Context = grpc.aio.ServicerContext[Any, Any]


class ReconciliationServicer(reconciliation_pb2_grpc.ReconciliationServiceServicer):
    """Serves a `ReportDesk`."""

    def __init__(self, desk: ReportDesk) -> None:
        self._desk = desk

    async def ImportReport(
        self, request_iterator: AsyncIterator[pb.ImportReportRequest], context: _Context
    ) -> pb.ImportReportResponse:
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("head"):
            raise InvalidRequest("The first message has no head: it says whose report follows.", param="head")
        head = Head(first.head.organization_id, first.head.provider, dict(first.head.keys))
        return await self._desk.import_report(head, _pieces(request_iterator))

    async def GetReconciliation(
        self, request: pb.GetReconciliationRequest, context: _Context
    ) -> pb.GetReconciliationResponse:
        start, end = _time(request, "start_time"), _time(request, "end_time")
        found = await self._desk.reconciliation(request.organization_id, start, end)
        return pb.GetReconciliationResponse(reconciliation=found)


async def _pieces(requests: AsyncIterator[pb.ImportReportRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not request.HasField("chunk"):
            raise InvalidRequest("A message after the first has no chunk.", param="chunk")
        yield request.chunk


def _time(request: Message, field: str) -> datetime:
    if not request.HasField(field):
        raise InvalidRequest(f"{field} is missing.", param=field)
    time: Timestamp = getattr(request, field)
    return moment_of(time, field)
