"""`GET /governance/audit`: who did what when."""

from fastapi import APIRouter, Request, Response
from google.protobuf.json_format import MessageToDict

from asahi.auth.v1 import auth_pb2
from asahi_edge.api.authentication import authorize_governance, is_operator
from asahi_edge.api.governance.queries import Cursor, Limit, OrganizationId, moment
from asahi_edge.api.json import json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.audit import AuditCheck, AuditEntryView, AuditFaultView, AuditList
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339

router = APIRouter()


@router.get(
    "/governance/audit",
    tags=["Governance"],
    **documented(summary="Who did what when", answer=AuditList, errors=(400, 401, 403, 404, 503)),
)
async def list_audit(
    request: Request, organization_id: OrganizationId = None, limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """The audit chain, newest first.

    The operator who names no organization reads the installation's own: refused logins, invites.
    """
    if organization_id is None and is_operator(request):
        organization = ""
    else:
        _, organization = await authorize_governance(request, organization_id)
    wanted = auth_pb2.ListAuditRequest(organization_id=organization, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_audit(wanted)
    return json_response(AuditList([_view(entry) for entry in page.entries], page.next_page_token or None))


def audit_check(verified: auth_pb2.VerifyAuditResponse) -> AuditCheck:
    """What the verification of a chain found, as callers see it."""
    return AuditCheck(
        intact=not verified.faults,
        entries=verified.entries,
        checkpoints=verified.checkpoints,
        faults=[AuditFaultView(fault.sequence, fault.kind, fault.description) for fault in verified.faults],
        last_checkpoint_sequence=verified.last_checkpoint_sequence,
        last_checkpoint_at=moment(verified.last_checkpoint_at, given=verified.HasField("last_checkpoint_at")),
    )


def _view(entry: auth_pb2.AuditEntry) -> AuditEntryView:
    return AuditEntryView(
        sequence=entry.sequence,
        occurred_at=rfc3339(entry.occurred_at),
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        details=MessageToDict(entry.details),
        outcome=entry.outcome,
        address=entry.address or None,
        request_id=entry.request_id or None,
        hmac=entry.hmac.hex(),
    )
