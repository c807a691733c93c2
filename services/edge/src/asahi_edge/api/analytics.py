"""`/analytics/*`: what was spent and saved, of the key's organisation only."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.billing.v1.billing_pb2 import Inference
from asahi.cache.v1.cache_pb2 import GetSemanticReportResponse
from asahi_core.errors import AsahiError
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.answers import dollars_or_none
from asahi_edge.api.authentication import authorize
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.periods import FLUSH_S, From, Period, To, asked
from asahi_edge.api.schemas.analytics import (
    CachePerformance,
    CachePerformanceAnswer,
    CostSummary,
    CostSummaryAnswer,
    InferenceList,
    InferenceView,
    TierPerformance,
)
from asahi_edge.api.services import services_of
from asahi_edge.api.similarity import similar_performance
from asahi_edge.api.times import rfc3339

router = APIRouter(prefix="/analytics", tags=["Analytics"])


@router.get(
    "/cost-summary", **documented(summary="Costs and savings", answer=CostSummaryAnswer, errors=(400, 401, 403, 503))
)
async def cost_summary(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """Costs and savings over a period (24h), exact to the nano-dollar, with every answer this edge has given."""
    time = await asked(request, period, start, end, "24h")
    summary = await services_of(request).ledger.cost_summary(time.verdict.organization_id, time.start, time.until)
    saved = summary.cost_original_nanos - summary.compared_cost_nanos
    answer = CostSummary(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        total_cost=Dollars(summary.total_cost_nanos),
        cost_overhead=Dollars(summary.overhead_cost_nanos),
        cost_original=Dollars(summary.cost_original_nanos),
        total_savings=Dollars(saved),
        savings_percent=100 * saved / summary.cost_original_nanos if summary.cost_original_nanos else None,
        total_requests=summary.total_requests,
        cache_hits=summary.cache_hits,
        cache_hit_rate=summary.cache_hits / summary.total_requests if summary.total_requests else 0.0,
        cache_cost_saved=Dollars(summary.cache_saved_nanos),
        savings_by_technique={saving.technique: Dollars(saving.nanos) for saving in summary.savings},
        price_unknown_calls=summary.price_unknown_calls,
    )
    return json_response(CostSummaryAnswer(data=answer))


@router.get(
    "/recent-inferences",
    **documented(summary="Requests, newest first", answer=InferenceList, errors=(400, 401, 403, 503)),
)
async def recent_inferences(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries in the answer.")] = 50,
    cursor: Annotated[str, Query(description="`next_cursor` of the answer before.")] = "",
) -> Response:
    """Requests, newest first; pages stay put while new ones come in."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_ANALYTICS)
    await services.usage.flush(FLUSH_S)
    page = await services.ledger.inferences(verdict.organization_id, limit, cursor)
    return json_response(InferenceList([_view(one) for one in page.inferences], page.next_page_token or None))


@router.get(
    "/cache-performance",
    **documented(summary="What the cache does", answer=CachePerformanceAnswer, errors=(400, 401, 403, 503)),
)
async def cache_performance(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """What each cache tier answered and saved; default 24h."""
    time = await asked(request, period, start, end, "24h")
    summary = await services_of(request).ledger.cost_summary(time.verdict.organization_id, time.start, time.until)
    requests = summary.total_requests
    bound = time.verdict.policy.cache.false_hit_bound
    measured = await _measured(request, time.verdict.organization_id, bound)
    answer = CachePerformance(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        requests=requests,
        hits=summary.cache_hits,
        misses=requests - summary.cache_hits - summary.coalesced_requests,
        coalesced=summary.coalesced_requests,
        hit_rate=summary.cache_hits / requests if requests else 0.0,
        saved=Dollars(summary.cache_saved_nanos),
        tiers=[
            TierPerformance(
                tier=tier.tier, hits=tier.hits, hit_rate=tier.hits / requests, saved=Dollars(tier.saved_nanos)
            )
            for tier in summary.tiers
        ],
        tier2_error=measured.error if measured is not None and measured.HasField("error") else None,
        tier2=None if measured is None else similar_performance(measured, bound),
    )
    return json_response(CachePerformanceAnswer(data=answer))


async def _measured(request: Request, organization_id: str, bound: float) -> GetSemanticReportResponse | None:
    """What audits measured; None: there is no bound, or the cache does not tell."""
    if not bound:
        return None
    try:
        return await services_of(request).cache.semantic_report(organization_id, bound)
    except AsahiError:
        return None


def _view(inference: Inference) -> InferenceView:
    record, usage = inference.record, inference.record.usage
    original = record.cost_original_nanos if record.HasField("cost_original_nanos") else None
    return InferenceView(
        request_id=record.request_id,
        timestamp=rfc3339(record.occurred_at),
        model_used=record.model,
        provider=record.provider,
        tokens_input=prompt_tokens(usage),
        tokens_output=usage.output_tokens,
        tokens_input_cached=usage.cache_read_tokens,
        cost=Dollars(inference.total_cost_nanos),
        cost_original=dollars_or_none(original),
        savings=dollars_or_none(None if original is None else original - inference.total_cost_nanos),
        cache_hit=record.cache_tier > 0,
        cache_tier=record.cache_tier,
        coalesced=record.coalesced,
        routing_reason=record.routing_reason,
        latency_ms=round(record.latency_ms, 3),
        status=record.error_code or "answered",
        user_id=record.user_id or None,
        task_id=record.task_id or None,
        tags=dict(record.tags),
    )
