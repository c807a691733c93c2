"""Streamed answers over HTTP: the order of events, usage, replays, errors in the midst."""

import json
from typing import Any

import httpx2
from openai import OpenAI

from tests.installation import Installation, Organization
from tests.simulator import SimulatorControl

QUESTION = [{"role": "user", "content": "Tell me about rivers."}]


def events_of(response: httpx2.Response) -> list[tuple[str, Any]]:
    """The events of a whole stream: name and decoded data."""
    found = []
    for block in response.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            data = lines["data"]
            found.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def chat(client: httpx2.Client, **fields: Any) -> list[tuple[str, Any]]:
    """A streamed chat completion."""
    answer = client.post("/v1/chat/completions", json={"messages": QUESTION, "stream": True, **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer)


def test_infer_streams_decision_deltas_and_done_and_replays_them_from_the_cache(organization: Organization) -> None:
    with organization.client() as client:
        streams = [
            events_of(client.post("/infer", json={"prompt": "What is a delta?", "stream": True})) for _ in range(2)
        ]
    for events in streams:
        names = [name for name, _ in events]
        assert names[0] == "decision"
        assert names[-1] == "done"
        assert set(names[1:-1]) == {"delta"}
        done = events[-1][1]
        assert "".join(data["text"] for name, data in events if name == "delta") == done["response"]
        assert events[0][1]["request_id"] == done["request_id"]
    miss, hit = (events[-1][1] for events in streams)
    assert len(streams[0]) > 5
    assert miss["cost"] > 0
    assert hit["cost"] == 0
    assert hit["cache_tier"] == 1
    assert hit["response"] == miss["response"]


def test_chat_chunks_come_in_openais_order_with_one_id_and_asahi_in_the_last(organization: Organization) -> None:
    with organization.client() as client:
        events = [data for _, data in chat(client, model="gpt-6-luna", seed=1)]
    *chunks, done = events
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert {chunk["model"] for chunk in chunks} == {"gpt-6-luna"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in chunk for chunk in chunks)
    assert all("asahi" not in chunk for chunk in chunks[:-1])
    assert chunks[-1]["asahi"]["cost_usd"] > 0


def test_usage_comes_in_a_chunk_of_its_own_if_it_was_asked_for(organization: Organization) -> None:
    with organization.client() as client:
        for expected_tier in (0, 1):
            events = chat(client, model="gpt-6-luna", seed=2, stream_options={"include_usage": True})
            *chunks, usage, done = [data for _, data in events]
            assert done == "[DONE]"
            assert usage["choices"] == []
            assert usage["usage"]["completion_tokens"] > 0
            assert all(chunk["usage"] is None for chunk in chunks)
            assert usage["asahi"]["cache_tier"] == expected_tier


def test_the_sdk_sees_the_same_text_from_provider_and_cache(organization: Organization) -> None:
    texts = []
    with OpenAI(base_url=f"{organization.installation.url}/v1", api_key=organization.key) as client:
        for _ in range(2):
            stream = client.chat.completions.create(
                model="asahi/low", messages=[{"role": "user", "content": "Count to five."}], stream=True
            )
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))
    assert texts[0]
    assert texts[0] == texts[1]


def test_a_stream_that_is_cut_ends_with_an_error_event_without_done_and_is_not_cached(
    installation: Installation, organization: Organization
) -> None:
    control = SimulatorControl(installation.url_of("simulator"))
    control.rules({"mode": "cut", "match": {"contains": "cut me short"}, "params": {"after_tokens": 5}})
    question = [{"role": "user", "content": "Please cut me short."}]
    with organization.client() as client:
        events = [data for _, data in chat(client, model="gpt-6-luna", messages=question)]
        assert events[-1]["error"]["code"] == "upstream_interrupted"
        assert "[DONE]" not in events
        control.rules()
        again = chat(client, model="gpt-6-luna", messages=question)
    assert again[-1][1] == "[DONE]"
    assert again[-2][1]["asahi"]["cache_tier"] == 0
