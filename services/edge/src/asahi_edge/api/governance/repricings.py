"""`POST /governance/repricings`: counter-entries for calls that were recorded at a price that was wrong."""

from fastapi import APIRouter, Request, Response

from asahi.billing.v1.prices_pb2 import RepriceRequest
from asahi_edge.api.authentication import authorize_operator
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import Dollars, convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.prices import RepricingAnswer, RepricingBody, RepricingView
from asahi_edge.api.services import services_of
from asahi_edge.api.times import parse_time, rfc3339
from asahi_edge.domain.acts import audited

router = APIRouter()


@router.post(
    "/governance/repricings",
    tags=["Governance"],
    **documented(
        summary="Reprice calls",
        body=RepricingBody,
        answer=RepricingAnswer,
        errors=(400, 401, 403, 404, 413, 415, 503, 504),
    ),
)
async def reprice(request: Request) -> Response:
    """Book what calls of a time cost by the prices of now against what was recorded. The operator alone.

    Records stay; counter-entries adjust totals and budgets. Repeated, it finds nothing left to book.
    """
    services = services_of(request)
    raw = await read_body(request)
    actor = await authorize_operator(request)
    body = convert(decode_object(raw), RepricingBody)
    start, end = parse_time(body.start, "start"), parse_time(body.end, "end")
    wanted = RepriceRequest(organization_id=body.organization_id, models=body.models, dry_run=body.dry_run)
    wanted.start_time.FromDatetime(start)
    wanted.end_time.FromDatetime(end)
    details = {"start": rfc3339(start), "end": rfc3339(end), "models": body.models, "dry_run": str(body.dry_run)}
    async with audited(services.governance, actor, body.organization_id, "usage.reprice", details=details) as act:
        done = await services.prices.reprice(wanted)
        act.results.update({"repricing": done.repricing_id, "calls": done.changed_calls})
        act.results["difference_nanos"] = str(done.difference_nanos)
    view = RepricingView(
        organization_id=body.organization_id,
        repricing_id=done.repricing_id or None,
        dry_run=body.dry_run,
        calls=done.calls,
        changed_calls=done.changed_calls,
        difference=Dollars(done.difference_nanos),
        price_unknown_calls=done.price_unknown_calls,
        price_version=done.price_version,
    )
    return json_response(RepricingAnswer(view))
