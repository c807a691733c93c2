"""`/governance/organizations`: the operator's view of tenants."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from asahi.auth.v1 import auth_pb2
from asahi_edge.api.authentication import authorize_operator
from asahi_edge.api.bodies import read_body
from asahi_edge.api.governance.queries import Cursor, Limit, moment
from asahi_edge.api.governance.receipts import receipt_of
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.organizations import OrganizationBody, OrganizationList, OrganizationView
from asahi_edge.api.schemas.governance.receipts import ErasureReceipt
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.erasure import Eraser

router = APIRouter()
_OrgId = Annotated[str, Path(description="The id of the organization.")]


@router.post(
    "/governance/organizations",
    tags=["Governance"],
    **documented(
        summary="Make an organization",
        body=OrganizationBody,
        answer=OrganizationView,
        status=201,
        errors=(400, 401, 403, 413, 415, 503),
    ),
)
async def create_organization(request: Request) -> Response:
    """Make an organization without keys; the operator then makes its first. The operator alone."""
    services = services_of(request)
    raw = await read_body(request)
    actor = await authorize_operator(request)
    body = convert(decode_object(raw), OrganizationBody)
    made = await services.governance.create_organization(
        auth_pb2.CreateOrganizationRequest(actor=actor, name=body.name)
    )
    return json_response(_view(made.organization), status=201)


@router.get(
    "/governance/organizations",
    tags=["Governance"],
    **documented(summary="List organizations", answer=OrganizationList, errors=(400, 401, 403, 503)),
)
async def list_organizations(request: Request, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """List organizations, newest first, suspended and deleted ones included. The operator alone."""
    actor = await authorize_operator(request)
    wanted = auth_pb2.ListOrganizationsRequest(actor=actor, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_organizations(wanted)
    return json_response(OrganizationList([_view(one) for one in page.organizations], page.next_page_token or None))


@router.post(
    "/governance/organizations/{org_id}/suspend",
    tags=["Governance"],
    **documented(summary="Suspend an organization", answer=OrganizationView, errors=(400, 401, 403, 404, 503)),
)
async def suspend_organization(request: Request, org_id: _OrgId) -> Response:
    """Suspend an organization: its keys open nothing within a second, at any edge. The operator alone."""
    return await _set_suspended(request, org_id, suspended=True)


@router.post(
    "/governance/organizations/{org_id}/resume",
    tags=["Governance"],
    **documented(summary="Resume an organization", answer=OrganizationView, errors=(400, 401, 403, 404, 503)),
)
async def resume_organization(request: Request, org_id: _OrgId) -> Response:
    """End the suspension of an organization. The operator alone."""
    return await _set_suspended(request, org_id, suspended=False)


@router.delete(
    "/governance/organizations/{org_id}",
    tags=["Governance"],
    **documented(summary="Delete an organization", answer=ErasureReceipt, errors=(400, 401, 403, 404, 503)),
)
async def delete_organization(request: Request, org_id: _OrgId) -> Response:
    """Delete an organization, with a receipt: what was erased, and what is kept and why. The operator alone.

    Its keys open nothing from then on. Safe to repeat when an answer was lost.
    """
    services = services_of(request)
    actor = await authorize_operator(request)
    eraser = Eraser(
        services.governance,
        services.cache,
        services.responses,
        services.ledger,
        services.outcomes,
        verdicts=services.verdicts,
    )
    erasure = await eraser.erase_organization(actor, org_id)
    return json_response(receipt_of(erasure, services.clock.now()))


async def _set_suspended(request: Request, org_id: str, *, suspended: bool) -> Response:
    services = services_of(request)
    actor = await authorize_operator(request)
    wanted = auth_pb2.SetOrganizationSuspendedRequest(actor=actor, organization_id=org_id, suspended=suspended)
    changed = await services.governance.set_organization_suspended(wanted)
    services.verdicts.forget_organization(org_id)
    return json_response(_view(changed.organization))


def _view(organization: auth_pb2.Organization) -> OrganizationView:
    return OrganizationView(
        id=organization.id,
        name=organization.name or None,
        user_id=organization.user_id or None,
        created_at=rfc3339(organization.created_at),
        suspended_at=moment(organization.suspended_at, given=organization.HasField("suspended_at")),
        deleted_at=moment(organization.deleted_at, given=organization.HasField("deleted_at")),
    )
