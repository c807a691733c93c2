"""Who calls: a key, a person with a token, or the operator with the admin secret."""

import hmac
from collections.abc import Mapping

from fastapi import Request

from asahi.auth.v1.auth_pb2 import Actor, Operator, Person, Scope, Verdict
from asahi_core.errors import InsufficientScope, InvalidApiKey, InvalidRequest
from asahi_edge.api.limits import address_of
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization, require_scope
from asahi_edge.domain.verdicts import REFUSED, is_token

_HEADER = "x-admin-secret"
_REFUSED_IN_QUERIES = {_HEADER, "admin-secret", "asahi-admin-secret"}


async def authorize(request: Request, scope: Scope.ValueType) -> Verdict:
    """The verdict on the request's key, or on a person's token where the path is not one of inference.

    Raises:
        InvalidApiKey: none was sent, or it is not valid.
        InsufficientScope: it does not open this path.
    """
    verdicts, key = services_of(request).verdicts, key_in(request.headers)
    if scope != Scope.SCOPE_INFER and is_token(key):
        verdict = await verdicts.person(key, address_of(request))
    else:
        verdict = await verdicts.verdict(key, address_of(request))
    require_scope(verdict, scope)
    return verdict


async def authorize_governance(
    request: Request, organization_id: str | None, *, param: str = "organization_id"
) -> tuple[Actor, str]:
    """Who acts, and for which organisation: the operator names it in `param`, a key and a person have their own."""
    if is_operator(request):
        if not organization_id:
            raise InvalidRequest(f"The operator names the organization: '{param}' is missing.", param=param)
        return _operator(request), organization_id
    verdict = await authorize(request, Scope.SCOPE_ADMIN)
    require_organization(verdict, organization_id, param)
    return _actor(verdict, address_of(request)), verdict.organization_id


async def authorize_operator(request: Request) -> Actor:
    """Who acts, where only the operator may; raises InsufficientScope for keys of any scope."""
    if is_operator(request):
        return _operator(request)
    await authorize(request, Scope.SCOPE_ADMIN)
    raise InsufficientScope("Only the operator may do this; send the header x-admin-secret in place of a key.")


def is_operator(request: Request) -> bool:
    """Whether the operator calls; raises InvalidApiKey if the secret is wrong, sent twice or in the query."""
    if any(name.lower().replace("_", "-") in _REFUSED_IN_QUERIES for name in request.query_params):
        raise InvalidApiKey("The admin secret goes into the header x-admin-secret; a query ends up in logs.")
    secrets = request.headers.getlist(_HEADER)
    if not secrets:
        return False
    expected = services_of(request).admin_secret
    if len(secrets) != 1 or not expected or not hmac.compare_digest(secrets[0].encode(), expected.encode()):
        raise InvalidApiKey("The header x-admin-secret is not this installation's admin secret.")
    return True


def _actor(verdict: Verdict, address: str) -> Actor:
    if verdict.api_key_id:
        return Actor(api_key_id=verdict.api_key_id, address=address)
    subject = verdict.principal_id.removeprefix("person:")
    person = Person(subject=subject, organization_id=verdict.organization_id, scopes=verdict.scopes)
    return Actor(person=person, address=address)


def _operator(request: Request) -> Actor:
    return Actor(operator=Operator(), address=address_of(request))


def key_in(headers: Mapping[str, str]) -> str:
    """The key in HTTP headers or gRPC metadata; raises InvalidApiKey if there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    key = headers.get("x-api-key", "")
    if not key:
        raise InvalidApiKey(REFUSED)
    return key
