"""Completions over real clients of the simulator: the bill is the provider's, or close to it in sum."""

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest

from asahi.router.v1.router_pb2 import CompleteStart
from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.errors import Cancelled
from asahi_router.domain.orphans import DrainLimits
from asahi_router.providers import ProviderProtocol
from services.router.tests.completion_rig import Inbox, Rig, start
from services.router.tests.provider_calls import MODEL, PROTOCOLS, client_of, native
from simulator.tests.running import RunningSimulator

APIS = list(PROTOCOLS)
WORDS = ["garden", "soil", "water", "light", "seed", "plan", "spring", "small", "large", "careful", "steady", "bright"]


def _question(api: Api.ValueType, chance: random.Random) -> Any:
    words = " ".join(chance.choices(WORDS, k=chance.randrange(20, 200)))
    body: dict[str, Any] = {"messages": [{"role": "user", "content": words}]}
    return native(api, {**body, "max_tokens": 4_000} if api == Api.API_ANTHROPIC_MESSAGES else body)


@pytest.mark.parametrize("api", APIS, ids=["openai", "anthropic"])
async def test_the_bill_of_five_hundred_cancelled_streams_is_right_within_two_percent(
    simulator: RunningSimulator, api: Api.ValueType
) -> None:
    chance = random.Random(7)
    async with client_of(simulator.url, PROTOCOLS[api]) as provider:
        rig = Rig(provider, models=[MODEL])
        for number in range(40):
            await rig.run(start(stream=True, prompt=_question(api, chance), request_id=f"whole-{number}"))
        simulator.reset()
        simulator.rules({"mode": "slow", "params": {"first_token_ms": 1, "tokens_per_second": 50}})

        async def give_up(number: int) -> tuple[int, int]:
            opening = start(stream=True, prompt=_question(api, chance), request_id=f"cut-{number}")
            usage = await _cancel_after(rig, opening, chance.randrange(1, 70))
            return usage.input_tokens, usage.output_tokens

        estimates = []
        for batch in range(5):
            estimates += await asyncio.gather(*(give_up(100 * batch + number) for number in range(100)))
        await _all_ended(simulator)
    totals = simulator.totals()
    assert totals["calls"] == 500
    assert totals["client_left"] > 400
    assert sum(tokens for tokens, _ in estimates) == pytest.approx(totals["prompt_tokens"], rel=0.02)
    assert sum(tokens for _, tokens in estimates) == pytest.approx(totals["completion_tokens"], rel=0.02)


async def test_what_was_drained_is_what_the_provider_counted(simulator: RunningSimulator) -> None:
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        rig = Rig(provider, models=[MODEL])
        chance = random.Random(3)
        for number in range(20):
            prompt = _question(Api.API_OPENAI_CHAT_COMPLETIONS, chance)
            events = rig.completions.run(
                start(stream=True, prompt=prompt, request_id=f"request-{number}"), aiter(Inbox())
            )
            while not (await anext(events)).HasField("delta"):
                pass
            await events.aclose()
        await rig.orphanage.close(30)
    totals = simulator.totals()
    assert totals["answered"] == 20
    assert sum(record.usage.input_tokens for record in rig.orphans.records) == totals["prompt_tokens"]
    assert sum(record.usage.output_tokens for record in rig.orphans.records) == totals["completion_tokens"]


async def test_an_orphan_that_is_cut_leaves_the_provider_at_once(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "endless", "params": {"tokens_per_second": 200}})
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        rig = Rig(provider, models=[MODEL], drain=DrainLimits(seconds=0.3))
        opening = start(stream=True, prompt=native(Api.API_OPENAI_CHAT_COMPLETIONS))
        events = rig.completions.run(opening, aiter(Inbox()))
        while not (await anext(events)).HasField("delta"):
            pass
        await events.aclose()
        await _all_ended(simulator)
        await rig.orphanage.close(30)
    (record,) = rig.orphans.records
    assert record.usage.output_tokens == pytest.approx(simulator.totals()["completion_tokens"], abs=3)


async def _cancel_after(rig: Rig, opening: CompleteStart, pieces: int) -> Usage:
    """What a completion is told to have cost that is given up after so many pieces."""
    inbox, usage = Inbox(), Usage()
    try:
        async with aclosing(rig.completions.run(opening, aiter(inbox))) as events:
            async for event in events:
                match event.WhichOneof("event"):
                    case "delta":
                        pieces -= 1
                        if pieces == 0:
                            inbox.cancel()
                    case "attempt_failed":
                        usage = event.attempt_failed.usage
                    case "completed":
                        usage = event.completed.outcome.usage
    except Cancelled:
        assert usage.source != UsageSource.USAGE_SOURCE_UNSPECIFIED
    return usage


async def _all_ended(simulator: RunningSimulator) -> None:
    async with asyncio.timeout(60):
        while simulator.totals()["under_way"]:  # noqa: ASYNC110 - it is another process that ends them
            await asyncio.sleep(0.05)
