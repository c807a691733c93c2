"""Which model is chosen, in every mode and with every preference and budget."""

from dataclasses import replace
from typing import Any

import pytest

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Tool, ToolChoice, ToolChoiceMode
from asahi.type.v1.routing_pb2 import LatencyPreference, QualityPreference
from asahi_router.domain.decision import decide
from services.router.tests.decision_rig import (
    ANTHROPIC,
    BASELINE,
    BEST,
    CHEAP,
    EXPLICIT,
    GUIDED,
    MODELS,
    PEER,
    QUICK,
    UNPRICED,
    always,
    chat,
    chosen,
    decided,
    excluded,
    native,
    scale,
    task,
)

LOW, MEDIUM = QualityPreference.QUALITY_PREFERENCE_LOW, QualityPreference.QUALITY_PREFERENCE_MEDIUM
HIGH, MAX = QualityPreference.QUALITY_PREFERENCE_HIGH, QualityPreference.QUALITY_PREFERENCE_MAX
SLOW, NORMAL = LatencyPreference.LATENCY_PREFERENCE_SLOW, LatencyPreference.LATENCY_PREFERENCE_NORMAL
FAST, INSTANT = LatencyPreference.LATENCY_PREFERENCE_FAST, LatencyPreference.LATENCY_PREFERENCE_INSTANT
TOOLS = [{"type": "function", "function": {"name": "find"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]}]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(task(), PEER, id="nothing asked: the cheapest as good as the baseline"),
        pytest.param(task(policy={"epsilon": 0.0}), BASELINE, id="no loss allowed: the baseline"),
        pytest.param(task(policy={"epsilon": 0.2}), CHEAP, id="a fifth may be lost: the cheap one"),
        pytest.param(task(policy={"baseline_model": CHEAP}), CHEAP, id="the policy's own baseline"),
        pytest.param(task(policy={"baseline_model": "terra-latest"}), PEER, id="a baseline by its alias"),
        pytest.param(task(policy={"baseline_model": "gone"}), PEER, id="an unknown baseline: the operator's"),
        pytest.param(task(quality_threshold=4.0), CHEAP, id="threshold 4"),
        pytest.param(task(quality_threshold=4.85), BEST, id="threshold 4.85"),
        pytest.param(task(quality_threshold=1.0), CHEAP, id="a threshold under the floor: the floor holds"),
        pytest.param(task(quality_threshold=1.0, policy={"quality_floor": 0.0}), QUICK, id="a floor of 0"),
        pytest.param(task(policy={"quality_floor": 4.85}), BEST, id="a floor over the baseline"),
        pytest.param(task(mode=GUIDED), CHEAP, id="guided, nothing asked: the cheapest over the floor"),
        pytest.param(task(mode=GUIDED, quality_preference=LOW), CHEAP, id="low"),
        pytest.param(task(mode=GUIDED, quality_preference=MEDIUM), CHEAP, id="medium"),
        pytest.param(task(mode=GUIDED, quality_preference=HIGH), CHEAP, id="high"),
        pytest.param(task(mode=GUIDED, quality_preference=MAX), PEER, id="max"),
        pytest.param(task(mode=GUIDED, latency_preference=SLOW), CHEAP, id="slow"),
        pytest.param(task(mode=GUIDED, latency_preference=NORMAL), CHEAP, id="normal"),
        pytest.param(task(mode=GUIDED, latency_preference=FAST), PEER, id="fast"),
        pytest.param(
            task(mode=GUIDED, latency_preference=INSTANT, policy={"quality_floor": 2.0}), QUICK, id="instant"
        ),
        pytest.param(task(latency_budget_ms=2000), PEER, id="the budget leaves one as good as the baseline"),
        pytest.param(
            task(latency_budget_ms=2600, policy={"allowed_models": [BASELINE, CHEAP]}), CHEAP,
            id="the goal that nobody asked for gives way to the latency budget",
        ),
        pytest.param(task(chat(max_output_tokens=1), cost_budget_nanos=100_000), CHEAP, id="or to the cost budget"),
        pytest.param(task(policy={"allowed_models": ["claude-*"]}), BEST, id="allowed by a pattern"),
        pytest.param(task(policy={"allowed_providers": ["anthropic"]}), BEST, id="allowed by its provider"),
        pytest.param(task(native(tools=TOOLS)), BASELINE, id="tools, where the cheaper one reasons"),
        pytest.param(task(native(tools=TOOLS, reasoning_effort="none")), PEER, id="tools without reasoning"),
        pytest.param(task(native(temperature=0.5), policy={"epsilon": 0.0}), PEER,
                     id="temperature, which all that are as good refuse: the best of the others"),
        pytest.param(task(native(temperature=1.0), quality_threshold=4.79), BASELINE, id="temperature 1 is no wish"),
        pytest.param(task(native(temperature=0.5, reasoning_effort="none"), quality_threshold=4.79), BASELINE,
                     id="temperature without reasoning"),
        pytest.param(task(native(messages=PICTURE), policy={"quality_floor": 0.0}, quality_threshold=0.0), CHEAP,
                     id="an image, which the cheapest cannot see"),
        pytest.param(task(native(response_format=SCHEMA), policy={"quality_floor": 0.0}, quality_threshold=0.0), CHEAP,
                     id="a schema, which the cheapest does not keep"),
        pytest.param(task(native(ANTHROPIC, max_tokens=9, top_k=5)), BEST, id="a parameter of one protocol only"),
        pytest.param(task(native(seed=1), policy={"allowed_models": [BEST, CHEAP]}, quality_threshold=4), CHEAP,
                     id="a seed, which Anthropic's protocol cannot carry"),
        pytest.param(task(chat("x" * 440_000), quality_threshold=4.0), CHEAP, id="a prompt that fits one window"),
        pytest.param(task(mode=EXPLICIT, model=BEST), BEST, id="explicit"),
        pytest.param(task(mode=EXPLICIT, model="terra-latest"), PEER, id="explicit by alias"),
        pytest.param(task(mode=EXPLICIT, model=QUICK), QUICK, id="explicit under the floor"),
        pytest.param(task(mode=EXPLICIT, model=UNPRICED), UNPRICED, id="explicit without a price"),
        pytest.param(task(native(tools=TOOLS), mode=EXPLICIT, model=PEER), PEER,
                     id="explicit with tools: the provider judges"),
    ],
)  # fmt: skip
def test_the_model_chosen_is_the_one_that_the_rules_name(asked: Task, expected: str) -> None:
    assert chosen(asked) == expected


def test_the_chain_is_what_meets_the_constraints_cheapest_first() -> None:
    ranking = decided(task(quality_threshold=4.0))
    assert [candidate.model for candidate in ranking.chain] == [CHEAP, PEER, BASELINE, BEST]
    assert ranking.chain[0].provider_model == CHEAP
    costs = [candidate.expected_cost_nanos or 0 for candidate in ranking.chain]
    assert costs == sorted(costs)


def test_a_model_without_a_price_is_never_chosen_by_asahi() -> None:
    ranking = decided(task(quality_threshold=4.0))
    assert excluded(ranking)[UNPRICED] == "price unknown"
    assert UNPRICED not in [candidate.model for candidate in ranking.chain]


def test_explicit_means_that_model_alone() -> None:
    ranking = decided(task(mode=EXPLICIT, model=CHEAP))
    assert [candidate.model for candidate in ranking.chain] == [CHEAP]
    assert ranking.decision.reference_model == CHEAP
    assert ranking.decision.reason.startswith(f"The caller named {CHEAP};")


def test_models_that_are_left_alone_after_failures_are_asked_last() -> None:
    ranking = decided(task(), available=lambda _provider, model: model != PEER)
    assert ranking.decision.model == BASELINE
    assert [candidate.model for candidate in ranking.chain] == [BASELINE, BEST, PEER]


def test_when_none_is_available_the_first_is_asked_nevertheless() -> None:
    assert chosen(task(), available=lambda _provider, _model: False) == PEER


def test_the_reason_has_the_figures_that_decided() -> None:
    reason = decided(task(latency_budget_ms=5000)).decision.reason
    assert reason == (
        "gpt-6.1-terra is the cheapest of 3 models as good as gpt-6.1-sol (to 1 %) within 5000 ms (2000 expected) for "
        "chat (4.78 of 5 expected, 4.75 needed), about $0.000507 against $0.00101 at gpt-6.1-sol."
    )


def test_a_goal_that_gave_way_is_said_plainly() -> None:
    asked = task(latency_budget_ms=2600, policy={"allowed_models": [CHEAP, BASELINE]})
    reason = decided(asked).decision.reason
    assert "the only model within 2600 ms (2500 expected)" in reason
    assert "none is as good as gpt-6.1-sol (to 1 %), 4.75" in reason


def test_the_decision_says_what_it_would_have_cost_at_and_what_it_may_cost() -> None:
    asked = task(chat("1234567890" * 8, max_output_tokens=10), policy={"baseline_model": CHEAP})
    decision = decided(asked).decision
    assert decision.reference_model == CHEAP
    assert decision.task_type == "chat"
    assert decision.provider == "openai"
    prompt_bytes = 80 + 16
    assert decision.expected_cost_nanos == (prompt_bytes // 4 * 100_000_000 + 10 * 500_000_000) // 10**6
    assert decision.max_cost_nanos == ((prompt_bytes + 64) * 125_000_000 + 10 * 500_000_000) // 10**6


def test_every_candidate_is_listed_with_what_excluded_it() -> None:
    ranking = decided(task(latency_budget_ms=2400, quality_threshold=4.0))
    listed = {candidate.model: candidate for candidate in ranking.decision.candidates}
    assert len(listed) == 6
    assert listed[PEER].excluded_by == ""
    assert listed[CHEAP].excluded_by == "takes 2500 ms"
    assert listed[QUICK].excluded_by == "quality 2.80 under the floor; quality 2.80 under 4.00"
    assert listed[QUICK].first_token_ms == 200
    assert listed[QUICK].total_ms == 1200
    assert not listed[UNPRICED].HasField("expected_cost_nanos")


def test_no_candidates_are_listed_unless_asked() -> None:
    assert not decide(task(), scale(), always, explain=False).decision.candidates


def test_several_answers_cost_as_many_times_as_much() -> None:
    one, three = (decided(task(native(n=n, max_tokens=100))).decision for n in (1, 3))
    assert three.expected_cost_nanos > 2 * one.expected_cost_nanos


def test_parts_marked_for_the_prompt_cache_may_cost_what_keeping_them_for_an_hour_does() -> None:
    plain, marked = (
        decided(task(native(ANTHROPIC, max_tokens=1, system=[{"type": "text", "text": "x" * 9_000, **extra}]),
                     mode=EXPLICIT, model=BEST)).decision
        for extra in ({}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}})
    )  # fmt: skip
    assert marked.max_cost_nanos > 1.5 * plain.max_cost_nanos


def test_where_all_of_a_chain_is_of_one_provider_the_last_gives_way_to_another() -> None:
    many = tuple(replace(MODELS[2], id=name) for name in ("gpt-5.4-nano", "gpt-5-mini", "gpt-5.4-mini", "gpt-5.2"))
    ranking = decided(task(quality_threshold=4.0), at=scale((*MODELS, *many)))
    providers = [candidate.provider for candidate in ranking.chain]
    assert providers == ["openai"] * 4 + ["anthropic"]


def test_a_tool_that_must_be_called_keeps_away_from_models_that_cannot_be_made_to() -> None:
    stubborn = replace(MODELS[1], refuses=frozenset({"forced_tool_choice"}))
    prompt: dict[str, Any] = {"tools": [Tool(name="find")]}
    prompt["tool_choice"] = ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED)
    assert chosen(task(chat(**prompt)), at=scale((stubborn, *MODELS[2:], MODELS[0]))) == BEST
