"""`DELETE /governance/cache`: answers that may be given no longer."""

from fastapi import APIRouter, Request, Response

from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.cache import CacheInvalidationAnswer, CacheInvalidationBody
from asahi_edge.api.services import services_of
from asahi_edge.api.times import parse_time
from asahi_edge.domain.acts import audited
from asahi_edge.domain.ports import Matching

router = APIRouter()
_LIMITS = ("document_id", "older_than", "request_id", "tag")


@router.delete(
    "/governance/cache",
    tags=["Governance"],
    **documented(
        summary="Drop cached answers",
        body=CacheInvalidationBody,
        optional_body=True,
        answer=CacheInvalidationAnswer,
        errors=(400, 401, 403, 404, 413, 415, 503),
    ),
)
async def invalidate_cache(request: Request) -> Response:
    """Drop cached answers that match all that is given; with an empty body all of the organization's."""
    services = services_of(request)
    raw = await read_body(request)
    decoded = decode_object(raw) if raw else {}
    named = decoded.get("organization_id")
    actor, organization = await authorize_governance(request, named if isinstance(named, str) else None)
    body = convert(decoded, CacheInvalidationBody)
    given_before = parse_time(body.older_than, "older_than") if body.older_than is not None else None
    matching = Matching(body.request_id or "", given_before, "", body.document_id or "", body.tag or "")
    details = {name: value for name in _LIMITS if (value := getattr(body, name)) is not None}
    async with audited(services.governance, actor, organization, "cache.invalidate", details=details) as act:
        dropped = await services.cache.invalidate(organization, matching)
        act.results["dropped"] = dropped
    return json_response(CacheInvalidationAnswer(organization_id=organization, dropped=dropped))
