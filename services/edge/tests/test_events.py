"""Answers that are sent as they come: framing, errors in the midst, silence, and clients that leave."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from asahi_core.errors import ProviderError, ServiceUnavailable
from asahi_edge.api import events
from asahi_edge.api.events import event
from services.edge.tests.flying import soon, until
from services.edge.tests.neighbours import ScriptedCompletion
from services.edge.tests.serving import Served, serving

_ASK = {"prompt": "What is 6 × 7?", "stream": True}
_CHAT = {"messages": [{"role": "user", "content": "What is 6 × 7?"}], "stream": True}
_BROKEN = ServiceUnavailable("It does not answer.", retry_after_s=1.0)


class _Reading:
    """A client that reads a stream as it comes."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 0
        self.headers = httpx2.Headers()

    async def read(
        self, served: Served, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        async with served.client.stream("POST", path, json=body, headers=headers) as answer:
            self.status, self.headers = answer.status_code, answer.headers
            async for piece in answer.aiter_text():
                self.text += piece

    @property
    def events(self) -> list[tuple[str, Any]]:
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
            if "data" in fields:
                found.append((fields.get("event", ""), json.loads(fields["data"])))
        return found


async def _begin(
    served: Served, path: str = "/infer", body: dict[str, Any] | None = None, **headers: str
) -> tuple[_Reading, "asyncio.Task[None]", ScriptedCompletion]:
    """A stream whose call is under way."""
    reading = _Reading()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    task = asyncio.create_task(reading.read(served, path, body or _ASK, named))
    call = await served.rig.call()
    call.decide()
    call.announce()
    return reading, task, call


def test_an_event_is_framed_as_the_protocol_says() -> None:
    assert event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert event(b'{"a":1}', "delta") == b'event: delta\ndata: {"a":1}\n\n'


async def test_pieces_are_sent_as_they_come_and_the_last_says_what_it_cost() -> None:
    async with serving() as served:
        reading, task, call = await _begin(served)
        call.say("forty")
        await until(lambda: "forty" in reading.text)
        assert [name for name, _ in reading.events] == ["decision", "delta"]
        call.say("-tw\no\n\né")
        call.complete("forty-tw\no\n\né")
        await soon(task)
    assert reading.status == 200
    assert reading.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (reading.headers["cache-control"], reading.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert (reading.headers["x-asahi-model"], reading.headers["x-asahi-cache"]) == ("gpt-4o-mini", "miss")
    assert [name for name, _ in reading.events] == ["decision", "delta", "delta", "done"]
    done = reading.events[-1][1]
    assert "".join(data["text"] for name, data in reading.events if name == "delta") == done["response"]
    assert (done["cost"] > 0, done["request_id"]) == (True, reading.events[0][1]["request_id"])


async def test_an_error_before_the_first_piece_has_its_own_status() -> None:
    async with serving() as served:
        served.rig.router.failure = ProviderError("openai refused it.")
        answer = await served.ask("/infer", _ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_error")


async def test_an_error_in_the_midst_is_the_last_event() -> None:
    async with serving() as served:
        reading, task, call = await _begin(served)
        call.say("4")
        await until(lambda: "4" in reading.text)
        call.break_off(_BROKEN)
        await soon(task)
    last_name, last = reading.events[-1]
    assert (last_name, last["error"]["code"]) == ("error", "upstream_interrupted")
    assert "done" not in [name for name, _ in reading.events]


async def test_after_a_long_silence_the_answer_begins_and_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_SILENCE_S", 0.02)
    async with serving() as served:
        reading, task, call = await _begin(served)
        await until(lambda: reading.text.count(": keep-alive\n\n") >= 3)
        call.complete("42")
        await soon(task)
    assert reading.status == 200
    assert [name for name, _ in reading.events] == ["decision", "delta", "done"]


@pytest.mark.parametrize(("path", "body", "name"), [("/infer", _ASK, "error"), ("/v1/chat/completions", _CHAT, "")])
async def test_an_error_after_a_long_silence_is_an_event(
    path: str, body: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_SILENCE_S", 0.02)
    async with serving() as served:
        reading, task, call = await _begin(served, path, body)
        await until(lambda: ": keep-alive" in reading.text)
        call.fail("provider_error")
        call.break_off(ProviderError("openai refused it."))
        await soon(task)
        assert [event for event in served.logged if event["log_level"] == "error"] == []
    ((last_name, last),) = reading.events
    assert (reading.status, last_name, last["error"]["code"]) == (200, name, "provider_error")
    assert last["error"]["request_id"] == reading.headers["x-asahi-request-id"]


@pytest.mark.parametrize("when", ["before the first piece", "after it", "in a long silence"])
async def test_a_client_that_leaves_has_its_call_given_up_at_once(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if when == "in a long silence":
        monkeypatch.setattr(events, "_SILENCE_S", 0.02)
    async with serving() as served:
        reading, task, call = await _begin(served, cache_control="no-store")
        if when == "after it":
            call.say("4")
            await until(lambda: "4" in reading.text)
        elif when == "in a long silence":
            await until(lambda: ": keep-alive" in reading.text)
        task.cancel()
        await until(lambda: call.cancelled)
        await until(lambda: any(event["event"] == "request" for event in served.logged))
        assert [event for event in served.logged if event["log_level"] == "error"] == []
        await until(lambda: served.rig.spool.appended == 1)


async def test_a_client_that_leaves_takes_nothing_from_one_that_stays() -> None:
    async with serving() as served:
        leaving, leaving_task, call = await _begin(served)
        staying = _Reading()
        staying_task = asyncio.create_task(staying.read(served, "/infer", _ASK))
        call.say("4")
        await until(lambda: "4" in leaving.text and '"4"' in staying.text)
        leaving_task.cancel()
        call.say("2")
        call.complete("42")
        await soon(staying_task)
    assert staying.events[-1][1]["response"] == "42"
    assert len(served.rig.router.calls) == 1
