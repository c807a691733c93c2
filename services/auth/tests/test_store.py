"""The promises of `AuthStore`, kept by the SQL store on a real database file."""

import asyncio
import contextlib
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import OperationalError

from asahi_auth.domain.organizations import ApiKey, Organization
from asahi_auth.domain.pages import Position
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.store import AuthStore, Revocation, Transaction
from asahi_auth.stores import schema
from asahi_auth.stores.lane import Lane
from asahi_auth.stores.opening import open_store
from asahi_auth.stores.postgresql import open_postgresql
from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.sqlite import open_sqlite
from asahi_auth.stores.tables import AuthTable
from asahi_core.errors import Overloaded, ServiceUnavailable
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
    assert not await store.has_organization("org_b")


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


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"
    open_store(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "auth.db").stat().st_mode) == 0o600


def test_every_connection_is_durable_and_checks_references(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    engine = open_sqlite(tmp_path / "auth.db", connections=1)
    with engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 2, 1, 5000]
    engine.dispose()


def engine_on(tmp_path: Path, database: str) -> Engine:
    return open_postgresql(database, connections=2) if database else open_sqlite(tmp_path / "auth.db", connections=1)


def test_migrations_make_exactly_the_tables_that_the_code_knows(tmp_path: Path, database: str) -> None:
    engine = engine_on(tmp_path, database)
    schema.migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, AuthTable.metadata) == []
    engine.dispose()


def test_the_head_that_spares_alembic_is_the_newest_migration(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "asahi_auth:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]
    engine = open_sqlite(tmp_path / "auth.db", connections=1)
    schema.migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == schema.HEAD
    engine.dispose()


def test_every_migration_can_be_undone_and_done_again(tmp_path: Path, database: str) -> None:
    engine = engine_on(tmp_path, database)
    schema.migrate(engine)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "asahi_auth:migrations")
        config.set_main_option("path_separator", "os")
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, AuthTable.metadata) == []
    engine.dispose()


async def test_many_who_start_at_once_migrate_once(tmp_path: Path, database: str) -> None:
    async with asyncio.timeout(60):
        stores = await asyncio.gather(*(asyncio.to_thread(open_store, tmp_path, database) for _ in range(4)))
    try:
        await add(stores[0], key(1))
        assert await stores[3].find_key("key_00000001") == key(1)
    finally:
        for store in stores:
            store.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path / "auth.db", connections=1)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE revocations (mine int)")
    with pytest.raises(Exception, match="already exists"):
        schema.migrate(engine)
    assert inspect(engine).get_table_names() == ["revocations"]
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    engine = open_sqlite(tmp_path / "auth.db", connections=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(OSError, match=r"^cannot use the database \S+auth\.db: it was made by a newer version"):
        open_store(tmp_path)


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


async def test_a_server_that_stops_is_told_as_unavailable_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    with postgresql() as server, contextlib.closing(open_store(tmp_path, server.url())) as store:
        await add(store, key(1))
        server.stop()
        with pytest.raises(ServiceUnavailable):
            await store.find_key("key_00000001")
        server.start()
        assert await store.find_key("key_00000001") == key(1)


async def test_a_statement_that_takes_too_long_is_ended(tmp_path: Path, server: PostgreSQL) -> None:
    engine = open_postgresql(server.create_database("auth_slow_statements"), connections=1)
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 50"))
        with pytest.raises(OperationalError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(60)"))
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "5s"
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:secret@h/d", "of no database that can be used; it takes postgresql://"),
        ("no url", "is no URL; it takes postgresql://user:password@host/database"),
        ("postgresql://u:secret@127.0.0.1:1/d", "see that it runs"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_one_line_without_its_password(
    tmp_path: Path, url: str, says: str
) -> None:
    with pytest.raises(OSError, match=says) as caught:
        open_store(tmp_path, url)
    assert "secret" not in str(caught.value)


async def test_what_waits_for_a_thread_is_bounded_and_what_is_given_up_makes_room() -> None:
    lane = Lane("test", threads=1)
    release = threading.Event()
    waiting = [asyncio.create_task(lane.run(lambda: release.wait(GUARD_S))) for _ in range(1000)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await lane.run(lambda: True)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    last = asyncio.create_task(lane.run(lambda: True))
    await asyncio.sleep(0)
    release.set()
    assert await last
    assert all(await asyncio.gather(*waiting))
    lane.close()
