"""Replicas that keep their questions themselves: what one withdraws none has, not even one that was away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from asahi_cache.domain.embedding import LOCAL_DIMENSIONS
from asahi_cache.domain.labels import user_label
from asahi_cache.domain.semantic.neighbours import StoredQuestion
from asahi_cache.domain.tiers import Selection
from asahi_core.errors import ServiceUnavailable
from services.cache.tests.builders import GUARD_S, Serving, digest, serving, settings
from services.cache.tests.edges import edges
from services.cache.tests.replicas import alone, until
from tests.installation import free_port
from tests.redis_server import RedisServer, redis_server
from tests.slow_proxy import slow_proxy

FAR_NS = 4_000_000_000 * 10**9


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@asynccontextmanager
async def replica(folder: Path, url: str) -> AsyncIterator[Serving]:
    """One that hears others and has its questions in `folder`."""
    address = f"127.0.0.1:{free_port()}"
    chosen = settings(redis_url=url, grpc_address=address, data_dir=folder, embedding_threads=1)
    async with serving(chosen) as running:
        await until(lambda: not alone(running))
        yield running


async def keep(running: Serving, number: int, user: str) -> None:
    """Has it keep a question of this end user."""
    questions = running.service.tier_two.questions
    assert questions is not None
    vector = np.zeros(LOCAL_DIMENSIONS, dtype=np.float32)
    vector[number] = 1.0
    asked = StoredQuestion("org-1", b"s" * 32, digest(number), f"question {number}", 1000, FAR_NS, (user_label(user),))
    await questions.keep(asked, vector)


async def kept(running: Serving) -> list[str]:
    """The questions that it keeps."""
    questions = running.service.tier_two.questions
    assert questions is not None
    page, _ = await questions.scroll("", 100)
    return sorted(question.text for question, _ in page)


async def withdraw(running: Serving, user: str) -> None:
    """Erases an end user's."""
    selection = Selection("org-1", frozenset({user_label(user)}))
    assert running.service.shared is not None
    await running.service.shared.drop(selection)


async def test_what_one_withdraws_the_other_has_no_longer_when_that_is_answered(
    server: RedisServer, tmp_path: Path
) -> None:
    async with replica(tmp_path / "1", server.url) as one, replica(tmp_path / "2", server.url) as two:
        await keep(two, 1, "ann")
        await keep(two, 2, "bob")
        await withdraw(one, "ann")
        assert await kept(two) == ["question 2"]


async def test_one_that_was_away_learns_what_was_withdrawn_when_it_is_back(server: RedisServer, tmp_path: Path) -> None:
    async with replica(tmp_path / "1", server.url) as one:
        async with replica(tmp_path / "2", server.url) as two:
            await keep(two, 1, "ann")
            await keep(two, 2, "bob")
            await withdraw(one, "nobody")
        await withdraw(one, "ann")
        await withdraw(one, "nobody")
        async with replica(tmp_path / "2", server.url) as two:
            await until_kept(two, ["question 2"])
            await withdraw(one, "bob")
            assert await kept(two) == []


async def test_one_that_did_not_hear_for_a_while_learns_what_was_withdrawn(server: RedisServer, tmp_path: Path) -> None:
    with slow_proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with replica(tmp_path / "1", server.url) as one, replica(tmp_path / "2", url) as two:
            await keep(two, 1, "ann")
            await keep(two, 2, "bob")
            proxy.delay_s = 5.0
            await until(lambda: alone(two))
            assert await kept(two) == ["question 1", "question 2"]
            await withdraw(one, "ann")
            proxy.delay_s = 0.0
            await until_kept(two, ["question 2"])


@pytest.mark.parametrize("how", ["lost", "trimmed"])
async def test_one_that_cannot_learn_what_it_missed_keeps_nothing(
    server: RedisServer, tmp_path: Path, how: str
) -> None:
    async with replica(tmp_path / "1", server.url) as one, Redis.from_url(server.url) as client:
        async with replica(tmp_path / "2", server.url) as two:
            await keep(two, 1, "ann")
            await keep(two, 2, "bob")
            await withdraw(one, "nobody")
        if how == "lost":
            await client.flushall()
            await until(lambda: not alone(one))
        else:
            await withdraw(one, "ann")
            await client.xtrim("{asahi:cache}:withdrawn", maxlen=1, approximate=False)
        async with replica(tmp_path / "2", server.url) as two:
            await until_kept(two, [])


async def test_one_whose_disk_is_full_hears_all_the_same(server: RedisServer, tmp_path: Path) -> None:
    async with replica(tmp_path / "1", server.url) as one, replica(tmp_path / "2", server.url) as two:
        heard_place = two.service.tier_two.heard
        assert heard_place is not None
        heard_place._path = tmp_path / "no such folder" / "heard"  # nothing can be written there
        for number, user in enumerate(("ann", "bob")):
            await keep(two, number, user)
            await withdraw(one, user)
            assert await kept(two) == []


async def test_what_is_dropped_without_redis_is_dropped_here(server: RedisServer, tmp_path: Path) -> None:
    async with replica(tmp_path / "1", server.url) as one:
        await keep(one, 1, "ann")
        await keep(one, 2, "bob")
        server.stop()
        await until(lambda: alone(one))
        async with edges(one.address, 1) as (edge,):
            with pytest.raises(ServiceUnavailable, match="other replicas"):
                await edge.invalidate(user_id="ann")
        assert await kept(one) == ["question 2"]


async def test_one_that_begins_with_questions_of_before_it_heard_anybody_keeps_nothing(
    server: RedisServer, tmp_path: Path
) -> None:
    async with replica(tmp_path / "1", server.url) as one:
        await keep(one, 1, "ann")
    (tmp_path / "1" / "questions" / "heard").unlink()
    async with replica(tmp_path / "1", server.url) as one:
        await until_kept(one, [])


async def until_kept(running: Serving, texts: list[str]) -> None:
    """Returns when it keeps these questions alone; fails if it does not in time."""
    async with asyncio.timeout(GUARD_S):
        while await kept(running) != texts:  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.02)
