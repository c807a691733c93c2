"""What a call is thought to be billed that ended early: by the time it took, by what was sent, by what it thought."""

import asyncio
import random
from dataclasses import replace

import pytest

from asahi.router.v1.router_pb2 import CompleteStart
from asahi.type.v1.chat_pb2 import Api, Prompt
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.pace import Pace
from asahi_router.domain.provider import Received
from asahi_router.providers import ProviderProtocol
from services.router.tests.completion_rig import GUARD_S, Inbox, Rig, ScriptedProvider, Turn, start
from services.router.tests.provider_calls import MODEL, client_of, native, provider_call
from simulator.tests.running import RunningSimulator

STREAMED = provider_call(Prompt(), model="m", stream=True)


def test_calls_of_one_length_stretch_what_was_expected() -> None:
    pace = Pace()
    pace.expect(first_ms=1000, token_ms=10)
    for _ in range(5):
        pace.learn(100, 1000)  # twice as fast as expected
    assert pace.tokens_in(1000) == pytest.approx(100)
    assert pace.tokens_in(750) == pytest.approx(50)


def test_a_wrong_expectation_is_forgotten_after_a_few_calls_of_different_lengths() -> None:
    pace = Pace()
    pace.expect(first_ms=3000, token_ms=40)
    chance = random.Random(1)
    for _ in range(12):
        tokens = chance.randrange(60, 150)
        pace.learn(tokens, 100 + tokens * 1000 / 150)
    assert pace.tokens_in(100 + 50 * 1000 / 150) == pytest.approx(50, rel=0.06)


def test_noise_does_not_turn_the_pace_round() -> None:
    pace = Pace()
    for tokens, ms in ((100, 1020.0), (102, 1000.0), (99, 1030.0)):
        pace.learn(tokens, ms)
    assert 0 < pace.tokens_in(500) < pace.tokens_in(900) < 100


def test_answers_that_came_at_once_say_nothing_about_one_that_takes_long() -> None:
    pace = Pace()
    pace.expect(first_ms=2000, token_ms=20)
    for tokens in (60, 90, 150):
        pace.learn(tokens, 3)
    assert pace.tokens_in(6000) < 4000


def test_no_estimate_is_over_what_the_call_may_answer() -> None:
    estimator = TokenEstimator()
    estimator.expect("m", first_token_ms=100, output_tokens_per_second=100)
    call = replace(provider_call(Prompt(), model="m"), max_output_tokens=500)
    assert estimator.usage(call, 40, Received(), 4100.0).output_tokens == 400
    assert estimator.usage(call, 40, Received(), 60_000.0).output_tokens == 500


def test_what_a_stream_thought_is_billed_by_the_time_until_its_first_piece() -> None:
    estimator = TokenEstimator()
    for reasoning in (100, 200, 300) * 20:
        usage = Usage(input_tokens=10, output_tokens=reasoning + 50, reasoning_tokens=reasoning)
        received = Received(text_bytes=200, pieces=50)
        silent_ms = reasoning * 10.0
        estimator.learn("m", 40, usage, received, duration_ms=silent_ms + 500, silent_ms=silent_ms)
    begun = estimator.usage(STREAMED, 40, Received(text_bytes=80, pieces=20), 1500.0)
    assert (begun.reasoning_tokens, begun.output_tokens) == (150, 170)
    thinking = estimator.usage(STREAMED, 40, Received(), 600.0)
    assert (thinking.reasoning_tokens, thinking.output_tokens) == (60, 60)


async def test_how_fast_a_model_writes_is_learned_without_what_it_thought() -> None:
    usage = Usage(output_tokens=120, reasoning_tokens=100, source=UsageSource.USAGE_SOURCE_PROVIDER)
    rig = Rig(ScriptedProvider("p", {"m": [Turn(usage=usage)]}), models=["m"])
    await rig.run(start(stream=True))
    ((_, first_token_ms, shown_tokens),) = rig.seen.observations
    assert first_token_ms is not None
    assert shown_tokens == 20


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_counts_as_sent_from_when_it_is_on_its_way(simulator: RunningSimulator, stream: bool) -> None:
    simulator.rules({"mode": "hang"})
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        call = provider_call(native(Api.API_OPENAI_CHAT_COMPLETIONS), stream=stream)
        events = provider.call(call)
        asking = asyncio.ensure_future(anext(events))
        assert provider.received(call).sent_after_ms is None
        async with asyncio.timeout(GUARD_S):
            while simulator.totals()["under_way"] == 0:  # noqa: ASYNC110 - it is another process that is asked
                await asyncio.sleep(0.02)
        sent_after_ms = provider.received(call).sent_after_ms
        assert sent_after_ms is not None
        assert sent_after_ms > 0
        asking.cancel()
        await asyncio.wait({asking})
        await events.aclose()


async def test_a_call_that_is_given_up_before_its_question_was_sent_costs_nothing() -> None:
    provider = ScriptedProvider("p", {"m": [Turn(wait_s=GUARD_S, sent=False)]})
    rig, inbox = Rig(provider, models=["m"]), Inbox()
    running = asyncio.create_task(rig.run(start(), inbox))
    await provider.called.wait()
    inbox.cancel()
    (outcome,) = (await running).failed
    assert outcome.outcome == "cancelled"
    assert outcome.usage == Usage()


async def test_cancelled_streams_of_a_model_that_thinks_are_billed_for_its_thoughts(
    simulator: RunningSimulator,
) -> None:
    simulator.rules({"mode": "slow", "params": {"first_token_ms": 80, "tokens_per_second": 100}})
    chance = random.Random(5)

    def opening(name: str) -> CompleteStart:
        body = {
            "messages": [{"role": "user", "content": f"Think about {name}, please."}],
            "reasoning_effort": chance.choice(["low", "medium"]),
        }
        return start(stream=True, prompt=native(Api.API_OPENAI_CHAT_COMPLETIONS, body), request_id=name)

    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        rig = Rig(provider, models=[MODEL])

        async def leave(name: str) -> int:
            inbox = Inbox()
            running = asyncio.create_task(rig.run(opening(name), inbox))
            await asyncio.sleep(chance.uniform(0.4, 1.2))
            inbox.cancel()
            told = await running
            return (told.completed.outcome if told.completed is not None else told.failed[0]).usage.output_tokens

        await asyncio.gather(*(rig.run(opening(f"whole-{number}")) for number in range(20)))
        whole = simulator.totals()["completion_tokens"]
        billed = sum(await asyncio.gather(*(leave(f"cut-{number}") for number in range(40))))
        async with asyncio.timeout(GUARD_S):
            while simulator.totals()["under_way"]:  # noqa: ASYNC110 - it is another process that ends them
                await asyncio.sleep(0.05)
    assert billed == pytest.approx(simulator.totals()["completion_tokens"] - whole, rel=0.1)
