"""The promises of `AuthStore`, kept by the SQL store on both real databases."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from asahi_auth.domain.organizations import ApiKey, Organization
from asahi_auth.domain.pages import Position
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.store import AuthStore, Revocation, Transaction
from asahi_auth.stores.opening import open_store
from asahi_auth.stores.sql import SqlStore
from asahi_core.errors import ServiceUnavailable
from services.auth.tests.running import GUARD_S
from tests.postgresql import PostgreSQL, postgresql

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path, database: str) -> AsyncIterator[SqlStore]:
    with contextlib.closing(open_store(tmp_path, database)) as opened:
        yield opened


def key(number: int, organization_id: str = "org_a", created_at: datetime = NOON) -> ApiKey:
    return ApiKey(
        id=f"key_{number:08d}",
        sha256=bytes([number]) * 32,
        hash_scheme="sha256",
        organization_id=organization_id,
        name="räksmörgås",
        user_id="",
        scopes=(Scope.INFER, Scope.ANALYTICS),
        allowed_models=("gpt-*",),
        created_at=created_at,
        created_by="signup",
        expires_at=NOON + timedelta(days=1, microseconds=3),
    )


async def add(store: AuthStore, *keys: ApiKey) -> None:
    def work(transaction: Transaction) -> None:
        for organization_id in {key.organization_id for key in keys}:
            if transaction.organization(organization_id) is None:
                transaction.add_organization(Organization(organization_id, "A", "ada", "", NOON))
        for one in keys:
            transaction.add_key(one)

    await store.change(work)


async def test_a_key_comes_back_as_it_was_added(store: SqlStore) -> None:
    await add(store, key(1))
    assert await store.find_key("key_00000001") == key(1)
    assert await store.find_key("key_00000002") is None


async def test_a_key_needs_an_organization(store: SqlStore) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await store.change(lambda transaction: transaction.add_key(key(1, "org_unknown")))
    assert await store.find_key("key_00000001") is None


async def test_nothing_of_a_change_that_fails_stays(store: SqlStore) -> None:
    def work(transaction: Transaction) -> NoReturn:
        transaction.add_organization(Organization("org_b", "B", "bob", "", NOON))
        raise LookupError("changed my mind")

    with pytest.raises(LookupError):
        await store.change(work)
    assert not await store.find_organization("org_b")


async def test_keys_are_listed_newest_first_and_by_id_where_they_are_of_one_age(store: SqlStore) -> None:
    ages = [NOON, NOON, NOON + timedelta(microseconds=1), NOON - timedelta(days=400)]
    keys = [key(number, created_at=age) for number, age in enumerate(ages)]
    await add(store, *keys, key(9, "org_other"))
    expected = [keys[2], keys[1], keys[0], keys[3]]
    assert await store.keys_after("org_a", None, 10) == expected
    for position, last in enumerate(expected):
        after = Position(last.created_at, last.id)
        assert await store.keys_after("org_a", after, 10) == expected[position + 1 :]
    assert await store.keys_after("org_a", None, 2) == expected[:2]


async def test_a_revoked_key_says_when_and_by_whom_and_is_heard_in_order(store: SqlStore) -> None:
    await add(store, key(1), key(2))
    assert await store.last_revocation() == 0
    await store.change(lambda t: t.revoke_key("key_00000002", NOON, "operator"))
    await store.change(lambda t: t.revoke_key("key_00000001", NOON, "key_00000002"))
    found = await store.find_key("key_00000001")
    assert found is not None
    assert (found.revoked_at, found.revoked_by) == (NOON, "key_00000002")
    heard = [Revocation(1, "key_00000002"), Revocation(2, "key_00000001")]
    assert await store.revocations_after(0, 10) == heard
    assert await store.revocations_after(0, 1) == heard[:1]
    assert await store.revocations_after(1, 10) == heard[1:]
    assert await store.last_revocation() == 2


async def test_changes_at_the_same_time_wait_for_each_other(tmp_path: Path, database: str) -> None:
    with (
        contextlib.closing(open_store(tmp_path, database)) as one,
        contextlib.closing(open_store(tmp_path, database)) as other,
    ):
        await add(one, *(key(number) for number in range(40)))
        await asyncio.gather(
            *(
                store.change(lambda t, number=number: t.revoke_key(f"key_{number:08d}", NOON, "operator"))  # type: ignore[misc]  # mypy cannot infer a default
                for number, store in enumerate([one, other] * 20)
            )
        )
        assert [r.sequence for r in await one.revocations_after(0, 100)] == list(range(1, 41))


async def test_what_was_answered_survives_reopening(tmp_path: Path, database: str) -> None:
    with contextlib.closing(open_store(tmp_path, database)) as before:
        await add(before, key(1))
    with contextlib.closing(open_store(tmp_path, database)) as after:
        assert await after.find_key("key_00000001") == key(1)


async def test_look_ups_do_not_wait_for_a_change_and_see_it_when_it_is_done(store: SqlStore) -> None:
    await add(store, key(1))
    looked_up = threading.Event()

    def slow(transaction: Transaction) -> bool:
        transaction.add_key(key(2))
        return looked_up.wait(GUARD_S)

    changing = asyncio.create_task(store.change(slow))
    waiting = [asyncio.create_task(store.change(lambda t: t.organization("org_a") is not None)) for _ in range(10)]
    assert await store.find_key("key_00000001") == key(1)
    assert await store.find_key("key_00000002") is None
    looked_up.set()
    assert await changing
    await asyncio.gather(*waiting)
    assert await store.find_key("key_00000002") == key(2)


async def test_a_connection_lost_in_the_middle_of_a_change_changes_nothing_and_the_next_one_works(
    tmp_path: Path, server: PostgreSQL
) -> None:
    url = server.create_database("auth_lost_connections")
    with contextlib.closing(open_store(tmp_path, url)) as store:
        await add(store, key(1))

        def lose(transaction: Transaction) -> None:
            transaction.revoke_key("key_00000001", NOON, "operator")
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'asahi-auth' AND state = 'idle in transaction'"
                )
            transaction.key("key_00000001")

        with pytest.raises(ServiceUnavailable):
            await store.change(lose)
        assert await store.find_key("key_00000001") == key(1)
        await store.change(lambda transaction: transaction.revoke_key("key_00000001", NOON, "operator"))
        assert await store.last_revocation() == 1


async def test_uses_of_keys_never_wait_for_changes(tmp_path: Path, server: PostgreSQL) -> None:
    later = NOON + timedelta(hours=1)
    loop = asyncio.get_running_loop()
    with contextlib.closing(open_store(tmp_path, server.create_database("auth_uses"))) as store:
        await add(store, key(1), key(2))

        def change(transaction: Transaction) -> None:
            transaction.revoke_key("key_00000002", NOON, "operator")
            uses = {"key_00000001": later, "key_00000002": later}
            asyncio.run_coroutine_threadsafe(store.record_key_use(uses), loop).result(GUARD_S)
            transaction.revoke_key("key_00000001", NOON, "operator")

        await store.change(change)
        used, left_aside = await store.find_key("key_00000001"), await store.find_key("key_00000002")
    assert used is not None
    assert left_aside is not None
    assert (used.last_used_at, used.revoked_at) == (later, NOON)
    assert (left_aside.last_used_at, left_aside.revoked_at) == (None, NOON)


async def test_organizations_that_name_each_others_keys_do_not_wait_for_each_other(
    tmp_path: Path, server: PostgreSQL
) -> None:
    with contextlib.closing(open_store(tmp_path, server.create_database("auth_foreign_keys"))) as store:
        await add(store, key(1), key(2, "org_b"))
        met = threading.Barrier(2)

        def name(own: str, foreign: str, transaction: Transaction) -> bool:
            assert transaction.organization(own) is not None
            met.wait(GUARD_S)
            return transaction.key(foreign) is not None

        changes = [partial(name, "org_a", "key_00000002"), partial(name, "org_b", "key_00000001")]
        async with asyncio.timeout(GUARD_S):
            assert await asyncio.gather(*map(store.change, changes)) == [True, True]


async def test_a_server_that_stops_is_told_as_unavailable_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    with postgresql() as server, contextlib.closing(open_store(tmp_path, server.url())) as store:
        await add(store, key(1))
        server.stop()
        with pytest.raises(ServiceUnavailable):
            await store.find_key("key_00000001")
        server.start()
        assert await store.find_key("key_00000001") == key(1)
