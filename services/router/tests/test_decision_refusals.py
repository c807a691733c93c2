"""Why no model may answer: the constraint that binds, and by how much."""

import pytest

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.routing_pb2 import LatencyPreference
from asahi_core.errors import (
    AsahiError,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    NoModelSatisfies,
    PriceUnknown,
    UnsupportedByModel,
)
from services.router.tests.decision_rig import (
    ANTHROPIC,
    BASELINE,
    BEST,
    CHEAP,
    EXPLICIT,
    GUIDED,
    PEER,
    QUICK,
    UNPRICED,
    chat,
    decided,
    native,
    scale,
    task,
)

INSTANT = LatencyPreference.LATENCY_PREFERENCE_INSTANT


@pytest.mark.parametrize(
    ("asked", "kind", "param", "words"),
    [
        pytest.param(
            task(quality_threshold=4.95), NoModelSatisfies, "quality_threshold",
            "The quality of 4.95 that is asked for binds: the best that meets the other constraints is claude-opus-5-5 "
            "with 4.90 for chat, 0.05 less.",
            id="quality",
        ),
        pytest.param(
            task(policy={"quality_floor": 5.0}), NoModelSatisfies, None,
            "The policy's quality floor of 5.00 binds: the best that meets the other constraints is claude-opus-5-5 "
            "with 4.90 for chat, 0.10 less.",
            id="floor",
        ),
        pytest.param(
            task(latency_budget_ms=1500), NoModelSatisfies, "latency_budget_ms",
            "The latency budget of 1500 ms binds: the quickest that meets the other constraints is gpt-6.1-terra with "
            "2000 ms expected, 500 ms more.",
            id="latency",
        ),
        pytest.param(
            task(mode=GUIDED, latency_preference=INSTANT), NoModelSatisfies, "latency_preference",
            "The latency preference binds: it allows 300 ms to the first token; the quickest that meets the other "
            "constraints is gpt-6.1-terra with 1000 ms expected, 700 ms more.",
            id="what the caller asked binds before what the policy says",
        ),
        pytest.param(
            task(chat(max_output_tokens=1000), cost_budget_nanos=500_000), NoModelSatisfies, "cost_budget",
            "The cost budget of $0.0005 binds: the cheapest that meets the other constraints is gpt-6-luna, which may "
            "cost up to $0.000511, $0.0000114 more.",
            id="cost",
        ),
        pytest.param(
            task(cost_budget_nanos=500_000), NoModelSatisfies, "cost_budget",
            "A 'max_tokens' would bound the answer's part of it.",
            id="cost of an answer without a bound",
        ),
        pytest.param(
            task(policy={"allowed_models": ["mistral-*"]}), NoModelSatisfies, None,
            "The allowed models (mistral-*) match none that is served here.",
            id="allowed models",
        ),
        pytest.param(
            task(policy={"allowed_providers": ["azure"]}), NoModelSatisfies, None,
            "The allowed providers (azure) serve no allowed model here.",
            id="allowed providers",
        ),
        pytest.param(
            task(native(seed=1), policy={"allowed_models": [BEST]}), NoModelSatisfies, "seed",
            "No allowed model that meets the other constraints takes 'seed'; leave it out.",
            id="a parameter",
        ),
        pytest.param(
            task(policy={"allowed_models": [UNPRICED]}), NoModelSatisfies, None,
            "The price of llama-of-ours is not known, so it is only used where it is named (routing_mode 'explicit').",
            id="price",
        ),
        pytest.param(
            task(native(max_tokens=20_000)), NoModelSatisfies, "max_tokens",
            "'max_tokens' is 20000; the most that an allowed model writes is 10000.",
            id="a longer answer than any model writes",
        ),
        pytest.param(
            task(chat("x" * 1_000_000)), ContextLengthExceeded, "messages",
            "The prompt has about 250004 tokens; the largest window of an allowed model is 200000 (gpt-6-luna), 50004 "
            "too few. Shorten the prompt.",
            id="window",
        ),
        pytest.param(
            task(mode=EXPLICIT, model="gpt-6.1-soll"), ModelNotFound, "model",
            "There is no model 'gpt-6.1-soll'; did you mean gpt-6.1-sol?",
            id="mistyped",
        ),
        pytest.param(
            task(mode=EXPLICIT, model="gpt-6.1-soll", policy={"allowed_models": [BEST]}), ModelNotFound, "model",
            "There is no model 'gpt-6.1-soll'; GET /v1/models lists them.",
            id="names of models that are not allowed are not told",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=CHEAP, policy={"allowed_models": ["claude-*"]}), ModelNotAllowed, "model",
            "The key may not use 'gpt-6-luna'; it may use claude-*.",
            id="not allowed",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=CHEAP, policy={"allowed_providers": ["anthropic"]}), ModelNotAllowed, "model",
            "The key may not use 'gpt-6-luna' of openai; allowed providers are anthropic.",
            id="provider not allowed",
        ),
        pytest.param(
            task(native(temperature=0.2), mode=EXPLICIT, model=BASELINE), UnsupportedByModel, "temperature",
            "gpt-6.1-sol does not take 'temperature' as it was sent; models that do: gpt-4.1-nano, gpt-6-luna, "
            "gpt-6.1-terra, …",
            id="a parameter that the named model refuses",
        ),
        pytest.param(
            task(native(tools=[{}]), mode=EXPLICIT, model=QUICK), UnsupportedByModel, "tools",
            "gpt-4.1-nano does not take 'tools' as it was sent",
            id="tools at a model without",
        ),
        pytest.param(
            task(native(ANTHROPIC, max_tokens=5, top_k=3), mode=EXPLICIT, model=CHEAP), UnsupportedByModel, "top_k",
            "gpt-6-luna does not take 'top_k' as it was sent; models that do: claude-opus-5-5.",
            id="a parameter of the other protocol",
        ),
        pytest.param(
            task(
                native(ANTHROPIC, max_tokens=5, output_config={"format": {"type": "json_schema", "schema": {}}}),
                mode=EXPLICIT, model=QUICK,
            ),
            UnsupportedByModel, "output_config", "gpt-4.1-nano does not take 'output_config' as it was sent",
            id="a schema, by the other protocol's name of it",
        ),
        pytest.param(
            task(native(max_tokens=20_000), mode=EXPLICIT, model=CHEAP), UnsupportedByModel, "max_tokens",
            "gpt-6-luna writes answers of at most 10000 tokens; 'max_tokens' is 20000; no allowed model does.",
            id="a longer answer than the named model writes",
        ),
        pytest.param(
            task(chat("x" * 500_000), mode=EXPLICIT, model=PEER), ContextLengthExceeded, "messages", "100000",
            id="the named model's window",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=UNPRICED, cost_budget_nanos=1), PriceUnknown, "cost_budget",
            "The price of 'llama-of-ours' is not known, so that a cost budget cannot be kept; leave it out.",
            id="a budget at a model without a price",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=UNPRICED, policy={"price_needed": True}), PriceUnknown, "model",
            "the budgets that apply cannot be kept",
            id="a budget of the organization at a model without a price",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=BEST, latency_budget_ms=3500), NoModelSatisfies, "latency_budget_ms",
            "claude-opus-5-5 with 4000 ms expected, 500 ms more.",
            id="the named model is too slow",
        ),
        pytest.param(
            task(mode=EXPLICIT, model=BEST, cost_budget_nanos=1), NoModelSatisfies, "cost_budget", "binds",
            id="the named model is too dear",
        ),
        pytest.param(task(quality_threshold=5.1), InvalidRequest, "quality_threshold", "0 to 5", id="threshold 5.1"),
        pytest.param(
            task(quality_threshold=float("nan")), InvalidRequest, "quality_threshold", "0 to 5", id="threshold NaN"
        ),
        pytest.param(task(latency_budget_ms=0), InvalidRequest, "latency_budget_ms", "more than 0", id="no time"),
        pytest.param(task(cost_budget_nanos=-1), InvalidRequest, "cost_budget_nanos", "more than 0", id="no money"),
        pytest.param(task(policy={"epsilon": 2.0}), InvalidRequest, "epsilon", "0 to 1", id="epsilon 2"),
    ],
)  # fmt: skip
def test_the_error_names_what_binds(asked: Task, kind: type[AsahiError], param: str | None, words: str) -> None:
    with pytest.raises(kind) as raised:
        decided(asked)
    assert words in raised.value.message
    assert raised.value.param == param
    assert type(raised.value) is kind


def test_a_model_that_nobody_serves_here_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="no provider serves it here"):
        decided(task(mode=EXPLICIT, model=BEST), at=scale(unserved=(BEST,)))


def test_with_no_model_served_at_all_the_operator_is_told() -> None:
    with pytest.raises(NoModelSatisfies, match="the operator has configured no provider"):
        decided(task(), at=scale(unserved=(BEST, BASELINE, PEER, CHEAP, QUICK, UNPRICED)))


def test_a_prompt_never_appears_in_an_error() -> None:
    with pytest.raises(AsahiError) as raised:
        decided(task(chat("the secret recipe " * 100_000)))
    assert "secret recipe" not in raised.value.message
