"""Rate limits as callers write them and as services do."""

from asahi.type.v1 import policy_pb2
from asahi_edge.api.schemas.governance.limits import RateLimits, UserRateLimits


def limits_message(limits: UserRateLimits) -> policy_pb2.RateLimits:
    """The limits as a message; what is absent or null is no limit."""
    message = policy_pb2.RateLimits(
        requests_per_minute=limits.requests_per_minute or None, tokens_per_minute=limits.tokens_per_minute or None
    )
    if isinstance(limits, RateLimits) and limits.per_user:
        message.per_user.CopyFrom(limits_message(limits.per_user))
    return message


def limits_view(message: policy_pb2.RateLimits) -> RateLimits | None:
    """The limits as callers see them; None: there are none."""
    if not message.ListFields():
        return None
    limits = RateLimits()
    _tell(message, limits)
    if message.HasField("per_user"):
        limits.per_user = UserRateLimits()
        _tell(message.per_user, limits.per_user)
    return limits


def _tell(message: policy_pb2.RateLimits, limits: UserRateLimits) -> None:
    if message.HasField("requests_per_minute"):
        limits.requests_per_minute = message.requests_per_minute
    if message.HasField("tokens_per_minute"):
        limits.tokens_per_minute = message.tokens_per_minute
