"""The billing service's analytics: what the ledger adds up to."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from typing import Any

from asahi.billing.v1 import analytics_pb2 as pb
from asahi.billing.v1.analytics_pb2_grpc import AnalyticsServiceStub
from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.policy_pb2 import Policy
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["AnalyticsService"]
_EXPORT_TIMEOUT_S = 3600.0
"""The request's own deadline is shorter."""


class AnalyticsClient:
    """Asks for an organisation's figures over [start, end)."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = AnalyticsServiceStub(channel)

    async def breakdown(
        self, organization_id: str, start: datetime, end: datetime, group_by: str, limit: int
    ) -> pb.GetBreakdownResponse:
        """Figures by a dimension."""
        request = pb.GetBreakdownRequest(organization_id=organization_id, group_by=group_by, limit=limit)
        return await self._stub.GetBreakdown(_over(request, start, end))

    async def trends(
        self, organization_id: str, start: datetime, end: datetime, interval_hours: int
    ) -> pb.GetTrendsResponse:
        """Figures by interval."""
        request = pb.GetTrendsRequest(organization_id=organization_id, interval_hours=interval_hours)
        return await self._stub.GetTrends(_over(request, start, end))

    async def latency_percentiles(
        self, organization_id: str, start: datetime, end: datetime
    ) -> pb.GetLatencyPercentilesResponse:
        """Percentiles by model and tier."""
        request = pb.GetLatencyPercentilesRequest(organization_id=organization_id)
        return await self._stub.GetLatencyPercentiles(_over(request, start, end))

    async def forecast(self, organization_id: str, horizon: timedelta) -> pb.GetForecastResponse:
        """Expected spend."""
        request = pb.GetForecastRequest(organization_id=organization_id)
        request.horizon.FromTimedelta(horizon)
        return await self._stub.GetForecast(request)

    async def anomalies(self, organization_id: str, start: datetime, end: datetime) -> pb.ListAnomaliesResponse:
        """What is unusual."""
        return await self._stub.ListAnomalies(
            _over(pb.ListAnomaliesRequest(organization_id=organization_id), start, end)
        )

    async def recommendations(
        self,
        organization_id: str,
        start: datetime,
        end: datetime,
        policy: Policy | None,
        models: Sequence[pb.ModelQuality],
    ) -> pb.ListRecommendationsResponse:
        """Changes worth money."""
        request = pb.ListRecommendationsRequest(organization_id=organization_id, policy=policy, models=models)
        return await self._stub.ListRecommendations(_over(request, start, end))

    async def export(
        self, organization_id: str, start: datetime, end: datetime
    ) -> AsyncGenerator[Sequence[UsageRecord], None]:
        """Every usage record, oldest first, some at a time."""
        request = _over(pb.ExportUsageRequest(organization_id=organization_id), start, end)
        async for message in self._stub.ExportUsage(request, timeout=_EXPORT_TIMEOUT_S):
            yield message.records


def _over(request: Any, start: datetime, end: datetime) -> Any:
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return request
