"""Responses that are kept: read again, gone on with, dropped and expired, on both databases."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from asahi_cache.domain.stored_responses import MAX_BYTES, ResponseId, StoredResponses, Turn
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.opening import open_database
from asahi_cache.stores.stored_responses import SqlStoredResponses
from asahi_cache.stores.tables import STORED_RESPONSES
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest, NotFound, RequestTooLarge, ServiceUnavailable
from tests.postgresql import PostgreSQL, postgresql

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheDatabase]:
    url = ""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("server")
        url = server.create_database(f"responses_{abs(hash(tmp_path))}")
    opened = open_database(tmp_path, url)
    yield opened
    opened.close()


@pytest.fixture
def responses(database: CacheDatabase, clock: ManualClock) -> StoredResponses:
    return StoredResponses(SqlStoredResponses(database), clock)


async def keep(
    responses: StoredResponses,
    name: str,
    *,
    after: str = "",
    user_id: str = "",
    organization_id: str = "org-1",
    keep_s: float = 30 * DAY_S,
    text: bytes = b"",
) -> None:
    """Keeps a response whose input and output name it."""
    turn = Turn(name, text or b'["ask %b"]' % name.encode(), b'["say %b"]' % name.encode())
    await responses.keep(
        ResponseId(organization_id, name),
        previous_id=after,
        user_id=user_id,
        turn=turn,
        response_json=b'{"id":"%b"}' % name.encode(),
        keep_s=keep_s,
    )


async def said(responses: StoredResponses, name: str, organization_id: str = "org-1") -> list[str]:
    """Ids of the turns up to `name`."""
    return [turn.response_id for turn in await responses.conversation(ResponseId(organization_id, name))]


async def test_a_response_is_read_as_it_was_answered_until_it_expires(
    responses: StoredResponses, clock: ManualClock
) -> None:
    await keep(responses, "a")
    assert await responses.get(ResponseId("org-1", "a")) == (b'{"id":"a"}', b'["say a"]')
    clock.advance(30 * DAY_S - 1)
    await responses.get(ResponseId("org-1", "a"))
    clock.advance(2)
    with pytest.raises(NotFound):
        await responses.get(ResponseId("org-1", "a"))


async def test_a_conversation_is_told_from_its_beginning_along_its_own_branch(responses: StoredResponses) -> None:
    await keep(responses, "a")
    await keep(responses, "b", after="a")
    await keep(responses, "c", after="b")
    await keep(responses, "c2", after="b")
    turns = await responses.conversation(ResponseId("org-1", "c"))
    assert turns == [Turn(n, b'["ask %b"]' % n.encode(), b'["say %b"]' % n.encode()) for n in ("a", "b", "c")]
    assert await said(responses, "c2") == ["a", "b", "c2"]
    assert await said(responses, "a") == ["a"]


async def test_hundreds_of_turns_are_told_in_order(responses: StoredResponses) -> None:
    names = [f"turn-{number}" for number in range(400)]
    for before, name in zip(["", *names], names, strict=False):
        await keep(responses, name, after=before)
    assert await said(responses, names[-1]) == names


async def test_what_is_gone_on_with_does_not_lose_its_beginning_and_expires_with_the_last(
    responses: StoredResponses, database: CacheDatabase, clock: ManualClock
) -> None:
    await keep(responses, "a")
    clock.advance(20 * DAY_S)
    await keep(responses, "b", after="a")
    await keep(responses, "short", keep_s=DAY_S)
    clock.advance(20 * DAY_S)
    await responses.expire()
    assert await said(responses, "b") == ["a", "b"]
    assert await rows(database) == 2
    clock.advance(11 * DAY_S)
    with pytest.raises(NotFound):
        await said(responses, "b")
    with pytest.raises(NotFound):
        await keep(responses, "c", after="b")
    await responses.expire()
    assert await rows(database) == 0


async def test_expired_rows_are_dropped_however_many_there_are(
    responses: StoredResponses, database: CacheDatabase, clock: ManualClock
) -> None:
    for number in range(450):
        await keep(responses, f"old-{number}", keep_s=DAY_S)
    await keep(responses, "new")
    clock.advance(2 * DAY_S)
    await responses.expire()
    assert await rows(database) == 1


async def rows(database: CacheDatabase) -> int:
    """How many there are, whatever their time."""
    count = select(func.count()).select_from(STORED_RESPONSES)
    return await database.run(lambda connection: int(connection.execute(count).scalar_one()))


async def test_another_organization_finds_nothing_in_the_same_words(responses: StoredResponses) -> None:
    await keep(responses, "a")
    told = set()
    for organization_id, name in (("org-2", "a"), ("org-1", "b")):
        named = ResponseId(organization_id, name)
        for act in (responses.get, responses.conversation, responses.delete):
            with pytest.raises(NotFound) as error:
                await act(named)
            told.add(error.value.message.replace(f"'{name}'", "'…'"))
        with pytest.raises(NotFound) as error:
            await keep(responses, "c", after=name, organization_id=organization_id)
        told.add(error.value.message.replace(f"'{name}'", "'…'"))
    assert told == {"Response with id '…' not found."}
    await keep(responses, "a", organization_id="org-2")
    assert await said(responses, "a", "org-2") == ["a"]


async def test_a_dropped_response_is_gone_and_what_went_on_with_it_cannot_be_gone_on_with(
    responses: StoredResponses,
) -> None:
    for name, after in (("a", ""), ("b", "a"), ("c", "b")):
        await keep(responses, name, after=after)
    await responses.delete(ResponseId("org-1", "b"))
    with pytest.raises(NotFound):
        await responses.delete(ResponseId("org-1", "b"))
    assert await said(responses, "a") == ["a"]
    await responses.get(ResponseId("org-1", "c"))
    with pytest.raises(NotFound):
        await said(responses, "c")


async def test_end_users_and_organizations_are_erased(responses: StoredResponses) -> None:
    for name, user_id in (("a", "ada"), ("b", "ada\0"), ("c", "ben")):
        await keep(responses, name, user_id=user_id)
    await keep(responses, "a", user_id="ada", organization_id="org-2")
    assert await responses.erase("org-1", "ada") == 1
    assert await responses.erase("org-1", "ada\0") == 1
    assert await responses.erase("org-1", "nobody") == 0
    assert await responses.erase("org-1", "") == 1
    assert await said(responses, "a", "org-2") == ["a"]


async def test_of_what_is_kept_twice_under_one_id_the_last_is_told(responses: StoredResponses) -> None:
    for text in (b'["one"]', b'["one"]', b'["another"]'):
        await keep(responses, "a", text=text)
        (turn,) = await responses.conversation(ResponseId("org-1", "a"))
        assert turn.input_json == text


async def test_what_is_too_large_is_refused_alone_and_as_a_conversation(responses: StoredResponses) -> None:
    with pytest.raises(RequestTooLarge):
        await keep(responses, "a", text=b"x" * MAX_BYTES)
    half = b"x" * (MAX_BYTES // 2)
    await keep(responses, "a", text=half)
    await keep(responses, "b", after="a", text=half)
    with pytest.raises(RequestTooLarge):
        await said(responses, "b")


async def test_what_cannot_be_understood_is_refused(responses: StoredResponses) -> None:
    for name, keep_s in (("", 1.0), ("x" * 256, 1.0), ("a", 0.0), ("a", 1e12)):
        with pytest.raises(InvalidRequest):
            await keep(responses, name, keep_s=keep_s)
    with pytest.raises(InvalidRequest):
        await responses.erase("", "ada")


async def test_without_the_database_everything_is_unavailable_and_it_comes_back(
    server: PostgreSQL, tmp_path: Path, clock: ManualClock
) -> None:
    database = open_database(tmp_path, server.create_database("breaking"))
    responses = StoredResponses(SqlStoredResponses(database), clock)
    await keep(responses, "a")
    server.stop()
    try:
        for act in (responses.get, responses.conversation, responses.delete):
            with pytest.raises(ServiceUnavailable):
                await act(ResponseId("org-1", "a"))
        with pytest.raises(ServiceUnavailable):
            await keep(responses, "b")
    finally:
        server.start()
    assert await said(responses, "a") == ["a"]
    database.close()


async def test_what_is_kept_survives_the_process(tmp_path: Path, clock: ManualClock) -> None:
    for act in ("keep", "find"):
        database = open_database(tmp_path)
        responses = StoredResponses(SqlStoredResponses(database), clock)
        if act == "keep":
            await keep(responses, "a")
        assert await said(responses, "a") == ["a"]
        database.close()
