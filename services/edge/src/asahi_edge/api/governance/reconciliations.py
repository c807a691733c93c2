"""`POST /governance/reconciliations`: imports a provider's own cost report, handed on as it comes in."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from asahi.auth.v1.auth_pb2 import Actor, Operator
from asahi.billing.v1.reconciliation_pb2 import ReportHead
from asahi_core.errors import Cancelled, InvalidRequest, RequestTooLarge, UnsupportedMediaType
from asahi_edge.api.authentication import authorize_governance, is_operator
from asahi_edge.api.governance.queries import OrganizationId
from asahi_edge.api.json import json_response
from asahi_edge.api.limits import address_of
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.reconciliation import format_name, reconciliation_view
from asahi_edge.api.schemas.reconciliation import CostReport, ImportAnswer, Imported
from asahi_edge.api.services import services_of
from asahi_edge.domain.acts import audited

router = APIRouter()
MOST_BYTES = 256 * 1024 * 1024
_PIECE = 256 * 1024
_FLUSH_S = 2.0
_MEDIA = re.compile(r"\s*(application/json|text/csv)\s*(;.*)?", re.IGNORECASE)
_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    '1795478400,1795564800,2026-11-24T00:00:00+00:00,2026-11-25T00:00:00+00:00,0.06,usd,"gpt-6-luna, output",proj_a\n'
)


def _documented() -> dict[str, Any]:
    arguments = documented(
        summary="Import a provider's cost report",
        body=CostReport,
        answer=ImportAnswer,
        errors=(400, 401, 403, 404, 413, 415, 503, 504),
    )
    words = "OpenAI's export of costs: a header line, then a row a line."
    content = {"schema": {"type": "string", "description": words}, "example": _CSV}
    arguments["openapi_extra"]["requestBody"]["content"]["text/csv"] = content
    return arguments


@router.post("/governance/reconciliations", tags=["Governance"], **_documented())
async def import_report(
    request: Request,
    organization_id: OrganizationId = None,
    provider: Annotated[
        str,
        Query(max_length=128, description="The provider as usage records name it; default: whose report it is."),
    ] = "",
    keys: Annotated[
        str,
        Query(
            max_length=8000,
            description="Which provider uses which key, project or workspace: `proj_a:openai,proj_b:two`.",
        ),
    ] = "",
) -> Response:
    """Import a provider's own cost report (OpenAI's or Anthropic's), and hold the ledger against it.

    The body is the file as it came: JSON of the costs API, or OpenAI's CSV; read as it comes in, up to 256 MB. The same
    file again changes nothing; a later one takes the place of an earlier one for the days that both cover. The operator
    who names no organization imports a report of the whole installation.
    """
    services = services_of(request)
    actor, organization = await _authorized(request, organization_id)
    head = ReportHead(organization_id=organization, provider=provider, keys=_pairs(keys))
    _require_report(request)
    await services.usage.flush(_FLUSH_S)
    async with audited(services.governance, actor, organization, "reconciliation.import") as act:
        imported = await services.reconciliations.import_report(head, _pieces(request))
        act.results.update({"import": imported.import_id, "rows": imported.rows})
    answer = Imported(
        import_id=imported.import_id,
        organization_id=organization or None,
        known=imported.known,
        format=format_name(imported.format),
        rows=imported.rows,
        first_day=imported.first_day,
        last_day=imported.last_day,
        reconciliation=reconciliation_view(imported.reconciliation),
    )
    return json_response(ImportAnswer(answer))


async def _authorized(request: Request, organization_id: str | None) -> tuple[Actor, str]:
    if organization_id is None and is_operator(request):
        return Actor(operator=Operator(), address=address_of(request)), ""
    return await authorize_governance(request, organization_id)


def _pairs(keys: str) -> dict[str, str]:
    pairs = {}
    for pair in filter(None, keys.split(",")):
        key, colon, provider = pair.strip().rpartition(":")
        if not (colon and key and provider):
            raise InvalidRequest(f"keys: {pair[:60]!r} is not KEY:PROVIDER.", param="keys")
        pairs[key] = provider
    return pairs


def _require_report(request: Request) -> None:
    declared = request.headers.get("content-type", "application/json")
    if not _MEDIA.fullmatch(declared):
        raise UnsupportedMediaType(f"The body is declared as {declared[:100]!r}; send application/json or text/csv.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body is declared as compressed; send it as it is.")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise RequestTooLarge(f"The report has {length} bytes; at most {MOST_BYTES} are taken.")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of a size that is worth a message."""
    total, waiting = 0, bytearray()
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > MOST_BYTES:
                raise RequestTooLarge(f"The report has more than {MOST_BYTES} bytes, which is the most that is taken.")
            waiting += chunk
            if len(waiting) >= _PIECE:
                yield bytes(waiting)
                waiting.clear()
    except ClientDisconnect as error:
        raise Cancelled("The caller left before the whole report had come.") from error
    if waiting:
        yield bytes(waiting)
