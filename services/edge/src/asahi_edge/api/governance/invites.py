"""`/governance/invites`: who may sign up where signing up asks for an invite."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from msgspec import UNSET

from asahi.auth.v1 import auth_pb2
from asahi_edge.api.authentication import authorize_operator
from asahi_edge.api.bodies import read_body
from asahi_edge.api.governance.queries import Cursor, Limit, moment
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.invites import InviteBody, InviteList, InviteView
from asahi_edge.api.services import services_of
from asahi_edge.api.times import parse_time, rfc3339

router = APIRouter()


@router.post(
    "/governance/invites",
    tags=["Governance"],
    **documented(
        summary="Make an invite",
        body=InviteBody,
        optional_body=True,
        answer=InviteView,
        status=201,
        errors=(400, 401, 403, 413, 415, 503),
    ),
)
async def create_invite(request: Request) -> Response:
    """Make an invite for one signup. Its code is shown this once. The operator alone."""
    services = services_of(request)
    raw = await read_body(request)
    actor = await authorize_operator(request)
    body = convert(decode_object(raw) if raw else {}, InviteBody)
    wanted = auth_pb2.CreateInviteRequest(actor=actor, note=body.note or "")
    if body.expires_at is not None:
        wanted.expires_at.FromDatetime(parse_time(body.expires_at, "expires_at"))
    made = await services.governance.create_invite(wanted)
    return json_response(_view(made.invite, made.code), status=201)


@router.get(
    "/governance/invites",
    tags=["Governance"],
    **documented(summary="List invites", answer=InviteList, errors=(400, 401, 403, 503)),
)
async def list_invites(request: Request, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """List invites, newest first, used and expired ones included; codes are never shown. The operator alone."""
    actor = await authorize_operator(request)
    wanted = auth_pb2.ListInvitesRequest(actor=actor, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_invites(wanted)
    return json_response(InviteList([_view(invite) for invite in page.invites], page.next_page_token or None))


@router.delete(
    "/governance/invites/{invite_id}",
    tags=["Governance"],
    **documented(summary="Withdraw an invite", answer=InviteView, errors=(400, 401, 403, 404, 503)),
)
async def delete_invite(
    request: Request, invite_id: Annotated[str, Path(description="The id of the invite.")]
) -> Response:
    """Withdraw an invite that was not used. The operator alone."""
    actor = await authorize_operator(request)
    wanted = auth_pb2.DeleteInviteRequest(actor=actor, invite_id=invite_id)
    withdrawn = await services_of(request).governance.delete_invite(wanted)
    return json_response(_view(withdrawn.invite))


def _view(invite: auth_pb2.Invite, code: str | None = None) -> InviteView:
    return InviteView(
        id=invite.id,
        code=code if code is not None else UNSET,
        note=invite.note or None,
        created_at=rfc3339(invite.created_at),
        expires_at=rfc3339(invite.expires_at),
        used_at=moment(invite.used_at, given=invite.HasField("used_at")),
        organization_id=invite.organization_id or None,
    )
