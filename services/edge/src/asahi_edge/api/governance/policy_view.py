"""A policy as callers see it."""

from asahi.auth.v1.auth_pb2 import PolicyVersion
from asahi.type.v1.policy_pb2 import CacheSharing, Cascade, SampledAnswers
from asahi_edge.api.governance.budgets import budget_views
from asahi_edge.api.governance.limits import limits_view
from asahi_edge.api.governance.queries import moment
from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.governance.policies import (
    AlertsView,
    CachePolicyView,
    LearningView,
    PolicyView,
    QualityView,
    RetentionView,
)


def policy_view(organization_id: str, version: PolicyVersion) -> PolicyView:
    """One version of an organisation's policy, with every default filled in."""
    policy = version.policy
    quality, cache, retention, learning = policy.quality, policy.cache, policy.retention, policy.learning
    return PolicyView(
        organization_id=organization_id,
        version=version.version,
        updated_at=moment(version.updated_at, given=version.HasField("updated_at")),
        updated_by=version.updated_by or None,
        allowed_models=list(policy.allowed_models) or None,
        allowed_providers=list(policy.allowed_providers) or None,
        baseline_model=policy.baseline_model or None,
        default_max_output_tokens=policy.default_max_output_tokens,
        timezone=policy.timezone,
        quality=QualityView(
            default_threshold=quality.default_threshold if quality.HasField("default_threshold") else None,
            floor=quality.floor,
            epsilon=quality.epsilon,
            confidence=quality.confidence,
        ),
        cache=CachePolicyView(
            tiers=list(cache.tiers),
            ttl_seconds=cache.ttl_seconds,
            false_hit_bound=cache.false_hit_bound,
            share_between_users=_word(CacheSharing.Name(cache.share_between_users), "CACHE_SHARING_"),
            sampled_answers=_word(SampledAnswers.Name(cache.sampled_answers), "SAMPLED_ANSWERS_"),
        ),
        alerts=AlertsView(policy.alerts.webhook_url) if policy.alerts.webhook_url else None,
        rate_limits=limits_view(policy.rate_limits),
        budgets=budget_views(policy.budgets),
        retention=RetentionView(retention.prompts_days, retention.usage_days, retention.responses_days),
        fail_open_without_billing=policy.fail_open_without_billing,
        strict_revocation=policy.strict_revocation,
        learning=LearningView(
            cascade=_word(Cascade.Name(learning.cascade), "CASCADE_"),
            exploration=learning.exploration,
            share_outcomes=learning.share_outcomes,
            shadow_share=learning.shadow_share,
            judge=learning.judge,
            monthly_limit_usd=Dollars(learning.monthly_limit_nanos),
        ),
    )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
