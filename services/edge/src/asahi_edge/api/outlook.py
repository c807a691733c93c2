"""`/analytics/forecast`, `anomalies` and `recommendations`: what to expect, what is unusual, what to change."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from google.protobuf.json_format import MessageToDict

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.billing.v1 import analytics_pb2 as pb
from asahi.router.v1.router_pb2 import ListModelsResponse
from asahi.type.v1.policy_pb2 import BudgetWindow
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.errors import InvalidRequest, ServiceUnavailable
from asahi_edge.api.authentication import authorize
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.periods import From, Period, To, asked, require_known
from asahi_edge.api.routing_worth import routing_view
from asahi_edge.api.schemas.outlook import (
    Anomalies,
    AnomaliesAnswer,
    AnomalyView,
    BudgetOutlook,
    Expected,
    Forecast,
    ForecastAnswer,
    Recommendations,
    RecommendationsAnswer,
    RecommendationView,
    RoutingView,
)
from asahi_edge.api.services import EdgeServices, services_of
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.access import may_use_model

router = APIRouter(prefix="/analytics", tags=["Analytics"])
_ERRORS = (400, 401, 403, 503, 504)
_HORIZONS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
_LONGEST = timedelta(days=90)
_MODEL = "The share of each hour of the week, times a smoothed level of the days."
_FLUSH_S = 2.0


@router.get("/forecast", **documented(summary="Expected spend", answer=ForecastAnswer, errors=_ERRORS))
async def forecast(
    request: Request,
    horizon: Annotated[
        str,
        Query(
            pattern=r"^([1-9]\d{0,3}h|[1-9]\d?d|hour|day|week|month)$",
            description="How far: 12h, 7d, …, hour, day, week or month; at most 90d.",
        ),
    ] = "30d",
) -> Response:
    """Expected spend from now on with a band that holds 80 of 100 outcomes, and when budgets run out."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_ANALYTICS)
    require_known(request)
    await services.usage.flush(_FLUSH_S)
    found = await services.analytics.forecast(verdict.organization_id, _horizon(horizon))
    ends = [*(day.start_time for day in found.days[1:]), found.end_time]
    answer = Forecast(
        spend=_expected(found, found.end_time) if found.days else None,
        days=[_expected(day, end) for day, end in zip(found.days, ends, strict=False)],
        budgets=[_budget(one) for one in found.budgets],
        history_hours=found.history_hours,
        model=_MODEL,
    )
    return json_response(ForecastAnswer(data=answer))


@router.get(
    "/anomalies", **documented(summary="Unusual spend, latency or errors", answer=AnomaliesAnswer, errors=_ERRORS)
)
async def anomalies(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """Full hours of a period (default 7d) that are unlike the same hours of the eight weeks before."""
    time = await asked(request, period, start, end, "7d")
    found = await services_of(request).analytics.anomalies(time.verdict.organization_id, time.start, time.end)
    answer = Anomalies(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        anomalies=[_anomaly(one) for one in found.anomalies],
        enough_history=found.enough_history,
    )
    return json_response(AnomaliesAnswer(data=answer))


@router.get(
    "/recommendations", **documented(summary="Changes worth money", answer=RecommendationsAnswer, errors=_ERRORS)
)
async def recommendations(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """Changes that would have saved money over a period (default 30d), each with its evidence."""
    services = services_of(request)
    time = await asked(request, period, start, end, "30d")
    models = _models(await services.catalog.list_models(), time.verdict)
    policy = time.verdict.policy if time.verdict.HasField("policy") else None
    found = await services.analytics.recommendations(
        time.verdict.organization_id, time.start, time.until, policy, models
    )
    routing = await _worth(services, time.verdict)
    answer = Recommendations(
        period=time.name,
        start=rfc3339(time.start),
        end=rfc3339(time.end),
        recommendations=[_recommendation(one) for one in found.recommendations],
        routing=routing,
    )
    return json_response(RecommendationsAnswer(data=answer))


async def _worth(services: EdgeServices, verdict: Verdict) -> RoutingView | None:
    """The ledger's figures stand without the router's."""
    policy = RoutingPolicy()
    if verdict.HasField("policy"):
        policy.baseline_model, policy.epsilon = verdict.policy.baseline_model, verdict.policy.quality.epsilon
    try:
        return routing_view(await services.outcomes.compare_routing(verdict.organization_id, policy))
    except ServiceUnavailable:
        return None


def _horizon(text: str) -> timedelta:
    named = _HORIZONS.get(text)
    horizon = named or timedelta(hours=int(text[:-1]) * (24 if text.endswith("d") else 1))
    if horizon > _LONGEST:
        raise InvalidRequest(f"horizon: {text!r} is more than 90 days.", param="horizon")
    return horizon


def _expected(part: pb.GetForecastResponse | pb.ForecastDay, end: Any) -> Expected:
    return Expected(
        start=rfc3339(part.start_time),
        end=rfc3339(end),
        expected=Dollars(part.expected_nanos),
        low=Dollars(part.low_nanos),
        high=Dollars(part.high_nanos),
    )


def _budget(found: pb.BudgetForecast) -> BudgetOutlook:
    state = found.state
    return BudgetOutlook(
        window=BudgetWindow.Name(state.budget.window).removeprefix("BUDGET_WINDOW_").lower(),
        limit=Dollars(state.budget.limit_nanos),
        spent=Dollars(state.spent_nanos),
        window_end=rfc3339(state.window_end),
        runs_out_at=rfc3339(found.runs_out_at) if found.HasField("runs_out_at") else None,
    )


def _anomaly(found: pb.Anomaly) -> AnomalyView:
    def amount(value: float) -> Dollars | float:
        return Dollars(round(value)) if found.metric == "cost" else round(value, 6)

    return AnomalyView(
        metric=found.metric,
        since=rfc3339(found.since),
        until=rfc3339(found.until),
        expected=amount(found.expected),
        seen=amount(found.seen),
        deviations=round(found.deviations, 1),
    )


def _recommendation(found: pb.Recommendation) -> RecommendationView:
    return RecommendationView(
        kind=found.kind,
        title=found.title,
        saving=Dollars(found.saving_nanos) if found.HasField("saving_nanos") else None,
        evidence=found.evidence,
        policy=_whole(MessageToDict(found.policy)) if found.HasField("policy") else None,
    )


def _whole(value: Any) -> Any:
    """`value` with numbers that are whole written so: a Struct knows only floats."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _models(listed: ListModelsResponse, verdict: Verdict) -> list[pb.ModelQuality]:
    """What the organisation could use."""
    return [
        pb.ModelQuality(model=model.id, quality_by_task=model.quality_by_task)
        for model in listed.models
        if model.provider and may_use_model(verdict, model.id) and _allowed_provider(verdict, model.provider)
    ]


def _allowed_provider(verdict: Verdict, provider: str) -> bool:
    providers = verdict.policy.allowed_providers
    return not providers or provider in providers
