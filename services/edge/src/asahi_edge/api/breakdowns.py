"""`/analytics/cost-breakdown`, `trends` and `latency-percentiles`: figures by dimension, over time, by percentile."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from asahi.billing.v1 import analytics_pb2 as pb
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.periods import From, Period, To, asked
from asahi_edge.api.schemas.figures import (
    Breakdown,
    BreakdownAnswer,
    FigureGroup,
    FigureSet,
    Latency,
    LatencyAnswer,
    LatencyGroup,
    LatencySet,
    TrendPoint,
    Trends,
    TrendsAnswer,
)
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339

router = APIRouter(prefix="/analytics", tags=["Analytics"])
_ERRORS = (400, 401, 403, 503, 504)
_INTERVAL_HOURS = {"hour": 1, "day": 24, "week": 168}
_METRICS: dict[str, Callable[[pb.Figures], Dollars | float | None]] = {
    "cost": lambda figures: Dollars(figures.cost_nanos),
    "savings": lambda figures: Dollars(figures.savings_nanos),
    "requests": lambda figures: figures.requests,
    "latency": lambda figures: round(figures.mean_latency_ms, 3) if figures.requests else None,
    "cache_hit_rate": lambda figures: figures.cache_hits / figures.requests if figures.requests else None,
}
_GROUP_BY = r"^(model|provider|task_type|user|api_key|tag:[A-Za-z0-9_.-]{1,64})$"


@router.get("/cost-breakdown", **documented(summary="Costs by one dimension", answer=BreakdownAnswer, errors=_ERRORS))
async def cost_breakdown(
    request: Request,
    *,
    group_by: Annotated[
        str, Query(pattern=_GROUP_BY, description="model, provider, task_type, user, api_key or tag:NAME.")
    ] = "model",
    limit: Annotated[int, Query(ge=1, le=1000, description="Most groups; the rest is summed up.")] = 100,
    period: Period = None,
    start: From = None,
    end: To = None,
) -> Response:
    """Costs, savings, requests and tokens by model, provider, kind of work, end user, key or tag; default 24h."""
    time = await asked(request, period, start, end, "24h")
    found = await services_of(request).analytics.breakdown(
        time.verdict.organization_id, time.start, time.until, group_by, limit
    )
    answer = Breakdown(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        group_by=group_by,
        groups=[_group(one) for one in found.groups],
        rest=_figures(found.rest) if found.HasField("rest") else None,
        rest_groups=found.rest_groups,
        total=_figures(found.total),
    )
    return json_response(BreakdownAnswer(data=answer))


@router.get("/trends", **documented(summary="A figure over time", answer=TrendsAnswer, errors=_ERRORS))
async def trends(
    request: Request,
    *,
    metric: Annotated[
        Literal["cost", "savings", "requests", "latency", "cache_hit_rate"], Query(description="The figure.")
    ] = "cost",
    interval: Annotated[
        Literal["hour", "day", "week"] | None, Query(description="Default: hour up to two days, else day.")
    ] = None,
    period: Period = None,
    start: From = None,
    end: To = None,
) -> Response:
    """A figure of each hour, day or week of a period (default 24h), empty ones included."""
    time = await asked(request, period, start, end, "24h")
    chosen = interval or ("hour" if time.end - time.start <= timedelta(days=2) else "day")
    found = await services_of(request).analytics.trends(
        time.verdict.organization_id, time.start, time.end, _INTERVAL_HOURS[chosen]
    )
    value = _METRICS[metric]
    answer = Trends(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        metric=metric,
        interval=chosen,
        points=[TrendPoint(start=rfc3339(point.start_time), value=value(point.figures)) for point in found.points],
    )
    return json_response(TrendsAnswer(data=answer))


@router.get(
    "/latency-percentiles", **documented(summary="Latency by model and tier", answer=LatencyAnswer, errors=_ERRORS)
)
async def latency_percentiles(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """p50, p75, p90, p95 and p99 of the full hours that a period (default 24h) touches, by model and cache tier."""
    time = await asked(request, period, start, end, "24h")
    found = await services_of(request).analytics.latency_percentiles(
        time.verdict.organization_id, time.start, time.until
    )
    answer = Latency(
        period=time.name,
        start=rfc3339(found.start_time),
        end=rfc3339(found.end_time),
        overall=LatencySet(**_percentiles(found.overall)) if found.HasField("overall") else None,
        groups=[
            LatencyGroup(model=group.model, cache_tier=group.tier, **_percentiles(group)) for group in found.groups
        ],
    )
    return json_response(LatencyAnswer(data=answer))


def _group(group: pb.FigureGroup) -> FigureGroup:
    figures = _figures(group.figures)
    return FigureGroup(
        value=group.value or None, **{name: getattr(figures, name) for name in figures.__struct_fields__}
    )


def _figures(figures: pb.Figures) -> FigureSet:
    requests = figures.requests
    return FigureSet(
        cost=Dollars(figures.cost_nanos),
        cost_original=Dollars(figures.cost_original_nanos),
        savings=Dollars(figures.savings_nanos),
        requests=requests,
        cache_hits=figures.cache_hits,
        cache_hit_rate=figures.cache_hits / requests if requests else 0.0,
        calls=figures.calls,
        errors=figures.errors,
        price_unknown_calls=figures.price_unknown_calls,
        tokens_input=prompt_tokens(figures.usage),
        tokens_input_cached=figures.usage.cache_read_tokens,
        tokens_output=figures.usage.output_tokens,
        avg_latency_ms=round(figures.mean_latency_ms, 3) if requests else None,
    )


def _percentiles(group: pb.LatencyGroup) -> dict[str, Any]:
    names = ("p50", "p75", "p90", "p95", "p99")
    return {"requests": group.requests} | {name: round(getattr(group, f"{name}_ms"), 3) for name in names}
