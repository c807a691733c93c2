"""The fault machine: two seeds of it, and that it would see what it looks for (`python -m tests.faults` runs many)."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.faults.books import Answer, Books, ClientsBook
from tests.faults.links import Link
from tests.faults.replies import told
from tests.faults.report import report_of
from tests.faults.run import Result, run_seed
from tests.faults.schedule import schedule_of
from tests.postgresql import postgresql

_SEEDS = {"embedded": 2, "servers": 1}
_CALL: dict[str, Any] = {
    "request_id": "r-1",
    "attempt": "1",
    "outcome": "answered",
    "text_sha256": sha256(b"forty-two").hexdigest(),
    "prompt_tokens": 10,
    "cached_tokens": 0,
    "completion_tokens": 2,
}
_RECORD: dict[str, Any] = {
    "organization_id": "org-1",
    "request_id": "r-1",
    "attempt": 1,
    "orphan": False,
    "answered": True,
    "input_tokens": 10,
    "cache_read_tokens": 0,
    "output_tokens": 2,
    "key": "",
}
_ANSWER = Answer("org-1", "r-1", "forty-two", cost=0.1, finish="stop", degraded="")


@pytest.mark.parametrize("stores", _SEEDS)
async def test_three_books_agree_after_a_seed_of_faults(stores: str, data: Path) -> None:
    seed = _SEEDS[stores]
    assert schedule_of(seed).servers == (stores == "servers")
    with postgresql() as server:
        result = await run_seed(seed, data, server)
    assert result.calls > 0
    assert result.wrong == [], f"replay: python -m tests.faults --seeds {seed}"


def test_the_same_seed_breaks_the_same_things_at_the_same_instants() -> None:
    assert [schedule_of(seed) for seed in range(50)] == [schedule_of(seed) for seed in range(50)]
    assert len({schedule_of(seed).faults for seed in range(50)}) == 50


def test_every_kind_of_fault_comes_up_in_a_hundred_seeds() -> None:
    kinds = {fault.kind for seed in range(100) for fault in schedule_of(seed).faults}
    assert kinds == {
        *("kill", "freeze", "roll out", "slow", "cut", "silent", "full disk", "clock", "provider"),
        *("redis", "postgresql"),
    }


def _books(answers: list[Answer], calls: list[dict[str, Any]], records: list[dict[str, Any]]) -> Books:
    return Books(ClientsBook(answers=answers), calls, records)


@pytest.mark.parametrize(
    ("books", "wrong"),
    [
        (_books([_ANSWER], [_CALL], [_RECORD]), ""),
        (_books([], [_CALL], []), "has no record"),
        (_books([], [_CALL], [_RECORD, _RECORD]), "has 2 records"),
        (_books([replace(_ANSWER, organization_id="org-2")], [_CALL], [_RECORD]), "of another organization"),
        (_books([replace(_ANSWER, text="forty")], [_CALL], [_RECORD]), "never wrote as a whole"),
        (_books([_ANSWER], [_CALL], [{**_RECORD, "orphan": True}]), "no edge was broken"),
        (_books([_ANSWER], [_CALL], [{**_RECORD, "answered": False}]), "says that it did not"),
        (_books([_ANSWER], [_CALL], [{**_RECORD, "output_tokens": 1}]), "the provider counted"),
        (_books([replace(_ANSWER, request_id="r-2")], [_CALL], [_RECORD]), "no provider call was made for it"),
        (
            _books(
                [replace(_ANSWER, key="k"), replace(_ANSWER, key="k", text="42")],
                [_CALL, {**_CALL, "attempt": "2", "text_sha256": sha256(b"42").hexdigest()}],
                [{**_RECORD, "key": "k"}, {**_RECORD, "key": "k", "attempt": 2}],
            ),
            "had 2 answers",
        ),
        (
            _books(
                [],
                [_CALL, {**_CALL, "request_id": "r-2"}],
                [{**_RECORD, "key": "k"}, {**_RECORD, "key": "k", "request_id": "r-2"}],
            ),
            "was answered by 2 calls",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_books_disagree_about_is_named(books: Books, wrong: str) -> None:
    found = books.faults(edges_broken=False)
    assert bool(found) == bool(wrong)
    assert not wrong or any(wrong in one for one in found), found


@pytest.mark.parametrize(
    ("path", "text", "came"),
    [
        (
            "/infer",
            'event: done\ndata: {"request_id": "r", "response": "42", "cost": 0.1, "finish_reason": "stop"}',
            "",
        ),
        ("/infer", 'event: error\ndata: {"error": {"code": "upstream_interrupted"}}', "stream:upstream_interrupted"),
        ("/infer", 'event: delta\ndata: {"text": "4"}', "broken"),
        ("/v1/messages", 'event: error\ndata: {"error": {"type": "api_error"}}', "stream:upstream_interrupted"),
        ("/v1/messages", 'event: message_delta\ndata: {"type": "message_delta"}', "broken"),
        (
            "/v1/responses",
            'event: error\ndata: {"type": "error", "code": "deadline_exceeded"}',
            "stream:deadline_exceeded",
        ),
        ("/v1/chat/completions", 'data: {"choices": []}', "broken"),
        ("/v1/chat/completions", "", "broken"),
    ],
)
def test_how_a_streamed_answer_ended_is_told_in_the_same_words_on_every_path(path: str, text: str, came: str) -> None:
    found = told(path, text + "\n\n", stream=True)
    assert found == (came or ("r", "42", 0.1, "stop"))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_link_passes_on_delays_silences_and_cuts() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname()[1])
    await link.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    loop = asyncio.get_running_loop()

    async def said(text: bytes) -> float:
        began = loop.time()
        writer.write(text)
        assert await reader.readexactly(len(text)) == text
        return loop.time() - began

    await said(b"one")
    link.slow(0.05)
    assert await said(b"two") >= 0.1
    link.mend()
    link.silence()
    waiting = asyncio.create_task(said(b"three"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    link.mend()
    await waiting
    link.cut()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    await link.close()
    server.close()


def test_the_report_counts_what_was_broken_and_names_seeds_that_failed() -> None:
    result = Result(
        seed=3,
        commit="abc",
        servers=False,
        faults=["0.5 s: kill edge for 1.0 s", "1.0 s: redis redis for 0.5 s"],
        wrong=["the provider's call ('r-1', 1) has no record"],
        seen={"200": 5, "broken": 1},
        calls=4,
        records=3,
        orphans=0,
        recovered_s=1.2,
        seconds=20.0,
        load=1.5,
    )
    report = report_of([result])
    assert "At `abc`" in report
    assert "1 × kill, 1 × Redis or PostgreSQL stopped" in report
    assert "1 (3)" in report
