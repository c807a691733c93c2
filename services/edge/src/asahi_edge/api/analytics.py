"""`/analytics/*`: what was spent and saved, of the key's organisation only."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi_edge.api.authentication import authorize
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi import documented
from asahi_edge.api.schemas import CostSummary, CostSummaryAnswer
from asahi_edge.api.services import services_of
from asahi_edge.api.times import period_of, rfc3339

router = APIRouter(prefix="/analytics", tags=["Analytics"])
_FLUSH_S = 0.5
_JUST_NOW = timedelta(seconds=1)


@router.get("/cost-summary", **documented(answer=CostSummaryAnswer, errors=(400, 401, 403, 503)))
async def cost_summary(
    request: Request,
    period: Annotated[str | None, Query(description="1h, 24h, 7d, 30d, hour, day, week or month; default 24h.")] = None,
    start: Annotated[str | None, Query(alias="from", description="RFC 3339, in place of `period`.")] = None,
    end: Annotated[str | None, Query(alias="to", description="RFC 3339; default now.")] = None,
) -> Response:
    """Costs and savings over a period, exact to the nano-dollar; includes every answer this edge has given."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_ANALYTICS)
    name, begin, finish = period_of(period, start, end, services.clock.now())
    await services.usage.flush(_FLUSH_S)
    until = finish if end is not None else finish + _JUST_NOW
    summary = await services.ledger.cost_summary(verdict.organization_id, begin, until)
    saved = summary.cost_original_nanos - summary.compared_cost_nanos
    answer = CostSummary(
        period=name,
        start=rfc3339(begin),
        end=rfc3339(finish),
        total_cost=Dollars(summary.total_cost_nanos),
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
