"""`asahi.billing.v1.AnalyticsService`: from messages to analytics and back."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from asahi.billing.v1 import analytics_pb2 as pb
from asahi.billing.v1 import analytics_pb2_grpc
from asahi.type.v1.usage_pb2 import Usage
from asahi_billing.api.requests import span_of
from asahi_billing.domain.advice import Advice
from asahi_billing.domain.analytics import Analytics
from asahi_billing.domain.analytics_store import Latencies
from asahi_billing.domain.anomalies import Anomaly
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.forecast import Amount
from asahi_billing.domain.rules import TOKEN_FIELDS

_Context = grpc.aio.ServicerContext[Any, Any]
_DEFAULT_HORIZON_NS = 30 * 86_400 * 10**9


class AnalyticsServicer(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Serves `Analytics`."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics

    async def GetBreakdown(self, request: pb.GetBreakdownRequest, context: _Context) -> pb.GetBreakdownResponse:
        found = await self._analytics.breakdown(
            request.organization_id, span_of(request), request.group_by, request.limit
        )
        answer = pb.GetBreakdownResponse(
            groups=[pb.FigureGroup(value=value, figures=_figures(figures)) for value, figures in found.groups],
            total=_figures(found.total),
            rest_groups=len(found.rest),
        )
        if found.rest:
            rest = Figures()
            for figures in found.rest:
                rest.add(figures)
            answer.rest.CopyFrom(_figures(rest))
        return answer

    async def GetTrends(self, request: pb.GetTrendsRequest, context: _Context) -> pb.GetTrendsResponse:
        points = await self._analytics.trends(request.organization_id, span_of(request), request.interval_hours)
        return pb.GetTrendsResponse(
            points=[pb.TrendPoint(start_time=_time(start), figures=_figures(figures)) for start, figures in points]
        )

    async def GetLatencyPercentiles(
        self, request: pb.GetLatencyPercentilesRequest, context: _Context
    ) -> pb.GetLatencyPercentilesResponse:
        overall, groups, hours = await self._analytics.latencies(request.organization_id, span_of(request))
        return pb.GetLatencyPercentilesResponse(
            overall=_latencies(overall) if overall is not None else None,
            groups=[_latencies(group) for group in groups],
            start_time=_time(hours.start_ns),
            end_time=_time(hours.end_ns),
        )

    async def GetForecast(self, request: pb.GetForecastRequest, context: _Context) -> pb.GetForecastResponse:
        horizon = request.horizon.ToNanoseconds() if request.HasField("horizon") else _DEFAULT_HORIZON_NS
        found = await self._analytics.forecast(request.organization_id, horizon)
        expected, low, high = _rounded(found.total)
        answer = pb.GetForecastResponse(
            start_time=_time(found.span.start_ns),
            end_time=_time(found.span.end_ns),
            expected_nanos=expected,
            low_nanos=low,
            high_nanos=high,
            history_hours=found.history_hours,
        )
        for start, amount in found.days:
            expected, low, high = _rounded(amount)
            answer.days.add(start_time=_time(start), expected_nanos=expected, low_nanos=low, high_nanos=high)
        for state, runs_out in found.budgets:
            answer.budgets.add(state=state, runs_out_at=None if runs_out is None else _time(runs_out))
        return answer

    async def ListAnomalies(self, request: pb.ListAnomaliesRequest, context: _Context) -> pb.ListAnomaliesResponse:
        found, enough = await self._analytics.anomalies(request.organization_id, span_of(request))
        return pb.ListAnomaliesResponse(anomalies=[_anomaly(one) for one in found], enough_history=enough)

    async def ListRecommendations(
        self, request: pb.ListRecommendationsRequest, context: _Context
    ) -> pb.ListRecommendationsResponse:
        policy = request.policy if request.HasField("policy") else None
        found = await self._analytics.recommendations(request.organization_id, span_of(request), policy, request.models)
        return pb.ListRecommendationsResponse(recommendations=[_recommendation(one) for one in found])

    async def ExportUsage(
        self, request: pb.ExportUsageRequest, context: _Context
    ) -> AsyncIterator[pb.ExportUsageResponse]:
        async for records in self._analytics.export(request.organization_id, span_of(request)):
            yield pb.ExportUsageResponse(records=records)


def _figures(figures: Figures) -> pb.Figures:
    return pb.Figures(
        cost_nanos=figures.cost_nanos,
        cost_original_nanos=figures.original_nanos,
        savings_nanos=figures.savings_nanos,
        requests=figures.requests,
        cache_hits=figures.cache_hits,
        coalesced_requests=figures.coalesced,
        mean_latency_ms=figures.latency_ms / figures.requests if figures.requests else 0.0,
        calls=figures.calls,
        errors=figures.errors,
        price_unknown_calls=figures.price_unknown_calls,
        usage=Usage(**{name: getattr(figures, name) for name in TOKEN_FIELDS}),
    )


def _latencies(latencies: Latencies) -> pb.LatencyGroup:
    names = ("p50_ms", "p75_ms", "p90_ms", "p95_ms", "p99_ms")
    return pb.LatencyGroup(
        model=latencies.model,
        tier=latencies.tier,
        requests=latencies.requests,
        **dict(zip(names, latencies.quantiles_ms, strict=True)),
    )


def _anomaly(anomaly: Anomaly) -> pb.Anomaly:
    return pb.Anomaly(
        metric=anomaly.metric,
        since=_time(anomaly.span.start_ns),
        until=_time(anomaly.span.end_ns),
        expected=anomaly.expected,
        seen=anomaly.seen,
        deviations=anomaly.deviations,
    )


def _recommendation(advice: Advice) -> pb.Recommendation:
    answer = pb.Recommendation(
        kind=advice.kind, title=advice.title, evidence=advice.evidence, saving_nanos=advice.saving_nanos
    )
    if advice.policy:
        answer.policy.update(advice.policy)
    return answer


def _rounded(amount: Amount) -> tuple[int, int, int]:
    return round(amount.expected), round(amount.low), round(amount.high)


def _time(at_ns: int) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(at_ns)
    return time
