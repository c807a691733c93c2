"""The billing service: the ledger beside providers' bills."""

from collections.abc import AsyncIterator
from datetime import datetime

from asahi.billing.v1 import reconciliation_pb2 as pb
from asahi.billing.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["ReconciliationService"]
IMPORT_TIMEOUT_S = 300.0


class ReconciliationClient:
    """Calls the billing service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = ReconciliationServiceStub(channel)

    async def import_report(self, head: pb.ReportHead, pieces: AsyncIterator[bytes]) -> pb.ImportReportResponse:
        """Hands a cost report on as it comes in."""

        async def messages() -> AsyncIterator[pb.ImportReportRequest]:
            yield pb.ImportReportRequest(head=head)
            async for piece in pieces:
                yield pb.ImportReportRequest(chunk=piece)

        return await self._stub.ImportReport(messages(), timeout=IMPORT_TIMEOUT_S)

    async def reconciliation(self, organization_id: str, start: datetime, end: datetime) -> pb.Reconciliation:
        """The ledger beside the imported reports, over the days of [start, end)."""
        request = pb.GetReconciliationRequest(organization_id=organization_id)
        request.start_time.FromDatetime(start)
        request.end_time.FromDatetime(end)
        return (await self._stub.GetReconciliation(request)).reconciliation
