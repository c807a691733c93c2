"""`/signup` and `/governance/*`: organisations and their keys."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET

from asahi.auth.v1 import auth_pb2
from asahi_core.errors import NotImplementedYet
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.json import Dollars, convert, decode_object, json_response, read_body
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance import (
    ApiKeyBody,
    ApiKeyList,
    ApiKeyView,
    CacheInvalidationAnswer,
    CacheInvalidationBody,
    SignupAnswer,
    SignupBody,
    Usage,
    UsageAnswer,
)
from asahi_edge.api.services import services_of
from asahi_edge.api.times import parse_time, rfc3339
from asahi_edge.domain.access import scope_name

router = APIRouter()
_FLUSH_S = 2.0
_JUST_NOW = timedelta(seconds=1)
_Organization = Annotated[str | None, Query(description="The operator names it; a key's own is the default.")]


@router.post(
    "/signup",
    tags=["Start here"],
    **documented(
        summary="Sign up",
        body=SignupBody,
        answer=SignupAnswer,
        status=201,
        errors=(400, 403, 413, 415, 501, 503),
    ),
)
async def signup(request: Request) -> Response:
    """Make an organization with its first key (scope `all`). Needs no key; the operator may have closed it."""
    services = services_of(request)
    body = convert(decode_object(await read_body(request, services.max_body_bytes)), SignupBody)
    if body.invite_code is not None:
        raise NotImplementedYet("Invites are not served by this version; leave 'invite_code' out.", param="invite_code")
    made = await services.governance.signup(
        auth_pb2.SignupRequest(organization_name=body.org_name, user_id=body.user_id, email=body.email or "")
    )
    answer = SignupAnswer(
        org_id=made.organization_id,
        org_name=made.organization_name,
        api_key=made.secret,
        api_key_id=made.api_key.id,
        scopes=[scope_name(scope) for scope in made.api_key.scopes],
    )
    return json_response(answer, status=201)


@router.post(
    "/governance/api-keys",
    tags=["Governance"],
    **documented(
        summary="Make a key",
        body=ApiKeyBody,
        answer=ApiKeyView,
        status=201,
        errors=(400, 401, 403, 404, 413, 415, 501, 503),
    ),
)
async def create_api_key(request: Request) -> Response:
    """Make a key, never with more than its maker has. The secret is shown this once."""
    services = services_of(request)
    decoded = decode_object(await read_body(request, services.max_body_bytes))
    named = decoded.get("organization_id")
    actor, organization_id = await authorize_governance(request, named if isinstance(named, str) else None)
    body = convert(decoded, ApiKeyBody)
    for name in ("rate_limits", "budgets"):
        if getattr(body, name) is not None:
            raise NotImplementedYet(f"'{name}' is not served by this version; leave it out.", param=name)
    wanted = auth_pb2.CreateApiKeyRequest(
        actor=actor,
        organization_id=organization_id,
        name=body.name,
        scopes=[auth_pb2.Scope.Value(f"SCOPE_{scope.upper()}") for scope in body.scopes],
        user_id=body.user_id or "",
        allowed_models=body.allowed_models or [],
    )
    if body.expires_at is not None:
        wanted.expires_at.FromDatetime(parse_time(body.expires_at, "expires_at"))
    made = await services.governance.create_api_key(wanted)
    return json_response(_view(made.api_key, made.secret), status=201)


@router.get(
    "/governance/api-keys",
    tags=["Governance"],
    **documented(summary="List keys", answer=ApiKeyList, errors=(400, 401, 403, 503)),
)
async def list_api_keys(
    request: Request,
    organization_id: _Organization = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most keys in the answer.")] = 100,
    cursor: Annotated[str, Query(description="`next_cursor` of the answer before.")] = "",
) -> Response:
    """List keys, newest first, revoked ones included; secrets are never shown."""
    _, organization = await authorize_governance(request, organization_id)
    wanted = auth_pb2.ListApiKeysRequest(organization_id=organization, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_api_keys(wanted)
    return json_response(ApiKeyList([_view(key) for key in page.api_keys], page.next_page_token or None))


@router.delete(
    "/governance/api-keys/{api_key_id}",
    tags=["Governance"],
    **documented(summary="Revoke a key", answer=ApiKeyView, errors=(400, 401, 403, 404, 503)),
)
async def revoke_api_key(
    request: Request,
    api_key_id: Annotated[str, Path(description="The id of the key.")],
    organization_id: _Organization = None,
) -> Response:
    """Revoke a key for good. It stops working here at once, at other edges within a second."""
    services = services_of(request)
    actor, organization = await authorize_governance(request, organization_id)
    wanted = auth_pb2.RevokeApiKeyRequest(actor=actor, organization_id=organization, api_key_id=api_key_id)
    revoked = await services.governance.revoke_api_key(wanted)
    services.verdicts.forget(api_key_id)
    return json_response(_view(revoked.api_key))


@router.get(
    "/governance/usage",
    tags=["Governance"],
    **documented(summary="Usage of this day or month", answer=UsageAnswer, errors=(400, 401, 403, 503)),
)
async def usage(
    request: Request,
    org_id: Annotated[str | None, Query(description="The operator names it; a key's own is the default.")] = None,
    period: Annotated[Literal["day", "month"], Query(description="The calendar day or month, in UTC.")] = "month",
) -> Response:
    """What an organization used in the current calendar day or month, in UTC."""
    services = services_of(request)
    _, organization = await authorize_governance(request, org_id, param="org_id")
    await services.usage.flush(_FLUSH_S)
    now = services.clock.now()
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = start if period == "day" else start.replace(day=1)
    summary = await services.ledger.cost_summary(organization, start, now + _JUST_NOW)
    tokens = summary.usage
    answer = Usage(
        organization_id=organization,
        period=period,
        start=rfc3339(start),
        end=rfc3339(now),
        requests=summary.total_requests,
        tokens_input=prompt_tokens(tokens),
        tokens_input_cached=tokens.cache_read_tokens,
        tokens_output=tokens.output_tokens,
        cost=Dollars(summary.total_cost_nanos),
        savings=Dollars(summary.cost_original_nanos - summary.compared_cost_nanos),
        budget_left=None,
    )
    return json_response(UsageAnswer(data=answer))


@router.delete(
    "/governance/cache",
    tags=["Governance"],
    **documented(
        summary="Drop cached answers",
        body=CacheInvalidationBody,
        optional_body=True,
        answer=CacheInvalidationAnswer,
        errors=(400, 401, 403, 413, 415, 501, 503),
    ),
)
async def invalidate_cache(request: Request) -> Response:
    """Drop cached answers that match all that is given; with an empty body all of the organization's."""
    services = services_of(request)
    raw = await read_body(request, services.max_body_bytes)
    decoded = decode_object(raw) if raw else {}
    named = decoded.get("organization_id")
    _, organization = await authorize_governance(request, named if isinstance(named, str) else None)
    body = convert(decoded, CacheInvalidationBody)
    for name in ("document_id", "tag"):
        if getattr(body, name) is not None:
            raise NotImplementedYet(f"'{name}' is not served by this version; leave it out.", param=name)
    given_before = parse_time(body.older_than, "older_than") if body.older_than is not None else None
    dropped = await services.cache.invalidate(organization, request_id=body.request_id or "", given_before=given_before)
    return json_response(CacheInvalidationAnswer(organization_id=organization, dropped=dropped))


def _view(key: auth_pb2.ApiKey, secret: str | None = None) -> ApiKeyView:
    return ApiKeyView(
        id=key.id,
        api_key=secret if secret is not None else UNSET,
        name=key.name,
        scopes=[scope_name(scope) for scope in key.scopes],
        organization_id=key.organization_id,
        user_id=key.user_id or None,
        allowed_models=list(key.allowed_models) or None,
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at) if key.HasField("expires_at") else None,
        revoked_at=rfc3339(key.revoked_at) if key.HasField("revoked_at") else None,
    )
