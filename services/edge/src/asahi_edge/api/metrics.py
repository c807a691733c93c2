"""`GET /metrics`: an organisation's own figures since its beginning, as JSON or for Prometheus.

The processes' metrics are on their metrics ports only.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from asahi.auth.v1.auth_pb2 import Scope
from asahi_core.errors import AsahiError
from asahi_core.money import NANOS_PER_DOLLAR
from asahi_edge.api.authentication import authorize
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import PLAIN_TEXT, documented
from asahi_edge.api.schemas.analytics import Metrics, MetricsAnswer
from asahi_edge.api.services import services_of

router = APIRouter(tags=["Analytics"])
_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
_JUST_NOW = timedelta(seconds=1)
_FLUSH_S = 2.0
_TEXT_TYPES = ("text/plain", "application/openmetrics-text")


@router.get(
    "/metrics",
    **documented(summary="Figures since the beginning", answer=MetricsAnswer, also=PLAIN_TEXT, errors=(401, 403, 503)),
)
async def metrics(request: Request) -> Response:
    """The organization's figures; Prometheus text if `Accept` asks for text/plain or OpenMetrics."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_ANALYTICS)
    await services.usage.flush(_FLUSH_S)
    summary = await services.ledger.cost_summary(verdict.organization_id, _BEGINNING, services.clock.now() + _JUST_NOW)
    try:
        cache_size = (await services.cache.stats(verdict.organization_id)).entries
    except AsahiError:
        cache_size = None
    hits = {tier.tier: tier.hits for tier in summary.tiers}
    figures = Metrics(
        total_cost=Dollars(summary.total_cost_nanos),
        total_savings=Dollars(summary.cost_original_nanos - summary.compared_cost_nanos),
        requests=summary.total_requests,
        cache_hit_rate=summary.cache_hits / summary.total_requests if summary.total_requests else 0.0,
        cache_size=cache_size,
        cache_cost_saved=Dollars(summary.cache_saved_nanos),
        tier1_hits=hits.get(1, 0),
        tier2_hits=hits.get(2, 0),
        tier3_hits=hits.get(3, 0),
        avg_latency_ms=summary.mean_latency_ms,
        uptime_seconds=round(services.clock.monotonic() - services.started, 3),
    )
    accept = request.headers.get("accept", "")
    if any(kind in accept for kind in _TEXT_TYPES):
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Figures(figures))
        return Response(encode(registry), headers={"content-type": content_type})
    return json_response(MetricsAnswer(data=figures))


class _Figures(Collector):
    """One organisation's figures as Prometheus metrics; without labels, for the key says whose they are."""

    def __init__(self, figures: Metrics) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        yield CounterMetricFamily(
            "asahi_organization_cost_usd", "Dollars spent.", value=figures.total_cost.nanos / NANOS_PER_DOLLAR
        )
        yield GaugeMetricFamily(  # may fall: savings can be negative
            "asahi_organization_savings_usd", "Dollars saved.", value=figures.total_savings.nanos / NANOS_PER_DOLLAR
        )
        yield CounterMetricFamily("asahi_organization_requests", "Requests answered.", value=figures.requests)
        hits = CounterMetricFamily("asahi_organization_cache_hits", "Requests answered by a tier.", labels=["tier"])
        for tier, count in (("1", figures.tier1_hits), ("2", figures.tier2_hits), ("3", figures.tier3_hits)):
            hits.add_metric([tier], count)
        yield hits
        saved = figures.cache_cost_saved.nanos / NANOS_PER_DOLLAR
        yield GaugeMetricFamily("asahi_organization_cache_saved_usd", "Dollars saved by the cache.", value=saved)
        yield GaugeMetricFamily(
            "asahi_organization_latency_seconds_mean", "Mean time of a request.", value=figures.avg_latency_ms / 1000
        )
        if figures.cache_size is not None:
            yield GaugeMetricFamily("asahi_organization_cache_entries", "Answers kept.", value=figures.cache_size)
        yield GaugeMetricFamily(
            "asahi_uptime_seconds", "Age of the process that answered.", value=figures.uptime_seconds
        )
