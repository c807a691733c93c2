"""The tables over time, on both real databases."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from asahi_auth.domain.organizations import Organization
from asahi_auth.stores.opening import SCHEMA, open_store
from asahi_auth.stores.tables import AuthTable
from asahi_core.clock import SystemClock
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import alembic_config, migrate


@pytest.fixture
def engine(tmp_path: Path, database: str) -> Iterator[Engine]:
    """On a new, empty database."""
    opened = open_engine(database_at(database, tmp_path / "auth.db"), "auth", connections=2)
    yield opened
    opened.dispose()


def differences(connection: Connection) -> list[object]:
    """What the tables of the database lack of those that the code knows, or have beyond."""
    opts = {"compare_type": True, "version_table": SCHEMA.version_table(connection.dialect.name)}
    return list(compare_metadata(MigrationContext.configure(connection, opts=opts), AuthTable.metadata))


def test_migrations_make_exactly_the_tables_that_the_code_knows(engine: Engine) -> None:
    migrate(engine, SCHEMA)
    with engine.connect() as connection:
        assert differences(connection) == []


def test_the_head_that_spares_alembic_is_the_newest_migration(engine: Engine) -> None:
    with engine.begin() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection, SCHEMA))
        assert scripts.get_heads() == [SCHEMA.head]


def test_every_migration_can_be_undone_and_done_again(engine: Engine) -> None:
    migrate(engine, SCHEMA)
    with engine.begin() as connection:
        config = alembic_config(connection, SCHEMA)
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == [SCHEMA.version_table(connection.dialect.name)]
        command.upgrade(config, "head")
        assert differences(connection) == []


async def test_keys_and_organizations_of_the_first_schema_are_kept(
    engine: Engine, tmp_path: Path, database: str
) -> None:
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection, SCHEMA), "0001")
        connection.execute(
            text(
                "INSERT INTO organizations (id, name, user_id, email, created_at) "
                "VALUES ('org_a', 'A', 'ada', '', '2026-01-01 00:00:00.000000+00:00')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO api_keys (id, sha256, hash_scheme, organization_id, name, user_id, scopes, allowed_models,"
                " created_at, created_by, revoked_by) VALUES ('key_00000001', :sha256, 'sha256', 'org_a', 'k', '',"
                " :scopes, '[]', '2026-01-01 00:00:00.000000+00:00', 'signup', '')"
            ),
            {"sha256": b"1" * 32, "scopes": '["all"]'},
        )
    with closing(open_store(tmp_path, database)) as store:
        principal = await store.find_principal("key_00000001")
    assert principal is not None
    assert (principal.organization.name, principal.organization.policy_version) == ("A", 0)
    assert (principal.key.scopes, principal.key.rate_limits, principal.key.rotated_from) == (("all",), {}, "")


async def test_many_who_start_at_once_migrate_once(tmp_path: Path, database: str) -> None:
    async with asyncio.timeout(60):
        stores = await asyncio.gather(*(asyncio.to_thread(open_store, tmp_path, database) for _ in range(4)))
    organization = Organization("org_a", "A", "", "", SystemClock().now())
    try:
        await stores[0].change(lambda transaction: transaction.add_organization(organization))
        assert await stores[3].find_organization("org_a")
    finally:
        for store in stores:
            store.close()


def test_a_database_of_a_newer_version_is_refused_in_one_line(engine: Engine, tmp_path: Path, database: str) -> None:
    migrate(engine, SCHEMA)
    table = SCHEMA.version_table(engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET version_num = '9999'"))  # noqa: S608 - a name of ours
    with pytest.raises(OSError, match=r"^cannot use the database .*: it was made by a newer version of Asahi"):
        open_store(tmp_path, database)
