"""`Idempotency-Key` in a whole installation of two edges: one provider call, one cost, one answer."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.once import kill_under_keys
from tests.simulator import SimulatorControl

_EDGES = ("edge", "edge2")
_REPEATS = 500
_PATHS: dict[str, dict[str, Any]] = {
    "/infer": {"prompt": "What is 6 times 7?"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "What is 6 times 7?"}]},
    "/v1/messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "What is 6 times 7?"}]},
    "/v1/responses": {"input": "What is 6 times 7?"},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    folder: Path = tmp_path_factory.mktemp("idempotency")
    with running_installation(folder, edges=len(_EDGES)) as installation:
        yield installation


@pytest.fixture
def control(running: Installation) -> SimulatorControl:
    """A simulator that takes its time."""
    simulator = SimulatorControl(running.url_of("simulator"))
    simulator.reset()
    simulator.rules({"mode": "slow", "params": {"first_token_ms": 200, "tokens_per_second": 400}})
    return simulator


async def _ask_often(
    organization: Organization, path: str, body: dict[str, Any], headers: dict[str, str]
) -> list[httpx2.Response]:
    first, second = (organization.async_client(edge) for edge in _EDGES)
    async with first, second:
        asking = [(first, second)[n % 2].post(path, json=body, headers=headers) for n in range(_REPEATS)]
        return list(await asyncio.gather(*asking))


def _wait_for_call(control: SimulatorControl) -> None:
    deadline = time.monotonic() + 120
    while not control.calls():
        assert time.monotonic() < deadline, "no call was made"
        time.sleep(0.05)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("path", _PATHS)
def test_repeats_at_two_edges_make_one_call_have_one_cost_and_get_one_answer(
    running: Installation, control: SimulatorControl, path: str, stream: bool
) -> None:
    organization = running.signup()
    headers = {"idempotency-key": "once", "x-asahi-cache": "off"}
    answers = asyncio.run(_ask_often(organization, path, {**_PATHS[path], "stream": stream}, headers))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(control.calls()) == 1
    with organization.client() as client, organization.client("edge2") as other:
        other.get("/governance/usage").raise_for_status()  # whichever edge made the call, billing has it now
        usage = client.get("/governance/usage").json()["data"]
        later = client.post(path, json={**_PATHS[path], "stream": stream}, headers=headers)
    assert later.content == answers[0].content
    assert usage["requests"] == 1
    (record,) = call_records(running.data, organization.id)
    assert round(usage["cost"] * 1e9) == record["cost_nanos"]


def test_answers_outlive_the_cache_service_and_without_it_requests_with_a_key_are_503(
    running: Installation, control: SimulatorControl
) -> None:
    organization = running.signup()
    body, headers = _PATHS["/infer"], {"idempotency-key": "once"}
    with organization.client() as client:
        first = client.post("/infer", json=body, headers=headers)
        running["cache"].kill()
        try:
            without = client.post("/infer", json=body, headers={"idempotency-key": "another"})
            assert (without.status_code, without.json()["error"]["code"]) == (503, "service_unavailable")
        finally:
            running["cache"].start()
            running["cache"].wait_ready()
        again = client.post("/infer", json=body, headers=headers)
    assert again.content == first.content
    assert len(control.calls()) == 1


def test_a_request_whose_edge_was_killed_is_not_made_again(running: Installation, control: SimulatorControl) -> None:
    control.rules({"mode": "slow", "params": {"first_token_ms": 3000, "tokens_per_second": 400}})
    organization = running.signup()
    body, headers = _PATHS["/infer"], {"idempotency-key": "once"}

    async def kill_while_asking() -> None:
        async with organization.async_client("edge2") as client:
            asking = asyncio.create_task(client.post("/infer", json=body, headers=headers))
            await asyncio.to_thread(_wait_for_call, control)
            await asyncio.to_thread(running["edge2"].kill)
            with pytest.raises(httpx2.TransportError):
                await asking

    asyncio.run(kill_while_asking())
    running["edge2"].start()
    running["edge2"].wait_ready()
    with organization.client() as client:
        again = client.post("/infer", json=body, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_replay_unavailable")
    assert again.headers["x-should-retry"] == "false"
    assert len(control.calls()) == 1


async def test_under_kills_every_repeat_gets_the_one_answer_or_hears_that_there_is_none(tmp_path: Path) -> None:
    assert await kill_under_keys(tmp_path, instants=4, seed=5) == []
