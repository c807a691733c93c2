"""Who calls: a key, or the operator with the admin secret."""

import hmac
from collections.abc import Mapping

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
    verdict = await services_of(request).verdicts.verdict(key_in(request.headers))
    require_scope(verdict, scope)
    return verdict


async def authorize_governance(
    request: Request, organization_id: str | None, *, param: str = "organization_id"
) -> tuple[Actor, str]:
    """Who acts, and for which organisation: the operator names it in `param`, a key has its own."""
    secrets = request.headers.getlist("x-admin-secret")
    if secrets:
        return _operator(request, secrets, organization_id, param)
    verdict = await authorize(request, Scope.SCOPE_ADMIN)
    require_organization(verdict, organization_id)
    return Actor(api_key_id=verdict.api_key_id), verdict.organization_id


def _operator(request: Request, secrets: list[str], organization_id: str | None, param: str) -> tuple[Actor, str]:
    expected = services_of(request).admin_secret
    sent = secrets[0]
    if len(secrets) != 1 or not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise InvalidApiKey("The header x-admin-secret is not this installation's admin secret.")
    if organization_id is None:
        raise InvalidRequest(f"The operator names the organization: '{param}' is missing.", param=param)
    return Actor(operator=Operator()), organization_id


def key_in(headers: Mapping[str, str]) -> str:
    """The key in HTTP headers or gRPC metadata; raises InvalidApiKey if there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    key = headers.get("x-api-key", "")
    if not key:
        raise InvalidApiKey(REFUSED)
    return key
