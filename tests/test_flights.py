"""Identical requests at the same time: one provider call, one cost, whoever leaves or dies meanwhile."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import PATIENT, Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

SLOW = {"first_token_ms": 400, "tokens_per_second": 200, "answer_tokens": 60}


@pytest.fixture(scope="module")
def two_edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two edges in front of the same services; the simulator never answers twice alike."""
    environment = {**PATIENT, "simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"}}
    with running_installation(tmp_path_factory.mktemp("two"), edges=2, environment=environment) as running:
        yield running


@pytest.fixture
def control(two_edges: Installation) -> SimulatorControl:
    """The simulator, slow enough for requests to meet."""
    control = SimulatorControl(two_edges.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": SLOW})
    return control


async def plain(client: httpx2.AsyncClient, prompt: str) -> dict[str, Any]:
    """A plain answer."""
    answer = await client.post("/infer", json={"prompt": prompt})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def streamed(
    client: httpx2.AsyncClient, prompt: str, on_delta: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """A streamed answer: what `done` said, with the text that the deltas made; or the error."""
    text, event, last = "", "", {}
    async with client.stream("POST", "/infer", json={"prompt": prompt, "stream": True}) as answer:
        if answer.status_code != 200:
            await answer.aread()
            failed: dict[str, Any] = answer.json()
            return failed
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                last = json.loads(line[6:])
                if event == "delta":
                    text += last["text"]
                    on_delta()
    return {**last, "streamed": text}


async def summary_of(client: httpx2.AsyncClient, requests: int) -> dict[str, Any]:
    """The cost summary, once both edges have delivered what they recorded."""
    for _ in range(1200):
        summary: dict[str, Any] = (await client.get("/analytics/cost-summary")).json()["data"]
        if summary["total_requests"] >= requests:
            break
        await asyncio.sleep(0.1)
    return summary


@pytest.mark.parametrize("kinds", ["plain", "streamed", "mixed"])
async def test_sixty_identical_requests_make_one_provider_call_and_one_cost(
    two_edges: Installation, control: SimulatorControl, kinds: str
) -> None:
    organization = two_edges.signup()
    async with organization.async_client() as one, organization.async_client("edge2") as two:
        ask = {"plain": (plain, plain), "streamed": (streamed, streamed), "mixed": (plain, streamed)}[kinds]
        asked = [ask[n // 2 % 2]((one, two)[n % 2], f"What is coalescing? ({kinds})") for n in range(60)]
        answers = await asyncio.gather(*asked)
        summary = await summary_of(one, requests=60)
    assert len(control.calls()) == 1
    assert len({answer["response"] for answer in answers}) == 1
    assert all(answer.get("streamed", answer["response"]) == answer["response"] for answer in answers)
    paid = [answer for answer in answers if answer["cost"] > 0]
    assert len(paid) == 1
    assert {answer["cost"] for answer in answers if answer is not paid[0]} == {0}
    assert summary["total_requests"] == 60
    assert summary["total_cost"] == paid[0]["cost"]
    assert sum("coalesced" in answer["optimization_techniques"] for answer in answers) >= 58


async def test_the_first_client_leaves_and_the_others_get_the_whole_answer(
    two_edges: Installation, control: SimulatorControl
) -> None:
    control.rules({"mode": "slow", "params": {**SLOW, "tokens_per_second": 30}})
    organization = two_edges.signup()
    async with organization.async_client() as one, organization.async_client("edge2") as two:
        prompt = "Who leaves first?"
        first = asyncio.create_task(streamed(one, prompt))
        await until(lambda: len(control.calls()) == 1)
        begun = [asyncio.Event() for _ in (one, two)]
        others = [asyncio.create_task(plain(client, prompt)) for client in (one, two)]
        others += [
            asyncio.create_task(streamed(client, prompt, event.set))
            for client, event in zip((one, two), begun, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in begun))
        first.cancel()
        answers = await asyncio.gather(*others)
        await asyncio.gather(first, return_exceptions=True)
    assert len(control.calls()) == 1
    assert len({answer["response"] for answer in answers}) == 1
    assert all(answer.get("streamed", answer["response"]) == answer["response"] for answer in answers)
    assert all(answer["cost"] == 0 for answer in answers)


async def test_an_edge_dies_in_the_midst_of_its_flight(data: Path) -> None:
    environment = {
        "simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"},
        "edge": {"ASAHI_ORPHAN_SETTLE_SECONDS": "3"},
    }
    with running_installation(data, edges=2, environment=environment) as running:
        control = SimulatorControl(running.url_of("simulator"))
        control.rules({"mode": "slow", "params": {**SLOW, "tokens_per_second": 1}})  # it lasts until the edge dies
        organization = running.signup()
        async with organization.async_client() as one, organization.async_client("edge2") as two:
            prompt = "Who survives?"
            leader = asyncio.create_task(streamed(one, prompt))
            await until(lambda: len(control.calls()) == 1)
            waiting = [asyncio.create_task(plain(two, prompt)) for _ in range(3)]
            begun = [asyncio.Event() for _ in range(3)]
            reading = [asyncio.create_task(streamed(two, prompt, event.set)) for event in begun]
            await asyncio.gather(*(event.wait() for event in begun))
            control.rules({"mode": "slow", "params": SLOW})
            running["edge"].kill()
            answers = await asyncio.gather(*waiting)
            broken = await asyncio.gather(*reading)
            await asyncio.gather(leader, return_exceptions=True)
            again = await plain(two, prompt)
        assert len({answer["response"] for answer in answers}) == 1
        assert [answer["error"]["code"] for answer in broken] == ["upstream_interrupted"] * 3
        assert again["cache_tier"] == 1
        assert again["response"] == answers[0]["response"]
        calls = control.calls()
        assert len(calls) == 2
        running["edge"].start()
        running["edge"].wait_ready()
        records = await settled_records(organization, calls=2)
        assert sorted(record["orphan"] for record in records) == [False, True]
        assert {record["request_id"] for record in records} == {call["request_id"] for call in calls}


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds; fails if it does not in time."""
    for _ in range(2400):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("what is waited for does not come")


async def settled_records(organization: Organization, calls: int) -> list[dict[str, Any]]:
    """The ledger's records of provider calls, once there are `calls` of them; waits for orphans to be settled."""
    for _ in range(1200):
        records = call_records(organization.installation.data, organization.id)
        if len(records) >= calls:
            return records
        await asyncio.sleep(0.1)
    raise AssertionError(f"the ledger has {len(records)} records of provider calls, expected {calls}: {records}")
