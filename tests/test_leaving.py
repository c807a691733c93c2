"""Clients that leave: the answer is drained where that is cheap and of use, else cancelled; billed as it was."""

import asyncio
import math
import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.installation import PATIENT, Installation, free_port, running_installation
from tests.leaving import difference, leave_many, settled
from tests.simulator import SimulatorControl

DRAINED, ESTIMATED = 2, 3
METRICS_PORT = free_port()
LEAVING = 60
TOLERANCE = 0.02 * math.sqrt(500 / LEAVING)
"""What is within 2 % in sum over 500 calls (`python -m tests.leaving`) is so far off over fewer."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    environment = {"edge": {**PATIENT["edge"], "ASAHI_METRICS_ADDRESS": f"127.0.0.1:{METRICS_PORT}"}}
    with running_installation(tmp_path_factory.mktemp("leaving"), environment=environment) as installation:
        yield installation


def deserted(end: str) -> float:
    """How many deserted calls ended so, by the edge's metrics."""
    page = httpx2.get(f"http://127.0.0.1:{METRICS_PORT}/metrics", verify=False).text
    found = re.search(rf'asahi_deserted_calls_total{{end="{end}"}} (\S+)', page)
    return float(found[1]) if found is not None else 0.0


async def test_a_cheap_answer_is_read_to_its_end_billed_exactly_and_serves_the_next_caller(
    running: Installation,
) -> None:
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": {"first_token_ms": 2000, "tokens_per_second": 300}})
    organization = running.signup()
    before = deserted("drained")
    async with organization.async_client() as client:
        asking = asyncio.create_task(client.post("/infer", json={"prompt": "Who drains this?"}))
        async with asyncio.timeout(120):
            while not control.calls():  # noqa: ASYNC110 - it is another process that is asked
                await asyncio.sleep(0.05)
        asking.cancel()
        (record,) = await settled(organization, 1)
        again = (await client.post("/infer", json={"prompt": "Who drains this?"})).json()
    (call,) = control.calls()
    assert call["outcome"] == "answered"
    assert record["usage_source"] == DRAINED
    assert record["output_tokens"] == call["completion_tokens"]
    assert record["input_tokens"] == call["prompt_tokens"]
    assert not record["answered"]
    assert again["cache_tier"] == 1
    assert deserted("drained") == before + 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_may_not_be_cached_is_cancelled_and_billed_as_estimated(
    running: Installation, *, stream: bool
) -> None:
    """Streamed: what arrived is counted, less what was on its way. Plain: by time and the model's learned pace."""
    before = deserted("cancelled")
    records, calls = await leave_many(running, LEAVING, stream=stream)
    assert len(calls) == LEAVING
    assert {call["outcome"] for call in calls} == {"client_left"}
    assert {record["usage_source"] for record in records} == {ESTIMATED}
    over_in, over_out = difference(records, calls)
    assert over_in == pytest.approx(0, abs=TOLERANCE)
    assert over_out == pytest.approx(0, abs=TOLERANCE)
    assert deserted("cancelled") == before + LEAVING
