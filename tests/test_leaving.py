"""Clients that leave: the answer is drained where that is cheap and of use, else cancelled; billed as it was."""

import asyncio
from collections.abc import Iterator
from random import Random

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

LEAVING = 40
DRAINED, ESTIMATED = 2, 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    with running_installation(tmp_path_factory.mktemp("leaving")) as installation:
        yield installation


async def leave_after(client: httpx2.AsyncClient, seconds: float, body: dict[str, object]) -> None:
    """Asks, and hangs up after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await client.post("/infer", json=body)
    except TimeoutError:
        return
    raise AssertionError("the answer came before the client left")


async def settled(organization: Organization, calls: int) -> list[dict[str, object]]:
    """The ledger's records once all are there."""
    for _ in range(300):
        records = call_records(organization.installation.data, organization.id)
        if len(records) == calls:
            return records
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(records)} records, expected {calls}")


async def test_a_cheap_answer_is_read_to_its_end_billed_exactly_and_serves_the_next_caller(
    running: Installation,
) -> None:
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": {"first_token_ms": 300, "tokens_per_second": 300}})
    organization = running.signup()
    async with organization.async_client() as client:
        await leave_after(client, 0.15, {"prompt": "Who drains this?"})
        records = await settled(organization, 1)
        again = (await client.post("/infer", json={"prompt": "Who drains this?"})).json()
    (call,) = control.calls()
    assert call["outcome"] == "answered"
    assert records[0]["usage_source"] == DRAINED
    assert records[0]["output_tokens"] == call["completion_tokens"]
    assert records[0]["input_tokens"] == call["prompt_tokens"]
    assert not records[0]["answered"]
    assert again["cache_tier"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_may_not_be_cached_is_cancelled_and_billed_as_estimated_within_two_percent(
    running: Installation, *, stream: bool
) -> None:
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": {"first_token_ms": 100, "tokens_per_second": 150}})
    organization = running.signup()
    random = Random(7)
    async with organization.async_client() as client:
        for number in range(12):  # whole answers, from which the estimate learns
            await client.post("/infer", json={"prompt": f"Learn from this, number {number}.", "stream": stream})
        control.reset()
        control.rules({"mode": "slow", "params": {"first_token_ms": 100, "tokens_per_second": 150}})
        before = len(call_records(running.data, organization.id))
        await asyncio.sleep(0.5)
        headers = {"cache-control": "no-store"}
        client.headers.update(headers)
        await asyncio.gather(
            *(
                leave_after(
                    client, random.uniform(0.3, 0.6), {"prompt": f"I leave early, number {number}.", "stream": stream}
                )
                for number in range(LEAVING)
            )
        )
        records = (await settled(organization, 12 + LEAVING))[12:]
    assert before <= 12
    calls = control.calls()
    assert len(calls) == LEAVING
    assert {call["outcome"] for call in calls} == {"client_left"}
    assert {record["usage_source"] for record in records} == {ESTIMATED}
    billed = sum(int(str(record["input_tokens"])) + int(str(record["output_tokens"])) for record in records)
    counted = sum(call["prompt_tokens"] + call["completion_tokens"] for call in calls)
    assert billed == pytest.approx(counted, rel=0.02 if stream else 0.5)
