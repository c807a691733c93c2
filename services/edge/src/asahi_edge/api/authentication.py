"""Who calls: a key, or the operator with the admin secret."""

import hmac

from fastapi import Request

from asahi.auth.v1.auth_pb2 import Actor, Operator, Scope, Verdict
from asahi_core.errors import InvalidApiKey, InvalidRequest
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization, require_scope
from asahi_edge.domain.verdicts import REFUSED


async def authorize(request: Request, scope: Scope.ValueType) -> Verdict:
    """The verdict on the request's key.

    Raises:
        InvalidApiKey: none was sent, or it is not valid.
        InsufficientScope: it does not open this path.
    """
    verdict = await services_of(request).verdicts.verdict(_key_of(request))
    require_scope(verdict, scope)
    return verdict


async def authorize_governance(request: Request, organization_id: str | None) -> tuple[Actor, str]:
    """Who acts, and for which organisation: the operator names it, a key has its own."""
    secrets = request.headers.getlist("x-admin-secret")
    if secrets:
        return _operator(request, secrets, organization_id)
    verdict = await authorize(request, Scope.SCOPE_ADMIN)
    require_organization(verdict, organization_id)
    return Actor(api_key_id=verdict.api_key_id), verdict.organization_id


def _operator(request: Request, secrets: list[str], organization_id: str | None) -> tuple[Actor, str]:
    expected = services_of(request).admin_secret
    sent = secrets[0]
    if len(secrets) != 1 or not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise InvalidApiKey("The header x-admin-secret is not this installation's admin secret.")
    if organization_id is None:
        raise InvalidRequest(
            "The operator names the organization: 'organization_id' is missing.", param="organization_id"
        )
    return Actor(operator=Operator()), organization_id


def _key_of(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    key = request.headers.get("x-api-key", "")
    if not key:
        raise InvalidApiKey(REFUSED)
    return key
