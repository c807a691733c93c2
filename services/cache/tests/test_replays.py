"""Requests that are made once: what is kept of each, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from asahi_cache.domain.replays import KEPT_S, MAX_ANSWER_BYTES, Replays, ReplayState, replay_id
from asahi_cache.stores.opening import open_database
from asahi_cache.stores.replays import SqlReplayStore
from asahi_core.clock import ManualClock
from asahi_core.errors import IdempotencyConflict, IdempotencyReplayUnavailable, InvalidRequest
from tests.postgresql import PostgreSQL, postgresql

ONCE = replay_id("org-1", "key-1", "once")
BODY, OTHER_BODY = b"b" * 32, b"x" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def replays(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Replays]:
    url = ""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("server")
        url = server.create_database(f"cache_{abs(hash(tmp_path))}")
    database = open_database(tmp_path, url)
    yield Replays(SqlReplayStore(database), clock)
    database.close()


async def begin(replays: Replays, request_id: str, body: bytes = BODY, *, user_id: str = "") -> ReplayState | str:
    """What became of `ONCE`, or `begun`."""
    found = await replays.begin(ONCE, body, request_id, user_id, 15)
    begun = found.state is ReplayState.UNDER_WAY and found.request_id == request_id
    return "begun" if begun else found.state


async def test_of_many_who_begin_at_once_one_makes_the_request(replays: Replays) -> None:
    found = await asyncio.gather(*(begin(replays, f"request-{n}") for n in range(30)))
    assert sorted(found) == ["begun"] + [ReplayState.UNDER_WAY] * 29


async def test_an_answer_is_kept_for_a_day(replays: Replays, clock: ManualClock) -> None:
    assert await begin(replays, "request-1") == "begun"
    await replays.answer(ONCE, "request-1", b"42")
    clock.advance(KEPT_S - 1)
    assert (await replays.begin(ONCE, BODY, "request-2", "", 15)).answer == b"42"
    clock.advance(2)
    await replays.expire()
    assert await begin(replays, "request-3") == "begun"


async def test_who_repeats_after_a_day_begins_anew_though_nobody_swept(replays: Replays, clock: ManualClock) -> None:
    await begin(replays, "request-1")
    clock.advance(KEPT_S + 1)
    assert await begin(replays, "request-2", OTHER_BODY) == "begun"


async def test_another_body_is_refused(replays: Replays) -> None:
    await begin(replays, "request-1")
    with pytest.raises(IdempotencyConflict):
        await begin(replays, "request-2", OTHER_BODY)


async def test_names_of_other_organizations_and_principals_are_other_requests(replays: Replays) -> None:
    await begin(replays, "request-1")
    for other in (replay_id("org-2", "key-1", "once"), replay_id("org-1", "key-2", "once")):
        assert (await replays.begin(other, OTHER_BODY, "request-2", "", 15)).request_id == "request-2"


async def test_a_request_whose_maker_is_not_heard_of_any_more_is_not_made_again(
    replays: Replays, clock: ManualClock
) -> None:
    await begin(replays, "request-1")
    clock.advance(10)
    assert await begin(replays, "request-1") == "begun", "this prolongs the lease"
    clock.advance(10)
    assert await begin(replays, "request-2") == ReplayState.UNDER_WAY
    clock.advance(10)
    with pytest.raises(IdempotencyReplayUnavailable):
        await begin(replays, "request-2")
    await replays.answer(ONCE, "request-1", b"42")
    assert await begin(replays, "request-3") == ReplayState.ANSWERED, "it was slow, not dead"


async def test_a_request_that_cost_nothing_may_be_made_again_and_one_that_did_may_not(replays: Replays) -> None:
    await begin(replays, "request-1")
    await replays.free(ONCE, "request-1")
    assert await begin(replays, "request-2") == "begun"
    await replays.lose(ONCE, "request-1")
    assert await begin(replays, "request-3") == ReplayState.UNDER_WAY, "only its maker may end it"
    await replays.lose(ONCE, "request-2")
    with pytest.raises(IdempotencyReplayUnavailable):
        await begin(replays, "request-3")


async def test_an_answer_that_is_too_large_is_not_kept(replays: Replays) -> None:
    await begin(replays, "request-1")
    await replays.answer(ONCE, "request-1", b"x" * (MAX_ANSWER_BYTES + 1))
    with pytest.raises(IdempotencyReplayUnavailable):
        await begin(replays, "request-2")


async def test_answers_are_erased_by_end_user_and_by_organization_and_requests_still_not_made_again(
    replays: Replays,
) -> None:
    await begin(replays, "request-1", user_id="ada")
    await replays.answer(ONCE, "request-1", b"42")
    assert await replays.erase("org-1", "bob") == 0
    assert await replays.erase("org-2", "") == 0
    assert await replays.erase("org-1", "ada") == 1
    assert await replays.erase("org-1", "") == 0
    with pytest.raises(IdempotencyReplayUnavailable):
        await begin(replays, "request-2")


async def test_what_cannot_be_understood_is_named(replays: Replays) -> None:
    with pytest.raises(InvalidRequest, match="key"):
        replay_id("org-1", "key-1", "k" * 256)
    for wrong in ((b"short", "r", 15.0), (BODY, "", 15.0), (BODY, "r", 0.0)):
        body, request_id, lease_s = wrong
        with pytest.raises(InvalidRequest):
            await replays.begin(ONCE, body, request_id, "", lease_s)


async def test_what_was_begun_survives_the_process(tmp_path: Path, clock: ManualClock) -> None:
    database = open_database(tmp_path)
    await begin(Replays(SqlReplayStore(database), clock), "request-1")
    await Replays(SqlReplayStore(database), clock).answer(ONCE, "request-1", b"42")
    database.close()
    clock.advance(timedelta(hours=1).total_seconds())
    database = open_database(tmp_path)
    assert await begin(Replays(SqlReplayStore(database), clock), "request-2") == ReplayState.ANSWERED
    database.close()
