"""The provider's own count: what tests compare the ledger with."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from simulator.tests.running import RunningSimulator, running_simulator

QUESTION: Any = [{"role": "user", "content": "How do I plan a small garden?"}]
OPENAI_BODY = {"model": "gpt-6-sol", "messages": QUESTION}
BODIES = {
    "/v1/chat/completions": {**OPENAI_BODY, "stream": True},
    "/v1/messages": {"model": "claude-haiku-5-5", "messages": QUESTION, "max_tokens": 5000, "stream": True},
}
_GUARD_S = 120.0


def _settled(simulator: RunningSimulator) -> dict[str, Any]:
    """The only call, once the simulator has noticed that its caller left."""
    give_up = time.monotonic() + _GUARD_S
    while time.monotonic() < give_up:
        call = simulator.calls()[0]
        if call["outcome"] != "under_way":
            return call
        time.sleep(0.02)
    raise AssertionError("the call is still under way")


def test_calls_are_logged_with_the_caller_s_labels(simulator: RunningSimulator) -> None:
    headers = {"x-asahi-request-id": "r-1", "x-asahi-attempt": "3", "idempotency-key": "k-1"}
    simulator.post("/v1/chat/completions", OPENAI_BODY)
    answer = simulator.post("/v1/chat/completions", OPENAI_BODY, **headers)
    (call,) = simulator.calls(request_id="r-1")
    usage = answer.json()["usage"]
    assert (call["request_id"], call["attempt"], call["idempotency_key"]) == ("r-1", "3", "k-1")
    assert call["provider_request_id"] == answer.headers["x-request-id"]
    assert (call["prompt_tokens"], call["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert (call["status"], call["outcome"], call["mode"]) == (200, "answered", None)
    assert [entry["number"] for entry in simulator.calls(after=call["number"] - 2, limit=1)] == [call["number"] - 1]


@pytest.mark.parametrize("path", list(BODIES))
def test_a_stream_that_is_left_is_billed_until_then(simulator: RunningSimulator, path: str) -> None:
    simulator.rules({"mode": "endless", "params": {"tokens_per_second": 200}})
    received = ""
    with httpx2.stream("POST", simulator.url + path, json=BODIES[path]) as answer:
        for text in answer.iter_text():
            received += text
            if received.count("data: ") >= 20:
                break
    call = _settled(simulator)
    assert call["outcome"] == "client_left"
    assert call["prompt_tokens"] > 0
    assert call["completion_tokens"] >= received.count('delta":{') - 1
    time.sleep(0.1)
    assert simulator.calls()[0]["completion_tokens"] == call["completion_tokens"]


async def test_the_count_of_a_left_stream_is_close_to_what_was_received(
    simulator: RunningSimulator, openai: AsyncOpenAI
) -> None:
    simulator.rules({"mode": "slow", "params": {"tokens_per_second": 20}})
    stream = await openai.chat.completions.create(model="gpt-6-sol", messages=QUESTION, stream=True)
    received = 0
    async for chunk in stream:
        received += bool(chunk.choices[0].delta.content)
        if received == 5:
            break
    await stream.close()
    call = await asyncio.to_thread(_settled, simulator)
    assert 5 <= call["completion_tokens"] < 60
    assert call["outcome"] == "client_left"


def test_a_plain_call_that_is_left_is_billed_for_the_time_until_then(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "slow", "params": {"first_token_ms": 0, "tokens_per_second": 20}})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{simulator.url}/v1/chat/completions", json=OPENAI_BODY, timeout=0.5, verify=False)
    call = _settled(simulator)
    assert call["outcome"] == "client_left"
    assert 1 <= call["completion_tokens"] < 60


def test_nothing_is_generated_before_the_first_token(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "slow", "params": {"first_token_ms": 60_000}})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{simulator.url}/v1/chat/completions", json={**OPENAI_BODY, "stream": True}, timeout=0.3, verify=False
        )
    call = _settled(simulator)
    assert (call["outcome"], call["completion_tokens"], call["status"]) == ("client_left", 0, 0)
    assert call["prompt_tokens"] > 0


async def test_totals_are_exact_under_concurrency(simulator: RunningSimulator, openai: AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(openai.chat.completions.create(model="gpt-6-sol", messages=QUESTION, seed=seed) for seed in range(100))
    )
    usages = [answer.usage for answer in answers if answer.usage is not None]
    totals = simulator.totals()
    assert totals["calls"] == totals["answered"] == len(usages) == 100
    assert totals["completion_tokens"] == sum(usage.completion_tokens for usage in usages)
    assert totals["prompt_tokens"] == sum(usage.prompt_tokens for usage in usages)


def test_totals_outlive_the_calls_that_are_kept() -> None:
    with running_simulator(ASAHI_SIMULATOR_CALLS_KEPT="3") as simulator:
        billed = [
            simulator.post("/v1/chat/completions", OPENAI_BODY).json()["usage"]["completion_tokens"] for _ in range(8)
        ]
        assert len(simulator.calls()) == 3
        assert simulator.totals()["calls"] == 8
        assert simulator.totals()["completion_tokens"] == sum(billed)


def test_reset_forgets_rules_calls_and_prefixes(simulator: RunningSimulator) -> None:
    body = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "Every word counts. " * 500}]}
    simulator.rules({"mode": "answer"})
    for _ in range(2):
        simulator.post("/v1/chat/completions", body)
    assert simulator.totals()["cached_tokens"] >= 1024
    simulator.reset()
    assert simulator.totals()["calls"] == 0
    assert simulator.state() == []
    answer = simulator.post("/v1/chat/completions", body)
    assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_stream_without_usage_is_billed_all_the_same(simulator: RunningSimulator) -> None:
    text = simulator.post("/v1/chat/completions", {**OPENAI_BODY, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    generated = sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in chunks)
    call = simulator.calls()[0]
    assert (call["completion_tokens"], call["reported"]) == (generated, None)


def test_a_wrong_query_is_refused(simulator: RunningSimulator) -> None:
    answer = simulator.get("/control/calls?since=1")
    assert answer.status_code == 400
    assert "since" in answer.json()["error"]["message"]
