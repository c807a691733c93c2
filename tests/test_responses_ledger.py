"""`/v1/responses` answered by a provider that speaks them: the ledger has what the provider counted."""

import asyncio
from typing import Any

import httpx2

from tests.installation import Installation, Organization
from tests.leaving import settled
from tests.simulator import SimulatorControl

_LONG = "rain " * 1_500
_TOOL = {"type": "function", "name": "forecast", "parameters": {"type": "object"}}
_QUESTIONS: tuple[dict[str, Any], ...] = (
    {"input": "What is a river?"},
    {"input": "Use forecast.", "tools": [_TOOL]},
    {"input": "Think.", "model": "gpt-6-luna", "reasoning": {"effort": "low"}},
    {"input": f"{_LONG}What is it?"},
    {"input": f"{_LONG}What else?"},
    {"input": "Tell me of the sea.", "max_output_tokens": 20},
)


def test_every_call_is_in_the_ledger_as_the_provider_counted_it(
    installation: Installation, organization: Organization
) -> None:
    control = SimulatorControl(installation.url_of("simulator"))
    control.reset()
    with organization.client() as client:
        told = [_ask(client, question, stream=stream) for question in _QUESTIONS for stream in (False, True)]
    records = {record["request_id"]: record for record in asyncio.run(settled(organization, len(told)))}
    calls = {call["request_id"]: call for call in control.calls()}
    assert set(told) == set(records) == set(calls)
    assert {call["path"] for call in calls.values()} == {"/v1/responses"}
    assert any(call["cached_tokens"] for call in calls.values())
    assert any(call["reasoning_tokens"] for call in calls.values())
    for request_id, call in calls.items():
        record = records[request_id]
        assert record["input_tokens"] == call["prompt_tokens"] - call["cached_tokens"]
        assert record["cache_read_tokens"] == call["cached_tokens"]
        assert record["output_tokens"] == call["completion_tokens"]


def _ask(client: httpx2.Client, question: dict[str, Any], *, stream: bool) -> str:
    """Asks what no cache answers; the id of the request."""
    body = {"model": "gpt-4.1-nano", **question, "stream": stream}
    answer = client.post("/v1/responses", json=body, headers={"cache-control": "no-cache"})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-asahi-request-id"])
