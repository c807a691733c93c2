"""Values of the domain as messages of `asahi.auth.v1`, and back."""

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.domain.governance import Wanted
from asahi_auth.domain.organizations import ActingKey, ActingOperator, Actor, ApiKey
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.store import Revocation
from asahi_auth.domain.watch import News
from asahi_core.errors import InvalidRequest

_TO_MESSAGE = {
    Scope.INFER: pb.Scope.SCOPE_INFER,
    Scope.ANALYTICS: pb.Scope.SCOPE_ANALYTICS,
    Scope.ADMIN: pb.Scope.SCOPE_ADMIN,
    Scope.ALL: pb.Scope.SCOPE_ALL,
}
_FROM_MESSAGE = {message: scope for scope, message in _TO_MESSAGE.items()}


def verdict_of(key: ApiKey) -> pb.Verdict:
    """The verdict on a valid key."""
    verdict = pb.Verdict(
        organization_id=key.organization_id,
        api_key_id=key.id,
        scopes=[_TO_MESSAGE[scope] for scope in key.scopes],
        user_id=key.user_id,
        allowed_models=key.allowed_models,
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
    )
    message.created_at.FromDatetime(key.created_at)
    if key.expires_at is not None:
        message.expires_at.FromDatetime(key.expires_at)
    if key.revoked_at is not None:
        message.revoked_at.FromDatetime(key.revoked_at)
    return message


def news_of(news: News) -> pb.WatchResponse:
    """A revocation or a heartbeat."""
    if isinstance(news, Revocation):
        return pb.WatchResponse(api_key_id=news.api_key_id)
    return pb.WatchResponse(heartbeat=pb.Heartbeat())


def actor_of(actor: pb.Actor) -> Actor:
    """Who acts; raises InvalidRequest if nobody is named."""
    match actor.WhichOneof("actor"):
        case "api_key_id":
            return ActingKey(actor.api_key_id)
        case "operator":
            return ActingOperator()
        case _:
            raise InvalidRequest("actor is missing: a key or the operator acts.", param="actor")


def wanted_of(request: pb.CreateApiKeyRequest) -> Wanted:
    """The key that is asked for; raises InvalidRequest for scopes and times that there are not."""
    return Wanted(
        organization_id=request.organization_id,
        name=request.name,
        scopes=_scopes_of(request.scopes),
        user_id=request.user_id,
        allowed_models=tuple(request.allowed_models),
        expires_at=_moment_of(request.expires_at) if request.HasField("expires_at") else None,
    )


def _scopes_of(scopes: Iterable[pb.Scope.ValueType]) -> tuple[Scope, ...]:
    """Each scope once, in the order given."""
    unknown = next((scope for scope in scopes if scope not in _FROM_MESSAGE), None)
    if unknown is not None:
        raise InvalidRequest(f"scopes contains {unknown}, which is no scope.", param="scopes")
    return tuple(dict.fromkeys(_FROM_MESSAGE[scope] for scope in scopes))


def _moment_of(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest("expires_at is not a time of the years 1 to 9999.", param="expires_at") from error
