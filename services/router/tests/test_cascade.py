"""Answers that fail their checks are held back while a better model is asked, where time and money allow it."""

import asyncio

import pytest

from asahi.type.v1.policy_pb2 import Cascade
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import SystemClock
from asahi_core.prices import load_price_book
from asahi_router.domain.attempts import TryLimits
from asahi_router.domain.provider import FailureKind, ProviderFailure
from services.router.tests.completion_rig import MODELS, USAGE, Inbox, Rig, ScriptedProvider, Told, Turn, start
from services.router.tests.decision_rig import BASELINE, BEST, CHEAP, EXPLICIT, PEER, decided, task

EMPTY = Turn(pieces=(" ",))
REFUSED_KEY = Turn(failure=ProviderFailure(FailureKind.UNAUTHORIZED, "no"))


def _provider(*turns: Turn) -> ScriptedProvider:
    return ScriptedProvider("openai", dict(zip(MODELS, ([turn] for turn in turns), strict=False)))


def _rig(*turns: Turn, tries: TryLimits | None = None) -> Rig:
    return Rig(_provider(*turns), models=MODELS[: len(turns)], tries=tries)


def _given(told: Told) -> tuple[str, int, str]:
    """Who answered, by which attempt, with which check failed."""
    assert told.error is None
    completed = told.completed
    assert completed is not None
    assert completed.answer.model == completed.outcome.model
    assert completed.outcome.outcome == "answered"
    return completed.outcome.model, completed.outcome.attempt, completed.failed_check


async def test_a_better_model_answers_and_both_calls_are_told_with_their_tokens() -> None:
    rig = _rig(EMPTY, Turn())
    told = await rig.run(start())
    assert told.kinds == ["decision", "attempt", "attempt_failed", "attempt", "completed"]
    assert _given(told) == (MODELS[1], 2, "")
    assert [(one.attempt, one.outcome, one.usage) for one in told.failed] == [(1, "cascade: empty", USAGE)]
    assert told.completed is not None
    assert told.completed.outcome.usage == USAGE
    assert told.completed.note == f"{MODELS[0]}'s answer failed a check (empty), so {MODELS[1]} was asked."
    kept = [(example.model, example.request_id, example.signal) for example in rig.seen.examples]
    assert kept == [(MODELS[1], "request-1", ""), (MODELS[0], "request-1/1", "empty")]


@pytest.mark.parametrize("turns", [(EMPTY,), (EMPTY, EMPTY), (EMPTY, EMPTY, EMPTY)], ids=len)
async def test_where_nobody_is_left_the_last_answer_is_given_as_it_is(turns: tuple[Turn, ...]) -> None:
    told = await _rig(*turns).run(start())
    assert _given(told) == (MODELS[len(turns) - 1], len(turns), "empty")
    assert told.completed is not None
    assert told.completed.note.endswith("given as it is: no better model may answer.")


async def test_where_the_better_model_fails_the_first_answer_is_given_by_its_own_number() -> None:
    told = await _rig(EMPTY, REFUSED_KEY).run(start())
    assert _given(told) == (MODELS[0], 1, "empty")
    assert [one.outcome for one in told.failed] == ["cascade: empty", "provider_error"]
    assert told.completed is not None
    assert told.completed.note.endswith("is given as it is: no better model answered.")


async def test_a_transient_failure_of_the_better_model_is_tried_again() -> None:
    turns = [Turn(failure=ProviderFailure(FailureKind.FAILED, "x")), Turn()]
    provider = ScriptedProvider("openai", {MODELS[0]: [EMPTY], MODELS[1]: turns})
    told = await Rig(provider, models=MODELS[:2]).run(start())
    assert _given(told) == (MODELS[1], 3, "")


@pytest.mark.parametrize("case", ["streamed", "named", "off"])
async def test_nothing_is_checked_where_the_caller_named_a_model_reads_a_stream_or_the_policy_says_off(
    case: str,
) -> None:
    mode = RoutingMode.ROUTING_MODE_EXPLICIT if case == "named" else RoutingMode.ROUTING_MODE_AUTOPILOT
    asked = start(stream=case == "streamed", mode=mode)
    if case == "off":
        asked.task.policy.cascade = Cascade.CASCADE_OFF
    provider = _provider(EMPTY, Turn())
    assert _given(await Rig(provider, models=MODELS[:2]).run(asked)) == (MODELS[0], 1, "")
    assert provider.calls == [MODELS[0]]


async def test_no_better_model_is_asked_that_the_callers_money_may_not_cover() -> None:
    cost = load_price_book().cost_nanos(MODELS[0], USAGE, SystemClock().now())
    assert cost is not None
    provider = _provider(EMPTY, Turn())
    rig = Rig(provider, models=MODELS[:2], max_cost_nanos=1_000_000)
    short = await rig.run(start(cost_budget_nanos=1_000_000 + cost - 1))
    assert _given(short) == (MODELS[0], 1, "empty")
    assert short.completed is not None
    assert "too little time or money" in short.completed.note
    enough = await rig.run(start(cost_budget_nanos=1_000_000 + cost))
    assert _given(enough) == (MODELS[1], 2, "")


async def test_no_better_model_is_asked_that_would_miss_the_latency_budget() -> None:
    asked = start()
    asked.task.routing.latency_budget_ms = 9
    assert _given(await _rig(EMPTY, Turn()).run(asked)) == (MODELS[0], 1, "empty")


async def test_an_answer_held_back_is_given_when_time_runs_out() -> None:
    told = await _rig(EMPTY, Turn(wait_s=60), tries=TryLimits(whole_s=1.0)).run(start())
    assert _given(told) == (MODELS[0], 1, "empty")
    assert [one.outcome for one in told.failed] == ["cascade: empty", "deadline_exceeded"]


async def test_an_answer_held_back_is_given_when_no_hold_is_had_for_the_next_call() -> None:
    provider, inbox, told = _provider(EMPTY, Turn()), Inbox(), Told()
    async for event in Rig(provider, models=MODELS[:2]).completions.run(start(confirm=True), aiter(inbox)):
        told.events.append(event)
        if event.attempt.attempt == 1:
            inbox.go_ahead(1)
        elif event.attempt.attempt == 2:
            inbox.cancel()
    assert _given(told) == (MODELS[0], 1, "empty")
    assert provider.calls == [MODELS[0]]


async def test_a_caller_who_vanishes_pays_for_the_answer_that_was_held_once() -> None:
    rig = _rig(EMPTY, Turn(hold=asyncio.Event()))
    events = rig.completions.run(start(), aiter(Inbox()))
    while not (await anext(events)).HasField("attempt_failed"):
        pass
    await events.aclose()
    await rig.orphanage.close(1)
    assert [(record.attempt, record.error_code) for record in rig.orphans.records] == [(1, "cascade: empty")]


def test_the_next_better_model_is_asked_and_then_the_baseline() -> None:
    cheap = decided(task(quality_threshold=4.0))
    assert cheap.decision.model == CHEAP
    assert [one.model for one in cheap.better_than(CHEAP)] == [PEER, BASELINE]
    assert [one.model for one in cheap.better_than(PEER)] == [BASELINE]
    assert cheap.better_than(BASELINE) == ()


def test_who_may_not_answer_is_not_asked_in_the_place_of_another_either() -> None:
    allowed = decided(task(quality_threshold=4.0, policy={"allowed_models": [CHEAP, BEST]}))
    assert [one.model for one in allowed.better_than(CHEAP)] == [BEST]
    alone = decided(task(quality_threshold=4.0, policy={"allowed_models": [CHEAP]}))
    assert alone.better_than(CHEAP) == ()
    named = decided(task(mode=EXPLICIT, model=CHEAP))
    assert named.better_than(CHEAP) == ()
