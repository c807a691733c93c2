"""What comes of every kind of failure, in every position of a chain of three models, plain and streamed."""

import pytest
from structlog.testing import capture_logs

from asahi.type.v1.routing_pb2 import RoutingMode
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.errors import (
    InvalidRequest,
    Overloaded,
    ProviderError,
    ServiceUnavailable,
    UnsupportedByModel,
    UpstreamInterrupted,
)
from asahi_router.domain.provider import FailureKind, ProviderFailure, Received
from asahi_router.domain.retry import RetryRules
from services.router.tests.completion_rig import MODELS, PIECES, USAGE, Rig, ScriptedProvider, Turn, start

RETRIED = {
    FailureKind.RATE_LIMITED,
    FailureKind.OVERLOADED,
    FailureKind.FAILED,
    FailureKind.UNREACHABLE,
    FailureKind.INTERRUPTED,
}
CODES = {
    FailureKind.REFUSED: "invalid_request",
    FailureKind.UNAUTHORIZED: "provider_error",
    FailureKind.RATE_LIMITED: "overloaded",
    FailureKind.OVERLOADED: "overloaded",
    FailureKind.FAILED: "provider_error",
    FailureKind.UNREACHABLE: "service_unavailable",
    FailureKind.TIMED_OUT: "deadline_exceeded",
    FailureKind.INTERRUPTED: "upstream_interrupted",
}
FINAL: dict[FailureKind, type[Exception]] = {
    FailureKind.REFUSED: ProviderError,
    FailureKind.UNAUTHORIZED: ProviderError,
    FailureKind.RATE_LIMITED: Overloaded,
    FailureKind.OVERLOADED: Overloaded,
    FailureKind.FAILED: ProviderError,
    FailureKind.UNREACHABLE: ServiceUnavailable,
    FailureKind.TIMED_OUT: ServiceUnavailable,
    FailureKind.INTERRUPTED: ProviderError,
}
KINDS = list(FailureKind)
ONCE = RetryRules(per_candidate=0)


def _failing(kind: FailureKind, received: Received | None = None) -> Turn:
    return Turn(pieces=(), failure=ProviderFailure(kind, "told so", received=received))


def _chain(kind: FailureKind, failing: int) -> ScriptedProvider:
    """The first `failing` models fail, the others answer."""
    turns = [_failing(kind) if number < failing else Turn() for number in range(len(MODELS))]
    return ScriptedProvider("openai", {model: [turn] for model, turn in zip(MODELS, turns, strict=True)})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_next_model_answers_when_those_before_it_fail(kind: FailureKind, failing: int, stream: bool) -> None:
    provider = _chain(kind, failing)
    told = await Rig(provider, retries=ONCE).run(start(stream=stream))
    assert told.error is None
    assert told.completed is not None
    assert told.completed.answer.model == MODELS[failing]
    assert told.completed.outcome.outcome == "answered"
    assert told.completed.outcome.usage == USAGE
    assert told.text == ("".join(PIECES) if stream else "")
    assert [attempt.attempt for attempt in told.attempts] == list(range(1, failing + 2))
    assert [attempt.model for attempt in told.attempts] == list(MODELS[: failing + 1])
    assert [outcome.outcome for outcome in told.failed] == [CODES[kind]] * failing
    billed = kind == FailureKind.TIMED_OUT
    assert [outcome.HasField("usage") for outcome in told.failed] == [billed] * failing
    assert provider.ended == failing + 1


async def test_an_answer_is_remembered_with_the_end_user_who_got_it() -> None:
    rig = Rig(_chain(FailureKind.FAILED, 1), retries=ONCE)
    await rig.run(start())
    assert [(one.model, one.user_id) for one in rig.seen.examples] == [(MODELS[1], "user-1")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_when_all_fail_the_caller_hears_who_was_asked_and_why_they_failed(
    kind: FailureKind, stream: bool
) -> None:
    told = await Rig(_chain(kind, 3), retries=ONCE).run(start(stream=stream))
    assert type(told.error) is FINAL[kind]
    assert all(model in told.error.message for model in MODELS)
    assert (told.error.retry_after_s is not None) == isinstance(told.error, ServiceUnavailable)
    assert told.kinds == ["decision", *["attempt", "attempt_failed"] * 3]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_is_asked_again_where_that_may_help(kind: FailureKind, stream: bool) -> None:
    provider = ScriptedProvider("openai", {MODELS[0]: [_failing(kind), Turn()], MODELS[1]: [Turn()]})
    told = await Rig(provider, models=MODELS[:2]).run(start(stream=stream))
    assert told.completed is not None
    assert told.completed.answer.model == (MODELS[0] if kind in RETRIED else MODELS[1])
    assert told.completed.outcome.attempt == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_tried_again_after_the_first_piece(kind: FailureKind) -> None:
    received = Received(text_bytes=7, pieces=2)
    turn = Turn(pieces=PIECES[:2], failure=ProviderFailure(kind, "told so", received=received))
    provider = ScriptedProvider("openai", {model: [turn] for model in MODELS})
    told = await Rig(provider).run(start(stream=True))
    assert isinstance(told.error, UpstreamInterrupted)
    assert told.kinds == ["decision", "attempt", "delta", "delta", "attempt_failed"]
    usage = told.failed[0].usage
    assert (usage.output_tokens, usage.source) == (2, UsageSource.USAGE_SOURCE_ESTIMATED)
    assert usage.input_tokens == told.attempts[0].estimated_input_tokens
    assert provider.calls == [MODELS[0]]


async def test_a_named_model_that_refuses_is_the_caller_s_fault() -> None:
    failure = ProviderFailure(FailureKind.REFUSED, "temperature must be at most 2", param="temperature")
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(pieces=(), failure=failure)]})
    told = await Rig(provider, models=MODELS[:1]).run(start(mode=RoutingMode.ROUTING_MODE_EXPLICIT))
    assert type(told.error) is InvalidRequest
    assert told.error.param == "temperature"
    assert "temperature must be at most 2" in told.error.message


async def test_a_field_that_no_provider_takes_is_named() -> None:
    failure = UnsupportedByModel("The model's provider takes no 'seed'.", param="seed")
    provider = ScriptedProvider("openai", {model: [Turn(pieces=(), failure=failure)] for model in MODELS})
    told = await Rig(provider).run(start())
    assert isinstance(told.error, UnsupportedByModel)
    assert told.error.param == "seed"
    assert [outcome.HasField("usage") for outcome in told.failed] == [False] * 3


async def test_a_refused_key_names_the_provider_and_says_nothing_more() -> None:
    failure = ProviderFailure(FailureKind.UNAUTHORIZED, "Incorrect API key provided: sk-abcdefgh")
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(pieces=(), failure=failure)]})
    told = await Rig(provider, models=MODELS[:1]).run(start())
    assert isinstance(told.error, ProviderError)
    assert "openai does not accept the operator's key" in told.error.message
    assert "sk-" not in told.error.message


async def test_a_pause_that_the_provider_asks_for_is_kept_only_if_no_other_model_can_answer() -> None:
    failure = ProviderFailure(FailureKind.RATE_LIMITED, "slow down", retry_after_s=3.0)
    scripts = {MODELS[0]: [Turn(pieces=(), failure=failure), Turn()], MODELS[1]: [Turn()]}
    told = await Rig(ScriptedProvider("openai", scripts), models=MODELS[:2]).run(start())
    assert told.completed is not None
    assert told.completed.answer.model == MODELS[1]


async def test_a_pause_longer_than_anyone_waits_is_handed_on() -> None:
    failure = ProviderFailure(FailureKind.RATE_LIMITED, "slow down", retry_after_s=40.0)
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(pieces=(), failure=failure)]})
    told = await Rig(provider, models=MODELS[:1]).run(start())
    assert isinstance(told.error, Overloaded)
    assert told.error.retry_after_s == 40.0
    assert provider.calls == [MODELS[0]]


async def test_tokens_that_no_provider_counted_are_estimated() -> None:
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(usage=None)]})
    told = await Rig(provider, models=MODELS[:1]).run(start(stream=True))
    assert told.completed is not None
    usage = told.completed.answer.usage
    assert usage.source == UsageSource.USAGE_SOURCE_ESTIMATED
    assert usage.output_tokens == len(PIECES)
    assert told.completed.outcome.usage == usage


async def test_an_explicit_zero_stays_a_zero() -> None:
    zero = Usage(source=UsageSource.USAGE_SOURCE_PROVIDER)
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(usage=zero)]})
    told = await Rig(provider, models=MODELS[:1]).run(start(stream=True))
    assert told.completed is not None
    assert told.completed.answer.usage == zero


async def test_a_model_that_keeps_failing_is_left_alone_and_the_log_says_so_once() -> None:
    scripts = {MODELS[0]: [_failing(FailureKind.FAILED)], MODELS[1]: [Turn()]}
    provider = ScriptedProvider("openai", scripts)
    with capture_logs() as logs:
        rig = Rig(provider, models=MODELS[:2], retries=ONCE)
        for _ in range(7):
            assert (await rig.run(start())).completed is not None
    (told_of,) = [entry for entry in logs if entry["event"] == "model_left_alone"]
    assert (told_of["model"], told_of["code"], told_of["seconds"]) == (MODELS[0], "provider_error", 5.0)
    assert provider.calls.count(MODELS[0]) == 5
    assert not rig.breakers.available("openai", MODELS[0])
    told = await Rig(ScriptedProvider("openai", scripts), models=MODELS[:1], retries=ONCE).run(start())
    assert isinstance(told.error, ProviderError)


async def test_when_every_breaker_is_open_the_caller_hears_when_to_come_back() -> None:
    provider = ScriptedProvider("openai", {MODELS[0]: [_failing(FailureKind.FAILED)]})
    rig = Rig(provider, models=MODELS[:1], retries=ONCE)
    for _ in range(5):
        await rig.run(start())
    told = await rig.run(start())
    assert type(told.error) is ServiceUnavailable
    assert told.error.retry_after_s is not None
    assert 0 < told.error.retry_after_s <= 5
    assert told.kinds == ["decision"]


async def test_no_further_call_is_made_that_the_caller_s_money_may_not_cover() -> None:
    received = Received(text_bytes=4_000, pieces=1_000)
    scripts = {MODELS[0]: [_failing(FailureKind.INTERRUPTED, received)], MODELS[1]: [Turn()]}
    provider = ScriptedProvider("openai", scripts)
    rig = Rig(provider, models=MODELS[:2], retries=ONCE, max_cost_nanos=1_000_000)
    assert (await rig.run(start(cost_budget_nanos=1_000_000))).completed is None
    assert (await rig.run(start(cost_budget_nanos=100_000_000))).completed is not None


async def test_attempts_are_numbered_from_where_the_caller_says() -> None:
    asked = start(stream=False)
    asked.task.first_attempt = 3001
    rig = Rig(_chain(FailureKind.UNAUTHORIZED, 1))
    told = await rig.run(asked)
    assert [attempt.attempt for attempt in told.attempts] == [3001, 3002]
    assert told.completed is not None
    assert told.completed.outcome.attempt == 3002


@pytest.mark.parametrize("cache_prefix", [False, True])
async def test_it_is_told_whether_a_provider_was_asked_to_keep_the_prompt(*, cache_prefix: bool) -> None:
    asked = start(stream=False)
    asked.task.prompt.chat.cache_prefix = cache_prefix
    told = await Rig(_chain(FailureKind.FAILED, 0), keeps_when_asked=True).run(asked)
    assert told.completed is not None
    assert told.completed.outcome.prompt_cache_asked is cache_prefix
    told = await Rig(_chain(FailureKind.FAILED, 0)).run(asked)
    assert told.completed is not None
    assert not told.completed.outcome.prompt_cache_asked


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        (FailureKind.UNREACHABLE, MODELS[2]),
        (FailureKind.UNAUTHORIZED, MODELS[2]),
        (FailureKind.TIMED_OUT, MODELS[2]),
        (FailureKind.OVERLOADED, MODELS[1]),
    ],
)
async def test_what_a_provider_s_other_models_would_fail_of_too_is_asked_of_another_first(
    kind: FailureKind, then: str
) -> None:
    first = ScriptedProvider("openai", {MODELS[0]: [_failing(kind)], MODELS[1]: [Turn()]})
    rig = Rig(first, retries=ONCE, second=ScriptedProvider("anthropic", {MODELS[2]: [Turn()]}))
    told = await rig.run(start())
    assert [attempt.model for attempt in told.attempts] == [MODELS[0], then]
    assert rig.seen.silences == ([MODELS[0]] if kind == FailureKind.TIMED_OUT else [])


async def test_a_stream_that_breaks_off_counts_against_its_provider_and_one_that_ends_for_it() -> None:
    broken = Turn(failure=ProviderFailure(FailureKind.INTERRUPTED, "told so", received=Received(3, 1)))
    rig = Rig(ScriptedProvider("openai", {MODELS[0]: [broken, Turn(), broken, broken]}), models=MODELS[:1])
    available = []
    for _ in range(4):
        await rig.run(start(stream=True))
        available.append(rig.breakers.available("openai", MODELS[0]))
    assert available == [True, True, True, False]
