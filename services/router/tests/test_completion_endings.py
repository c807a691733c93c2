"""Callers who confirm, cancel or vanish, and time that runs out."""

import asyncio
from contextlib import aclosing

import pytest

from asahi.type.v1.usage_pb2 import UsageSource
from asahi_core.context import CallContext, current_call
from asahi_core.errors import Cancelled, DeadlineExceeded
from asahi_core.prices import load_price_book
from asahi_router.domain.attempts import TryLimits
from asahi_router.domain.orphans import DrainLimits
from asahi_router.domain.provider import FailureKind, ProviderFailure
from asahi_router.domain.retry import RetryRules
from services.router.tests.completion_rig import (
    MODELS,
    PIECES,
    USAGE,
    Inbox,
    Rig,
    ScriptedProvider,
    Turn,
    start,
)

ONE = MODELS[:1]
NEVER = 1_000.0


def _holding(hold: asyncio.Event | None = None) -> ScriptedProvider:
    turn = Turn(hold=hold) if hold is not None else Turn(wait_s=NEVER)
    return ScriptedProvider("openai", {model: [turn] for model in MODELS})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_ends_at_once_and_is_billed_as_estimated(stream: bool) -> None:
    provider, inbox = _holding(), Inbox()
    rig = Rig(provider)
    running = asyncio.create_task(rig.run(start(stream=stream), inbox))
    await provider.called.wait()
    await asyncio.sleep(0.01)
    inbox.cancel()
    told = await running
    assert isinstance(told.error, Cancelled)
    assert told.kinds[-1] == "attempt_failed"
    outcome = told.failed[0]
    assert outcome.outcome == "cancelled"
    assert outcome.usage.source == UsageSource.USAGE_SOURCE_ESTIMATED
    assert outcome.usage.output_tokens == (len(PIECES) if stream else 0)
    assert outcome.usage.input_tokens == told.attempts[0].estimated_input_tokens
    assert provider.ended == 1
    assert rig.orphans.records == []


async def test_an_attempt_waits_for_its_go_ahead() -> None:
    failing = Turn(pieces=(), failure=ProviderFailure(FailureKind.REFUSED, "no"))
    provider = ScriptedProvider("openai", {MODELS[0]: [failing], MODELS[1]: [Turn()]})
    rig, inbox = Rig(provider, models=MODELS[:2]), Inbox()
    async with aclosing(rig.completions.run(start(confirm=True), aiter(inbox))) as events:
        assert (await anext(events)).HasField("decision")
        assert (await anext(events)).attempt.attempt == 1
        waiting = asyncio.ensure_future(anext(events))
        inbox.go_ahead(7)
        await asyncio.sleep(0.02)
        assert provider.calls == []
        inbox.go_ahead(1)
        assert (await waiting).attempt_failed.attempt == 1
        assert (await anext(events)).attempt.attempt == 2
        assert provider.calls == [MODELS[0]]
        inbox.go_ahead(2)
        assert (await anext(events)).completed.outcome.attempt == 2


async def test_an_attempt_that_was_never_confirmed_costs_nothing_when_it_is_cancelled() -> None:
    provider, inbox = _holding(), Inbox()
    inbox.cancel()
    told = await Rig(provider).run(start(confirm=True), inbox)
    assert isinstance(told.error, Cancelled)
    assert told.failed[0].outcome == "cancelled"
    assert not told.failed[0].HasField("usage")
    assert provider.calls == []


async def test_a_cancel_ends_the_pause_before_a_retry() -> None:
    failure = ProviderFailure(FailureKind.RATE_LIMITED, "slow down", retry_after_s=9.0)
    provider, inbox = ScriptedProvider("openai", {ONE[0]: [Turn(pieces=(), failure=failure)]}), Inbox()
    running = asyncio.create_task(Rig(provider, models=ONE).run(start(), inbox))
    await provider.over.wait()
    inbox.cancel()
    assert isinstance((await running).error, Cancelled)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_ends_the_call_and_says_what_it_cost(stream: bool) -> None:
    current_call.set(CallContext(deadline=asyncio.get_running_loop().time() + 0.2))
    rig = Rig(_holding())
    told = await rig.run(start(stream=stream))
    assert isinstance(told.error, DeadlineExceeded)
    assert told.failed[-1].outcome == "deadline_exceeded"
    assert told.failed[-1].HasField("usage")
    assert rig.breakers.available("openai", MODELS[0])


async def test_a_silent_model_has_only_its_share_of_the_time() -> None:
    current_call.set(CallContext(deadline=asyncio.get_running_loop().time() + 2.0))
    silent = Turn(pieces=(), wait_s=NEVER)
    provider = ScriptedProvider("openai", {MODELS[0]: [silent], MODELS[1]: [Turn()]})
    rig = Rig(provider, models=MODELS[:2], tries=TryLimits(share=0.1))
    for stream in (False, True):
        told = await rig.run(start(stream=stream))
        assert told.completed is not None
        assert told.completed.answer.model == MODELS[1]
        assert told.failed[0].outcome == "deadline_exceeded"


async def test_a_slow_caller_makes_the_provider_wait() -> None:
    pieces = [str(number) for number in range(100)]
    provider = ScriptedProvider("openai", {ONE[0]: [Turn(pieces=pieces)]})
    rig = Rig(provider, models=ONE, tries=TryLimits(pieces=10))
    told = await rig.run(start(stream=True))
    assert told.text == "".join(pieces)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("leaves", ["closes", "is cancelled"])
async def test_the_answer_of_a_vanished_caller_is_drained_and_settled(leaves: str, stream: bool) -> None:
    hold = asyncio.Event()
    provider = _holding(hold)
    rig = Rig(provider)
    await _vanish(rig, provider, leaves, stream)
    assert rig.orphans.records == []
    hold.set()
    await rig.orphanage.close(30)
    (record,) = rig.orphans.records
    assert (record.organization_id, record.request_id, record.attempt) == ("org-1", "request-1", 1)
    assert (record.api_key_id, record.user_id, record.task_id, record.tags["team"]) == (
        "key-1",
        "user-1",
        "task-1",
        "a",
    )
    assert record.orphan
    assert not record.answered
    assert record.error_code == ""
    assert record.usage.source == UsageSource.USAGE_SOURCE_DRAINED
    assert record.usage.output_tokens == USAGE.output_tokens
    assert record.cost_nanos == load_price_book().cost_nanos(MODELS[0], USAGE, record.occurred_at.ToDatetime())
    assert not record.HasField("cost_original_nanos")


@pytest.mark.parametrize("limits", [DrainLimits(seconds=0.05), DrainLimits(nanos=0)])
async def test_a_vanished_caller_s_call_is_cut_when_it_lasts_or_costs_too_much(limits: DrainLimits) -> None:
    provider = _holding()
    rig = Rig(provider, drain=limits)
    await _vanish(rig, provider, "closes", stream=True)
    await provider.over.wait()
    await rig.orphanage.close(30)
    (record,) = rig.orphans.records
    assert record.usage.source == UsageSource.USAGE_SOURCE_ESTIMATED
    assert record.usage.output_tokens == len(PIECES)
    assert record.error_code == "cancelled"
    assert record.cost_nanos > 0


async def test_what_is_still_drained_at_the_end_of_the_process_is_settled_as_estimated() -> None:
    provider = _holding()
    rig = Rig(provider, drain=DrainLimits(seconds=NEVER))
    await _vanish(rig, provider, "closes", stream=True)
    await rig.orphanage.close(0.05)
    assert [record.usage.source for record in rig.orphans.records] == [UsageSource.USAGE_SOURCE_ESTIMATED]


async def test_calls_that_had_failed_before_their_caller_vanished_are_settled_too() -> None:
    failing = Turn(pieces=(), failure=ProviderFailure(FailureKind.FAILED, "no"))
    provider = ScriptedProvider("openai", {MODELS[0]: [failing], MODELS[1]: [Turn(wait_s=NEVER)]})
    rig = Rig(provider, models=MODELS[:2], retries=RetryRules(per_candidate=0), drain=DrainLimits(seconds=0))
    async with aclosing(rig.completions.run(start(stream=True), aiter(Inbox()))) as events:
        while not (await anext(events)).HasField("delta"):
            pass
    await rig.orphanage.close(30)
    assert [(record.attempt, record.error_code) for record in rig.orphans.records] == [
        (1, "provider_error"),
        (2, "cancelled"),
    ]
    assert rig.orphans.records[0].cost_nanos == 0


async def test_a_completed_answer_is_no_orphan() -> None:
    rig = Rig(ScriptedProvider("openai", {model: [Turn()] for model in MODELS}))
    await rig.run(start(stream=True))
    await rig.orphanage.close(30)
    assert rig.orphans.records == []


async def _vanish(rig: Rig, provider: ScriptedProvider, leaves: str, stream: bool) -> None:
    """Leaves a completion whose call is under way, as an edge that dies does."""
    events = rig.completions.run(start(stream=stream), aiter(Inbox()))

    async def read() -> None:
        async for _ in events:
            pass

    if leaves == "is cancelled" or not stream:
        reading = asyncio.create_task(read())
        await provider.called.wait()
        reading.cancel()
        await asyncio.wait({reading})
    else:
        while not (await anext(events)).HasField("delta"):
            pass
        await provider.called.wait()
    await events.aclose()
