"""What the door says to requests for which there is no place: at once, before their bodies, on the same connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from services.edge.tests.flying import soon, until
from services.edge.tests.serving import Served, serving

_MOST = 4
_QUESTION = {"prompt": "What is 6 times 7?", "routing_mode": "explicit", "model_override": "gpt-4o-mini"}
_PATHS = {
    "/infer": 503,
    "/v1/chat/completions": 503,
    "/v1/responses": 503,
    "/v1/embeddings": 503,
    "/v1/messages": 529,
    "/v1/messages/count_tokens": 529,
}


@dataclass
class _Wire:
    """A connection that a request is sent over piece by piece."""

    served: Served
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def head(self, path: str, length: int, *more: str) -> None:
        key = self.served.client.headers["authorization"]
        lines = (f"POST {path} HTTP/1.1", "host: edge", f"authorization: {key}", f"content-length: {length}", *more)
        self.writer.write("\r\n".join((*lines, "", "")).encode())

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(120):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            return int(status.split(" ")[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def _full() -> AsyncIterator[tuple[Served, _Wire]]:
    """An edge with as many requests under way as it takes of one organisation."""
    async with serving(most=_MOST) as served:
        held = _MOST * 3 // 4
        asking = [asyncio.create_task(served.ask("/infer", {**_QUESTION, "seed": n})) for n in range(held)]
        await served.rig.call(held)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(served.url).port)
        try:
            yield served, _Wire(served, reader, writer)
        finally:
            writer.close()
            for completion in served.rig.router.calls:
                completion.answer("42")
        assert [(await soon(one)).status_code for one in asking] == [200] * held
        await until(lambda: served.admission.under_way == 0)


@pytest.mark.parametrize("path", _PATHS)
async def test_a_request_that_is_not_let_in_hears_so_before_its_body_and_may_go_on_asking(path: str) -> None:
    async with _full() as (served, wire):
        for _ in range(2):
            wire.head(path, 2, "x-request-id: mine")
            status, headers, body = await wire.answer()
            assert status == _PATHS[path]
            assert headers["retry-after"] == "1"
            assert headers["x-request-id"] == headers["request-id"] == "mine"
            assert "overloaded" in json.dumps(json.loads(body)["error"])
            assert headers["x-asahi-request-id"] in body.decode()
            assert "connection" not in headers
            wire.writer.write(b"{}")
        assert served.admission.refused == 2


async def test_health_and_all_that_is_not_inference_are_let_in() -> None:
    async with _full() as (served, _):
        assert (await served.client.get("/health/live")).status_code == 200
        assert (await served.client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(("length", "more"), [(10_000_000, ()), (2, ("expect: 100-continue",))])
async def test_a_connection_ends_whose_body_would_be_large_or_may_never_come(
    length: int, more: tuple[str, ...]
) -> None:
    async with _full() as (_, wire):
        wire.head("/infer", length, *more)
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert await soon(wire.reader.read()) == b""


@pytest.mark.parametrize("how", ["content-length: 70000", "transfer-encoding: chunked"])
async def test_what_came_with_a_head_that_ends_the_connection_is_answered_once(how: str) -> None:
    async with _full() as (served, wire):
        key = served.client.headers["authorization"]
        head = f"POST /infer HTTP/1.1\r\nhost: edge\r\nauthorization: {key}\r\n{how}\r\n\r\n"
        body = "2\r\n{}\r\n0\r\n\r\n" if "chunked" in how else "x" * 70_000
        wire.writer.write((2 * (head + body)).encode())
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert await soon(wire.reader.read()) == b""


async def test_a_request_that_is_refused_for_what_it_says_gives_its_place_back() -> None:
    async with serving(most=_MOST) as served:
        for _ in range(3 * _MOST):
            assert (await served.ask("/infer", b"{")).status_code == 400
        assert served.admission.under_way == 0


async def test_repetitions_of_a_request_that_is_made_once_take_no_places() -> None:
    async with serving(most=2 * _MOST) as served:
        asking = []
        for _ in range(5 * _MOST):
            asking.append(asyncio.create_task(served.ask("/infer", _QUESTION, idempotency_key="k")))
            await served.client.get("/health/live")
        (await served.rig.call()).answer("42")
        assert [(await soon(one)).status_code for one in asking] == [200] * len(asking)
