"""What an organisation's policy, and the key's own limits beside it, make of a request."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.policy_pb2 import CachePolicy, CacheSharing, SampledAnswers
from asahi.type.v1.routing_pb2 import Routing, RoutingMode, RoutingPolicy
from asahi_edge.domain.inference import CacheDirectives, InferenceRequest

_SIMILAR_TIER = 2


def govern_routing(routing: Routing, verdict: Verdict) -> None:
    """Asks for the policy's quality where the caller leaves the choice to Asahi and asks for none."""
    quality = verdict.policy.quality
    if (
        routing.mode == RoutingMode.ROUTING_MODE_AUTOPILOT
        and not routing.HasField("quality_threshold")
        and quality.HasField("default_threshold")
    ):
        routing.quality_threshold = quality.default_threshold


def govern_cache(
    asked: CacheDirectives, verdict: Verdict, temperature: float | None, *, exact_tier: int = 1
) -> CacheDirectives:
    """What both the caller and the policy allow the cache to do; `exact_tier`: 1, of workflows 3.

    Where sampled answers may not be used again, a request without a temperature counts as sampled: providers' default
    is above 0.
    """
    if not verdict.HasField("policy"):
        return asked
    policy = verdict.policy.cache
    sampled = temperature is None or temperature > 0
    never = policy.sampled_answers == SampledAnswers.SAMPLED_ANSWERS_NEVER and sampled
    if never or exact_tier not in policy.tiers:
        return CacheDirectives(read=False, write=False)
    ttl_s = float(policy.ttl_seconds)
    return replace(
        asked,
        similar=asked.similar and _SIMILAR_TIER in policy.tiers,
        ttl_s=ttl_s,
        max_age_s=ttl_s if asked.max_age_s is None else min(asked.max_age_s, ttl_s),
    )


def users_apart(verdict: Verdict, user_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Whom an answer may be used again for, where the policy keeps end users apart; else nothing."""
    policy: CachePolicy = verdict.policy.cache
    if policy.share_between_users != CacheSharing.CACHE_SHARING_NONE:
        return {}
    return {"user": list(named_users(user_id, body))}


def named_users(user_id: str, body: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Whom a request names as its end user, in each place where it can."""
    metadata = body.get("metadata")
    said = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    return user_id, body.get("user"), said


def routing_policy(request: InferenceRequest) -> RoutingPolicy:
    """What the router must keep to."""
    verdict, blocked = request.verdict, request.is_blocked_by_budget
    policy = RoutingPolicy(key_allowed_models=verdict.allowed_models, price_needed=blocked)
    if blocked or request.routing.HasField("cost_budget_nanos"):
        policy.default_max_output_tokens = verdict.policy.default_max_output_tokens
    if verdict.HasField("policy"):
        whole = verdict.policy
        policy.allowed_models.extend(whole.allowed_models)
        policy.allowed_providers.extend(whole.allowed_providers)
        policy.baseline_model = whole.baseline_model
        policy.quality_floor = whole.quality.floor
        policy.epsilon = whole.quality.epsilon
        policy.cascade = whole.learning.cascade
        policy.exploration = whole.learning.exploration
        policy.shares_outcomes = whole.learning.share_outcomes
    return policy
