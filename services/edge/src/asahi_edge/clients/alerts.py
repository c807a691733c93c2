"""The billing service: alerts of budgets."""

from asahi.billing.v1 import alerts_pb2 as pb
from asahi.billing.v1.alerts_pb2_grpc import AlertServiceStub
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["AlertService"]


class AlertsClient:
    """Calls the billing service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = AlertServiceStub(channel)

    async def alerts(self, organization_id: str) -> pb.GetAlertsResponse:
        """What an organisation's alerts are signed with, and its newest ones."""
        return await self._stub.GetAlerts(pb.GetAlertsRequest(organization_id=organization_id))
