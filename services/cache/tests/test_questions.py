"""Stored questions: what both stores promise, and what a guard makes of one that fails.

The server's half runs against `QDRANT_URL` if that names one, else against a stand-in for the calls that are made.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog

from asahi_cache.domain.embedding import LOCAL_DIMENSIONS
from asahi_cache.domain.semantic.neighbours import StoredQuestion, StoreUnavailable, VectorStore
from asahi_cache.domain.tiers import Selection
from asahi_cache.move_questions import move
from asahi_cache.stores.guarded_questions import GuardedQuestions
from asahi_cache.wiring import open_questions
from services.cache.tests.qdrant_stand_in import StandIn, qdrant_stand_in

NOW_NS = 1_790_000_000_123_456_000
HOUR_NS = 3600 * 10**9
SCOPE, OTHER_SCOPE = b"s" * 32, b"t" * 32


def question(number: int = 1, organization: str = "org-1", **changed: object) -> StoredQuestion:
    fields = {
        "organization_id": organization,
        "scope": SCOPE,
        "fingerprint": number.to_bytes(32, "big"),
        "text": f"question {number}",
        "created_at_ns": NOW_NS,
        "expires_at_ns": NOW_NS + HOUR_NS,
        "labels": (b"request %d" % number, b"user ann"),
    }
    return StoredQuestion(**{**fields, **changed})  # type: ignore[arg-type]


def vector(*weights: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    whole = np.zeros(LOCAL_DIMENSIONS, dtype=np.float32)
    whole[: len(weights)] = weights
    return whole / np.linalg.norm(whole)


@pytest.fixture
def stand_in() -> Iterator[tuple[str, StandIn]]:
    with qdrant_stand_in() as running:
        yield running


@pytest.fixture(params=["embedded", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    url = ""
    if request.param == "server":
        url = os.environ.get("QDRANT_URL", "") or request.getfixturevalue("stand_in")[0]
    opened = open_questions(tmp_path, url, os.environ.get("QDRANT_API_KEY", ""))
    yield opened
    for organization in ("org-1", "org-2"):
        await opened.drop(Selection(organization))
    await opened.close()


def shards(folder: Path) -> list[Path]:
    return [shard for collection in folder.iterdir() for shard in collection.iterdir()]


async def texts(
    store: VectorStore, organization: str = "org-1", scope: bytes = SCOPE, now_ns: int = NOW_NS
) -> list[str]:
    near = await store.nearest(organization, scope, vector(1.0), now_ns, 10)
    return [one.question.text for one in near]


async def test_the_nearest_come_first_and_whole(store: VectorStore) -> None:
    await store.keep(question(1), vector(1.0, 1.0))
    await store.keep(question(2), vector(1.0, 0.1))
    first, second = await store.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 10)
    assert (first.question, second.question) == (question(2), question(1))
    assert first.cosine == pytest.approx(1 / 1.01**0.5, abs=1e-3)
    assert second.cosine == pytest.approx(0.5**0.5, abs=1e-3)
    assert len(await store.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 1)) == 1


async def test_nobody_finds_another_organisations_or_another_scopes(store: VectorStore) -> None:
    await store.keep(question(1), vector(1.0))
    assert await texts(store) == ["question 1"]
    assert await texts(store, organization="org-2") == []
    assert await texts(store, scope=OTHER_SCOPE) == []
    assert await store.holds("org-1", SCOPE, NOW_NS)
    assert not await store.holds("org-2", SCOPE, NOW_NS)
    assert not await store.holds("org-1", OTHER_SCOPE, NOW_NS)


async def test_one_fingerprint_is_one_question_in_each_organisation(store: VectorStore) -> None:
    await store.keep(question(1), vector(1.0))
    await store.keep(question(1, text="asked again"), vector(1.0))
    await store.keep(question(1, "org-2", text="theirs"), vector(1.0))
    assert await texts(store) == ["asked again"]
    assert await texts(store, "org-2") == ["theirs"]


async def test_what_has_expired_is_not_found_and_leaves(store: VectorStore) -> None:
    await store.keep(question(1), vector(1.0))
    later = NOW_NS + HOUR_NS
    assert await texts(store, now_ns=later - 1000) == ["question 1"]
    assert await texts(store, now_ns=later) == []
    assert not await store.holds("org-1", SCOPE, later)
    await store.expire(later - 1000)
    assert await texts(store) == ["question 1"]
    await store.expire(later)
    assert await texts(store) == []


async def test_questions_are_dropped_by_labels_and_age(store: VectorStore) -> None:
    await store.keep(question(1), vector(1.0))
    await store.keep(question(2, labels=(b"request 2", b"user bob")), vector(1.0, 0.1))
    await store.keep(question(3, labels=(b"request 3",), created_at_ns=NOW_NS - HOUR_NS), vector(1.0, 0.2))
    await store.keep(question(4, "org-2"), vector(1.0))
    await store.drop(Selection("org-1", frozenset({b"user ann"})))
    assert await texts(store) == ["question 2", "question 3"]
    await store.drop(Selection("org-1", frozenset({b"user bob"}), NOW_NS))
    assert await texts(store) == ["question 2", "question 3"]
    await store.drop(Selection("org-1", given_before_nanos=NOW_NS))
    assert await texts(store) == ["question 2"]
    await store.forget("org-1", question(2).fingerprint)
    assert await texts(store) == []
    assert await texts(store, "org-2") == ["question 4"]


async def test_all_questions_can_be_read_page_by_page(store: VectorStore) -> None:
    kept = {number: vector(1.0, number) for number in range(1, 6)}
    for number, kept_vector in kept.items():
        await store.keep(question(number), kept_vector)
    found, after = {}, ""
    while True:
        page, after = await store.scroll(after, 2)
        found.update({one.fingerprint[-1]: (one, read) for one, read in page})
        if not after:
            break
    assert sorted(found) == sorted(kept)
    for number, (one, read) in found.items():
        assert one == question(number)
        assert read == pytest.approx(kept[number], abs=1e-6)


async def test_the_tenant_has_an_index_of_its_own(stand_in: tuple[str, StandIn], tmp_path: Path) -> None:
    opened = open_questions(tmp_path, stand_in[0], "")
    await opened.keep(question(1), vector(1.0))
    await opened.close()
    ((_, indexes),) = stand_in[1].indexes.items()
    assert indexes["organization"]["is_tenant"] is True
    assert set(indexes) == {"organization", "scope", "labels", "created_at", "expires_at"}


async def test_embedded_questions_outlive_the_process_and_have_one_owner(tmp_path: Path) -> None:
    opened = open_questions(tmp_path, "", "")
    await opened.keep(question(1), vector(1.0))
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_questions(tmp_path, "", "")
    await opened.close()
    again = open_questions(tmp_path, "", "")
    assert await texts(again) == ["question 1"]
    await again.close()


async def test_a_store_that_fails_is_left_alone_until_it_is_back(stand_in: tuple[str, StandIn], tmp_path: Path) -> None:
    url, server = stand_in
    guarded = GuardedQuestions(open_questions(tmp_path, url, ""), 1.0, structlog.testing.CapturingLogger())
    await guarded.keep(question(1), vector(1.0))
    server.broken = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await guarded.holds("org-1", SCOPE, NOW_NS)
    assert not guarded.works
    assert guarded.trouble()
    calls = server.calls
    with pytest.raises(StoreUnavailable):
        await guarded.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 1)
    assert server.calls == calls, "nobody asks a store whose breaker is open"
    server.broken = False
    watching = asyncio.create_task(guarded.watch())
    async with asyncio.timeout(120):
        await guarded.reachable_again()
    watching.cancel()
    assert await texts(guarded) == ["question 1"]
    await guarded.close()


async def test_nobody_waits_for_a_slow_store(stand_in: tuple[str, StandIn], tmp_path: Path) -> None:
    url, server = stand_in
    guarded = GuardedQuestions(open_questions(tmp_path, url, ""), 0.05, structlog.testing.CapturingLogger())
    await guarded.keep(question(1), vector(1.0))
    server.delay_s = 1.0
    with pytest.raises(StoreUnavailable, match="in time"):
        await guarded.holds("org-1", SCOPE, NOW_NS)
    await guarded.close()


async def test_both_questions_of_a_lookup_wait_no_longer_than_one_may(
    stand_in: tuple[str, StandIn], tmp_path: Path
) -> None:
    url, server = stand_in
    guarded = GuardedQuestions(open_questions(tmp_path, url, ""), 30.0, structlog.testing.CapturingLogger())
    await guarded.keep(question(1), vector(1.0))
    server.delay_s = 1.0
    with pytest.raises(StoreUnavailable, match="in time"):
        await guarded.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 1, waited_s=29.99)
    await guarded.close()


async def test_a_collection_is_made_though_nobody_waits_for_it_so_long(
    stand_in: tuple[str, StandIn], tmp_path: Path
) -> None:
    url, server = stand_in
    server.delay_s = 0.05
    opened = open_questions(tmp_path, url, "")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(opened.holds("org-1", SCOPE, NOW_NS), 0.05)
    assert not await opened.holds("org-1", SCOPE, NOW_NS)
    assert server.calls <= 10, "it is made once"
    await opened.close()


async def test_a_server_that_lost_everything_is_used_again(stand_in: tuple[str, StandIn], tmp_path: Path) -> None:
    url, server = stand_in
    opened = open_questions(tmp_path, url, "")
    await opened.keep(question(1), vector(1.0))
    server.collections.clear()
    with pytest.raises(StoreUnavailable, match="404"):
        await opened.holds("org-1", SCOPE, NOW_NS)
    assert await texts(opened) == []
    await opened.keep(question(1), vector(1.0))
    assert await texts(opened) == ["question 1"]
    await opened.close()


async def test_an_embedded_store_moves_to_a_server(stand_in: tuple[str, StandIn], tmp_path: Path) -> None:
    embedded = open_questions(tmp_path, "", "")
    far = time.time_ns() // 1000 * 1000 + HOUR_NS
    for number in range(1, 4):
        await embedded.keep(question(number, expires_at_ns=far), vector(1.0, number))
    await embedded.keep(question(4, expires_at_ns=1000), vector(1.0))
    await embedded.close()
    assert await move(tmp_path, stand_in[0], "") == 3
    assert await move(tmp_path, stand_in[0], "") == 3
    server = open_questions(tmp_path, stand_in[0], "")
    assert await texts(server) == ["question 1", "question 2", "question 3"]
    await server.close()


async def test_over_its_most_the_oldest_of_whoever_has_most_leave(tmp_path: Path) -> None:
    store = open_questions(tmp_path, "", "", 10)
    for number in range(1, 16):
        await store.keep(question(number, created_at_ns=NOW_NS + number * 1000), vector(1.0, number))
    for number in range(3):
        await store.keep(question(number, "org-2", created_at_ns=NOW_NS - HOUR_NS), vector(1.0))
    await store.expire(NOW_NS)
    near = await store.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 20)
    assert sorted(one.question.fingerprint[-1] for one in near) == list(range(9, 16))
    assert len(await texts(store, "org-2")) == 3
    await store.close()


async def test_room_is_given_back_while_questions_come_and_go(tmp_path: Path) -> None:
    store = open_questions(tmp_path, "", "")
    for _ in range(60):
        for number in range(100):
            await store.keep(question(number), vector(1.0, number))
    renewing = asyncio.create_task(store.expire(NOW_NS))
    await asyncio.sleep(0)
    await store.keep(question(200), vector(1.0))
    await store.keep(question(3, text="asked anew"), vector(1.0))
    await store.forget("org-1", question(99).fingerprint)
    await renewing
    found = await store.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 1000)
    kept = {int.from_bytes(one.question.fingerprint, "big"): one.question.text for one in found}
    assert set(kept) == {*range(99), 200}
    assert kept[3] == "asked anew"
    await store.close()
    assert [shard.name for shard in shards(tmp_path)] == ["2"]
    again = open_questions(tmp_path, "", "")
    assert len(await again.nearest("org-1", SCOPE, vector(1.0), NOW_NS, 1000)) == 100
    await again.close()


async def test_a_copy_that_broke_off_is_no_loss(tmp_path: Path) -> None:
    store = open_questions(tmp_path, "", "")
    await store.keep(question(1), vector(1.0))
    await store.close()
    (first,) = shards(tmp_path)
    first.with_name("2").mkdir()
    again = open_questions(tmp_path, "", "")
    assert await texts(again) == ["question 1"]
    await again.close()
