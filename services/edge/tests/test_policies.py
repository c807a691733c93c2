"""What a policy makes of a request."""

from dataclasses import replace

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import Answer, Api, ChatRequest, ContentPart, Message, Role
from asahi.type.v1.policy_pb2 import (
    CachePolicy,
    CacheSharing,
    Cascade,
    LearningPolicy,
    Policy,
    QualityPolicy,
    SampledAnswers,
)
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi_edge.api.questions import chat_question, infer_question, native_question
from asahi_edge.api.schemas.inference import InferBody
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.inference import CacheDirectives, InferenceRequest
from asahi_edge.domain.policies import govern_cache, govern_routing, routing_policy
from services.edge.tests.flying import asked, flying

_DAY_S = 86_400


def cache_policy(
    *,
    tiers: tuple[int, ...] = (1, 2, 3),
    ttl_s: int = _DAY_S,
    sharing: CacheSharing.ValueType = CacheSharing.CACHE_SHARING_EXACT,
    sampled: SampledAnswers.ValueType = SampledAnswers.SAMPLED_ANSWERS_REUSE,
) -> CachePolicy:
    return CachePolicy(tiers=tiers, ttl_seconds=ttl_s, share_between_users=sharing, sampled_answers=sampled)


def under(policy: Policy, *, key_models: tuple[str, ...] = (), version: int = 1) -> Verdict:
    return Verdict(organization_id="org-1", policy=policy, policy_version=version, allowed_models=key_models)


def autopilot(threshold: float | None = None) -> Routing:
    return Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT, quality_threshold=threshold)


def test_the_policys_quality_holds_where_the_caller_asks_for_none() -> None:
    verdict = under(Policy(quality=QualityPolicy(default_threshold=4.0)))
    for routing, expected in ((autopilot(), 4.0), (autopilot(2.5), 2.5)):
        govern_routing(routing, verdict)
        assert routing.quality_threshold == expected


@pytest.mark.parametrize("mode", [RoutingMode.ROUTING_MODE_EXPLICIT, RoutingMode.ROUTING_MODE_GUIDED])
def test_a_caller_who_says_what_is_wanted_is_not_overruled(mode: RoutingMode.ValueType) -> None:
    routing = Routing(mode=mode)
    govern_routing(routing, under(Policy(quality=QualityPolicy(default_threshold=4.0))))
    assert not routing.HasField("quality_threshold")


@pytest.mark.parametrize(
    ("policy", "temperature", "expected"),
    [
        (cache_policy(), 1.0, CacheDirectives(max_age_s=_DAY_S, ttl_s=_DAY_S)),
        (cache_policy(ttl_s=60), None, CacheDirectives(max_age_s=60, ttl_s=60)),
        (cache_policy(tiers=()), None, CacheDirectives(read=False, write=False)),
        (cache_policy(tiers=(2, 3)), None, CacheDirectives(read=False, write=False)),
        (cache_policy(sampled=SampledAnswers.SAMPLED_ANSWERS_NEVER), 0.7, CacheDirectives(read=False, write=False)),
        (cache_policy(sampled=SampledAnswers.SAMPLED_ANSWERS_NEVER), None, CacheDirectives(read=False, write=False)),
        (cache_policy(sampled=SampledAnswers.SAMPLED_ANSWERS_NEVER), 0.0, CacheDirectives(True, True, _DAY_S, _DAY_S)),
    ],
    ids=["default", "short time", "no tiers", "not tier 1", "sampled", "sampled by default", "not sampled"],
)
def test_the_policy_bounds_what_the_cache_may_do(
    policy: CachePolicy, temperature: float | None, expected: CacheDirectives
) -> None:
    assert govern_cache(CacheDirectives(), under(Policy(cache=policy)), temperature) == expected


def test_the_caller_may_be_stricter_than_the_policy_never_laxer() -> None:
    verdict = under(Policy(cache=cache_policy(ttl_s=60)))
    assert govern_cache(CacheDirectives(max_age_s=5), verdict, None).max_age_s == 5
    assert govern_cache(CacheDirectives(max_age_s=600), verdict, None).max_age_s == 60
    assert not govern_cache(CacheDirectives(read=False), verdict, None).read


def _asked_by(user: str, verdict: Verdict) -> list[InferenceRequest]:
    """The same question over each API, for one end user."""
    body = InferBody(prompt="What is 6 × 7?", user_id=user)
    native = {"messages": [], "user": user}
    chat = ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text="What is 6 × 7?")])])
    return [
        infer_question(verdict, body, {}),
        native_question(verdict, Api.API_OPENAI_CHAT_COMPLETIONS, b"{}", native, {}),
        chat_question(verdict, chat, autopilot(), {}, stream=False, user_id=user, task_id="", explain=False),
    ]


@pytest.mark.parametrize(
    ("sharing", "shared"),
    [
        (CacheSharing.CACHE_SHARING_EXACT, True),
        (CacheSharing.CACHE_SHARING_ALL, True),
        (CacheSharing.CACHE_SHARING_NONE, False),
    ],
    ids=["exact", "all", "none"],
)
def test_end_users_share_answers_as_the_policy_says(sharing: CacheSharing.ValueType, *, shared: bool) -> None:
    verdict = under(Policy(cache=cache_policy(sharing=sharing)))
    for one, same, other in zip(*(_asked_by(user, verdict) for user in ("ada", "ada", "bob")), strict=True):
        assert one.fingerprint == same.fingerprint
        assert (one.fingerprint == other.fingerprint) is shared


def test_metadata_users_are_kept_apart_too() -> None:
    verdict = under(Policy(cache=cache_policy(sharing=CacheSharing.CACHE_SHARING_NONE)))
    ada, bob = (
        native_question(verdict, Api.API_ANTHROPIC_MESSAGES, b"{}", {"metadata": {"user_id": user}}, {})
        for user in ("ada", "bob")
    )
    assert ada.fingerprint != bob.fingerprint


def test_the_router_hears_what_organisation_and_key_permit() -> None:
    whole = Policy(
        allowed_models=["gpt-*"],
        allowed_providers=["openai"],
        baseline_model="gpt-6-sol",
        quality=QualityPolicy(floor=3.5, epsilon=0.02),
        learning=LearningPolicy(cascade=Cascade.CASCADE_OFF, exploration=0.1, share_outcomes=True),
    )
    policy = routing_policy(asked("r-1", by=under(whole, key_models=("*-luna",))))
    assert list(policy.allowed_models) == ["gpt-*"]
    assert list(policy.key_allowed_models) == ["*-luna"]
    assert list(policy.allowed_providers) == ["openai"]
    assert (policy.baseline_model, policy.quality_floor, policy.epsilon) == ("gpt-6-sol", 3.5, 0.02)
    assert (policy.cascade, policy.exploration, policy.shares_outcomes) == (Cascade.CASCADE_OFF, 0.1, True)
    assert not routing_policy(asked("r-1")).shares_outcomes, "nobody shares who did not say so"
    assert not routing_policy(asked("r-1")).HasField("quality_floor")


@pytest.mark.parametrize(
    ("policy", "key_models", "allowed"),
    [
        (Policy(), (), True),
        (Policy(allowed_models=["gpt-*"]), ("*-luna",), True),
        (Policy(allowed_models=["claude-*"]), (), False),
        (Policy(allowed_models=["gpt-*"]), ("claude-*",), False),
        (Policy(allowed_providers=["openai"]), (), True),
        (Policy(allowed_providers=["azure"]), (), False),
    ],
)
def test_a_stored_answer_must_be_allowed_now(policy: Policy, key_models: tuple[str, ...], *, allowed: bool) -> None:
    answer = Answer(model="gpt-6-luna", provider="openai")
    assert may_use_answer(under(policy, key_models=key_models), answer) is allowed


async def test_identical_requests_under_different_policies_share_no_call() -> None:
    first, second = (asked("r-1", by=under(Policy(), version=version)) for version in (1, 2))
    assert first.fingerprint == second.fingerprint
    assert first.flight_key != second.flight_key


async def test_an_answer_is_kept_as_long_as_the_policy_says_and_with_its_end_user() -> None:
    async with flying() as rig:
        request = asked("r-1", cache=CacheDirectives(ttl_s=60.0))
        await rig.answered(replace(request, user_id="ada"))
        (entry,) = rig.cache.entries.values()
        assert rig.cache.ttls == [60.0]
        assert entry.user_id == "ada"
