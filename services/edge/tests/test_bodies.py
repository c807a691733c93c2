"""Bodies: only so many at once as there is memory for, shared among organisations, and none that comes too slowly."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from asahi_core.errors import InvalidRequest, Overloaded
from asahi_edge.api import bodies
from asahi_edge.api.json import decode_object
from asahi_edge.domain.body_budget import BodyBudget
from services.edge.tests.flying import soon, until
from services.edge.tests.serving import ALL_BODIES_BYTES, MAX_BODY_BYTES, Served, serving

_LARGE = MAX_BODY_BYTES * 7 // 10
_MODEL = {"routing_mode": "explicit", "model_override": "gpt-4o-mini"}


def _question(number: int, size: int = _LARGE) -> dict[str, object]:
    return {"prompt": f"Question {number}?", "document": "x" * size, **_MODEL}


def test_an_organization_leaves_a_quarter_to_others_and_who_is_alone_is_always_taken() -> None:
    budget = BodyBudget(100)
    greedy = budget.share("greedy")
    greedy.add(75)
    with pytest.raises(Overloaded) as refused:
        budget.share("greedy").add(1)
    assert refused.value.retry_after_s == 1.0
    modest = budget.share("modest")
    modest.add(25)
    with pytest.raises(Overloaded):
        modest.add(1)
    greedy.free()
    greedy.free()
    assert budget.used == 25
    modest.add(1000)
    with pytest.raises(Overloaded):
        budget.share("third").add(1)
    modest.free()
    assert budget.used == 0


async def _raw(served: Served, *lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(served.url).port)
    head = ("POST /infer HTTP/1.1", "host: edge", f"authorization: {served.client.headers['authorization']}", *lines)
    writer.write("\r\n".join((*head, "", "")).encode())
    return reader, writer


async def _status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(120):
        return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])


async def test_a_body_for_which_there_is_no_room_is_refused_before_it_is_sent() -> None:
    async with serving() as served:
        first, second = (asyncio.create_task(served.ask("/infer", _question(n))) for n in range(2))
        await served.rig.call(2)
        assert 2 * _LARGE < served.bodies.used < ALL_BODIES_BYTES
        reader, writer = await _raw(served, f"content-length: {_LARGE}")
        assert await _status(reader) == 503
        writer.close()
        small = asyncio.create_task(served.ask("/infer", _question(3, 10)))
        for number in range(1, 4):
            (await served.rig.call(number)).answer("42")
        assert [(await soon(one)).status_code for one in (first, second, small)] == [200] * 3
        await until(lambda: served.bodies.used == 0)


async def test_a_body_in_chunks_is_refused_when_there_is_no_room_any_more() -> None:
    async with serving() as served:
        asking = [asyncio.create_task(served.ask("/infer", _question(n))) for n in range(2)]
        await served.rig.call(2)
        reader, writer = await _raw(served, "transfer-encoding: chunked")
        piece = b"x" * 0x8000
        for _ in range(_LARGE // len(piece)):
            writer.write(b"8000\r\n" + piece + b"\r\n")
        assert await _status(reader) == 503
        writer.close()
        for number in (1, 2):
            (await served.rig.call(number)).answer("42")
        assert [(await soon(one)).status_code for one in asking] == [200] * 2
        await until(lambda: served.bodies.used == 0)


async def test_the_body_of_a_request_that_is_made_once_takes_room_until_it_is_made_whoever_left() -> None:
    async with serving() as served:
        assert (await served.ask("/infer", b"{")).status_code == 400  # the key is known from here on
        asking = asyncio.create_task(served.ask("/infer", _question(1), idempotency_key="k"))
        completion = await served.rig.call()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for _ in range(3):
            await served.client.get("/health/live")
        assert served.bodies.used > _LARGE
        completion.answer("42")
        await until(lambda: served.bodies.used == 0)


async def test_a_body_that_comes_too_slowly_ends_with_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.2)
    async with serving() as served:
        reader, writer = await _raw(served, "content-length: 1000")
        writer.write(b"{")
        assert await _status(reader) == 504
        writer.close()
        await until(lambda: served.bodies.used == 0)


@pytest.mark.parametrize("lists", [100_001, 1_000_000])
def test_lists_without_number_are_refused_before_they_take_memory(lists: int) -> None:
    with pytest.raises(InvalidRequest, match="at most 100000 and 1000000 are taken"):
        decode_object(b'{"a": [' + b",".join([b"[]"] * lists) + b"]}")


def test_values_without_number_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="values"):
        decode_object(b'{"a": [' + b",".join([b"1"] * 1_000_001) + b"]}")


def test_brackets_and_commas_of_a_text_are_no_values() -> None:
    text = '[{,\\"' * 500_000
    assert decode_object(json.dumps({"a": text}).encode()) == {"a": text}
