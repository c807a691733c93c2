"""`asahi.billing.v1.AlertService`: alerts as their organisations see them."""

from typing import Any

import grpc

from asahi.billing.v1 import alerts_pb2 as pb
from asahi.billing.v1 import alerts_pb2_grpc
from asahi_billing.domain.alerts import Alerts

_Context = grpc.aio.ServicerContext[Any, Any]


class AlertServicer(alerts_pb2_grpc.AlertServiceServicer):
    """Serves `Alerts`."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    async def GetAlerts(self, request: pb.GetAlertsRequest, context: _Context) -> pb.GetAlertsResponse:
        return await self._alerts.of(request.organization_id)
