"""Values of the domain as messages of `asahi.auth.v1`, and back."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from asahi.auth.v1 import auth_pb2 as pb
from asahi.type.v1.policy_pb2 import Budget, RateLimits
from asahi_auth.domain.budgets import budgets_of, check_budgets, settings_of_budgets
from asahi_auth.domain.organizations import (
    ActingKey,
    ActingOperator,
    ActingPerson,
    Actor,
    ApiKey,
    Invite,
    Organization,
    PolicyVersion,
    Principal,
)
from asahi_auth.domain.policy import check_timezone, effective, rate_limits
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.store import Revocation
from asahi_auth.domain.wanted import Wanted
from asahi_auth.domain.watch import News
from asahi_core.errors import InvalidRequest
from asahi_core.times import moment_of

_TO_MESSAGE = {
    Scope.INFER: pb.Scope.SCOPE_INFER,
    Scope.ANALYTICS: pb.Scope.SCOPE_ANALYTICS,
    Scope.ADMIN: pb.Scope.SCOPE_ADMIN,
    Scope.ALL: pb.Scope.SCOPE_ALL,
}
_FROM_MESSAGE = {message: scope for scope, message in _TO_MESSAGE.items()}


def verdict_of(principal: Principal) -> pb.Verdict:
    """The verdict on a valid key."""
    key, policy = principal.key, principal.policy
    verdict = pb.Verdict(
        organization_id=key.organization_id,
        api_key_id=key.id,
        scopes=[_TO_MESSAGE[scope] for scope in key.scopes],
        user_id=key.user_id,
        allowed_models=key.allowed_models,
        policy=effective(policy.settings),
        policy_version=policy.version,
        rate_limits=rate_limits(key.rate_limits),
        budgets=budgets_of(key.budgets),
        principal_id=key.principal_id or key.id,
    )
    if key.expires_at is not None:
        verdict.expires_at.FromDatetime(key.expires_at)
    return verdict


def message_of(key: ApiKey) -> pb.ApiKey:
    """The key without its secret."""
    message = pb.ApiKey(
        id=key.id,
        name=key.name,
        organization_id=key.organization_id,
        user_id=key.user_id,
        scopes=[_TO_MESSAGE[scope] for scope in key.scopes],
        allowed_models=key.allowed_models,
        rate_limits=rate_limits(key.rate_limits),
        budgets=budgets_of(key.budgets),
        rotated_from=key.rotated_from,
        rotated_to=key.rotated_to,
    )
    message.created_at.FromDatetime(key.created_at)
    if key.expires_at is not None:
        message.expires_at.FromDatetime(key.expires_at)
    if key.revoked_at is not None:
        message.revoked_at.FromDatetime(key.revoked_at)
    if key.last_used_at is not None:
        message.last_used_at.FromDatetime(key.last_used_at)
    return message


def organization_of(organization: Organization) -> pb.Organization:
    """The organisation."""
    message = pb.Organization(id=organization.id, name=organization.name, user_id=organization.user_id)
    message.created_at.FromDatetime(organization.created_at)
    if organization.suspended_at is not None:
        message.suspended_at.FromDatetime(organization.suspended_at)
    if organization.deleted_at is not None:
        message.deleted_at.FromDatetime(organization.deleted_at)
    return message


def invite_of(invite: Invite) -> pb.Invite:
    """The invite without its code."""
    message = pb.Invite(id=invite.id, note=invite.note, organization_id=invite.organization_id)
    message.created_at.FromDatetime(invite.created_at)
    message.expires_at.FromDatetime(invite.expires_at)
    if invite.used_at is not None:
        message.used_at.FromDatetime(invite.used_at)
    return message


def policy_of(policy: PolicyVersion) -> pb.PolicyVersion:
    """The policy with every default filled in, and what was set."""
    message = pb.PolicyVersion(policy=effective(policy.settings), version=policy.version, updated_by=policy.updated_by)
    message.settings.update(policy.settings)
    if policy.updated_at is not None:
        message.updated_at.FromDatetime(policy.updated_at)
    return message


def settings_of(changes: Struct) -> dict[str, Any]:
    """A merge patch as plain values."""
    return MessageToDict(changes)


def news_of(news: News) -> pb.WatchResponse:
    """A revocation or a heartbeat."""
    if isinstance(news, Revocation):
        if news.api_key_id:
            return pb.WatchResponse(api_key_id=news.api_key_id)
        return pb.WatchResponse(organization_id=news.organization_id)
    return pb.WatchResponse(heartbeat=pb.Heartbeat())


def actor_of(actor: pb.Actor) -> Actor:
    """Who acts; raises InvalidRequest if nobody is named."""
    match actor.WhichOneof("actor"):
        case "api_key_id":
            return ActingKey(actor.api_key_id, actor.address)
        case "operator":
            return ActingOperator(actor.address)
        case "person" if actor.person.subject:
            person = actor.person
            return ActingPerson(person.subject, person.organization_id, _scopes_of(person.scopes), actor.address)
        case _:
            raise InvalidRequest("actor is missing: a key, a person or the operator acts.", param="actor")


def wanted_of(request: pb.CreateApiKeyRequest) -> Wanted:
    """The key that is asked for; raises InvalidRequest for scopes and times that there are not."""
    return Wanted(
        organization_id=request.organization_id,
        name=request.name,
        scopes=_scopes_of(request.scopes),
        user_id=request.user_id,
        allowed_models=tuple(request.allowed_models),
        expires_at=moment_of(request.expires_at, "expires_at") if request.HasField("expires_at") else None,
        rate_limits=_limits_of(request.rate_limits) if request.HasField("rate_limits") else {},
        budgets=_budgets_of(request.budgets),
    )


def _budgets_of(budgets: Iterable[Budget]) -> tuple[dict[str, Any], ...]:
    """Budgets as the HTTP contract writes them; raises InvalidRequest for one that cannot be kept."""
    settings = settings_of_budgets(budgets)
    check_budgets("budgets", settings, check_timezone)
    return tuple(settings)


def _limits_of(limits: RateLimits, path: str = "rate_limits") -> dict[str, Any]:
    """Limits as the HTTP contract writes them; raises InvalidRequest for one below 1."""
    found: dict[str, Any] = {}
    for name in ("requests_per_minute", "tokens_per_minute"):
        if limits.HasField(name):
            found[name] = getattr(limits, name)
            if found[name] < 1:
                raise InvalidRequest(f"{path}.{name} is {found[name]}; it is at least 1.", param=f"{path}.{name}")
    if limits.HasField("per_user"):
        if path != "rate_limits":
            raise InvalidRequest(f"{path} has limits of its own users; leave 'per_user' out.", param=f"{path}.per_user")
        per_user = _limits_of(limits.per_user, f"{path}.per_user")
        if per_user:
            found["per_user"] = per_user
    return found


def _scopes_of(scopes: Iterable[pb.Scope.ValueType]) -> tuple[Scope, ...]:
    """Each scope once, in the order given."""
    unknown = next((scope for scope in scopes if scope not in _FROM_MESSAGE), None)
    if unknown is not None:
        raise InvalidRequest(f"scopes contains {unknown}, which is no scope.", param="scopes")
    return tuple(dict.fromkeys(_FROM_MESSAGE[scope] for scope in scopes))


def uses_of(uses: Iterable[pb.KeyUse]) -> dict[str, datetime]:
    """When keys were used last, by id; raises InvalidRequest for a time that there is not."""
    last: dict[str, datetime] = {}
    for use in uses:
        at = moment_of(use.used_at, "uses.used_at")
        last[use.api_key_id] = max(at, last.get(use.api_key_id, at))
    return last
