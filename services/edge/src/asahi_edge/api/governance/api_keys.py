"""`/governance/api-keys`: an organisation's keys."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from msgspec import UNSET, structs

from asahi.auth.v1 import auth_pb2
from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.bodies import read_body
from asahi_edge.api.governance.budgets import budget_messages, budget_views
from asahi_edge.api.governance.limits import limits_message, limits_view
from asahi_edge.api.governance.queries import Cursor, Limit, OrganizationId, moment
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.api_keys import ApiKeyBody, ApiKeyList, ApiKeyView, RotatedKey, RotationBody
from asahi_edge.api.services import services_of
from asahi_edge.api.times import parse_time, rfc3339
from asahi_edge.domain.access import scope_name

router = APIRouter()
_KeyId = Annotated[str, Path(description="The id of the key.")]


@router.post(
    "/governance/api-keys",
    tags=["Governance"],
    **documented(
        summary="Make a key",
        body=ApiKeyBody,
        answer=ApiKeyView,
        status=201,
        errors=(400, 401, 403, 404, 413, 415, 503),
    ),
)
async def create_api_key(request: Request) -> Response:
    """Make a key, never with more than its maker has. The secret is shown this once."""
    services = services_of(request)
    decoded = decode_object(await read_body(request))
    named = decoded.get("organization_id")
    actor, organization_id = await authorize_governance(request, named if isinstance(named, str) else None)
    body = convert(decoded, ApiKeyBody)
    wanted = auth_pb2.CreateApiKeyRequest(
        actor=actor,
        organization_id=organization_id,
        name=body.name,
        scopes=[auth_pb2.Scope.Value(f"SCOPE_{scope.upper()}") for scope in body.scopes],
        user_id=body.user_id or "",
        allowed_models=body.allowed_models or [],
        rate_limits=None if body.rate_limits is None else limits_message(body.rate_limits),
        budgets=budget_messages(body.budgets or ()),
    )
    if body.expires_at is not None:
        wanted.expires_at.FromDatetime(parse_time(body.expires_at, "expires_at"))
    made = await services.governance.create_api_key(wanted)
    return json_response(api_key_view(made.api_key, made.secret), status=201)


@router.get(
    "/governance/api-keys",
    tags=["Governance"],
    **documented(summary="List keys", answer=ApiKeyList, errors=(400, 401, 403, 404, 503)),
)
async def list_api_keys(
    request: Request, organization_id: OrganizationId = None, limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """List keys, newest first, revoked ones included; secrets are never shown."""
    _, organization = await authorize_governance(request, organization_id)
    wanted = auth_pb2.ListApiKeysRequest(organization_id=organization, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_api_keys(wanted)
    return json_response(ApiKeyList([api_key_view(key) for key in page.api_keys], page.next_page_token or None))


@router.delete(
    "/governance/api-keys/{api_key_id}",
    tags=["Governance"],
    **documented(summary="Revoke a key", answer=ApiKeyView, errors=(400, 401, 403, 404, 503)),
)
async def revoke_api_key(request: Request, api_key_id: _KeyId, organization_id: OrganizationId = None) -> Response:
    """Revoke a key for good. It stops working here at once, at other edges within a second."""
    services = services_of(request)
    actor, organization = await authorize_governance(request, organization_id)
    wanted = auth_pb2.RevokeApiKeyRequest(actor=actor, organization_id=organization, api_key_id=api_key_id)
    revoked = await services.governance.revoke_api_key(wanted)
    services.verdicts.forget(api_key_id)
    return json_response(api_key_view(revoked.api_key))


@router.post(
    "/governance/api-keys/{api_key_id}/rotate",
    tags=["Governance"],
    **documented(
        summary="Rotate a key",
        body=RotationBody,
        optional_body=True,
        answer=RotatedKey,
        status=201,
        errors=(400, 401, 403, 404, 413, 415, 503),
    ),
)
async def rotate_api_key(request: Request, api_key_id: _KeyId, organization_id: OrganizationId = None) -> Response:
    """Make a key that may do the same as another, which goes on for an overlap. The secret is shown this once."""
    services = services_of(request)
    raw = await read_body(request)
    actor, organization = await authorize_governance(request, organization_id)
    body = convert(decode_object(raw) if raw else {}, RotationBody)
    wanted = auth_pb2.RotateApiKeyRequest(actor=actor, organization_id=organization, api_key_id=api_key_id)
    if body.overlap_seconds is not None:
        wanted.overlap.FromSeconds(body.overlap_seconds)
    rotated = await services.governance.rotate_api_key(wanted)
    services.verdicts.forget(api_key_id)
    view = api_key_view(rotated.api_key, rotated.secret)
    return json_response(RotatedKey(**structs.asdict(view), replaced=api_key_view(rotated.replaced)), status=201)


def api_key_view(key: auth_pb2.ApiKey, secret: str | None = None) -> ApiKeyView:
    """A key as callers see it, with its secret form where it was just made."""
    return ApiKeyView(
        id=key.id,
        api_key=secret if secret is not None else UNSET,
        name=key.name,
        scopes=[scope_name(scope) for scope in key.scopes],
        organization_id=key.organization_id,
        user_id=key.user_id or None,
        allowed_models=list(key.allowed_models) or None,
        rate_limits=limits_view(key.rate_limits),
        budgets=budget_views(key.budgets),
        created_at=rfc3339(key.created_at),
        expires_at=moment(key.expires_at, given=key.HasField("expires_at")),
        revoked_at=moment(key.revoked_at, given=key.HasField("revoked_at")),
        last_used_at=moment(key.last_used_at, given=key.HasField("last_used_at")),
        rotated_from=key.rotated_from or None,
        rotated_to=key.rotated_to or None,
    )
