"""What services are promised of their databases, on real files and on a real PostgreSQL server."""

import asyncio
import contextlib
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from asahi_core.errors import Overloaded, ServiceUnavailable
from asahi_core.sql.availability import told_as_unavailable
from asahi_core.sql.databases import Database, database_at
from asahi_core.sql.engines import limit_statements, open_engine, open_reader
from asahi_core.sql.lane import Lane
from asahi_core.sql.schema import Schema, alembic_config, migrate, open_migrated, revision
from tests.postgresql import PostgreSQL, postgresql

GUARD_S = 120.0
_OPENERS = 4
_FILES = 100
"""Without another try about every tenth has an opener that fails."""
_ENV = """
from alembic import context
attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
"""
_FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String))
def downgrade():
    op.drop_table("things")
"""
_SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.add_column("things", sa.Column("colour", sa.String))
def downgrade():
    op.drop_column("things", "colour")
"""


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A new database."""
    url = ""
    if request.param == "PostgreSQL":
        running: PostgreSQL = request.getfixturevalue("server")
        url = running.create_database(f"core_{abs(hash(tmp_path)):x}")
    return database_at(url, tmp_path / "data" / "things.db")


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    """Two migrations in a folder."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(_ENV)
    (versions / "r0001.py").write_text(_FIRST)
    (versions / "r0002.py").write_text(_SECOND)
    return Schema("things", "0002", str(tmp_path / "migrations"))


@pytest.fixture
def engine(database: Database, schema: Schema) -> Iterator[Engine]:
    with disposing(open_migrated(database, schema, connections=4)) as opened:
        yield opened


@contextlib.contextmanager
def disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [str(name) for (name,) in connection.execute(text("SELECT name FROM things ORDER BY id"))]


def add(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO things (name) VALUES (:name)"), {"name": name})


def change_its_mind(engine: Engine) -> NoReturn:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO things (name) VALUES ('dropped')"))
        raise LookupError("changed my mind")


def test_what_was_committed_survives_reopening_and_what_failed_does_not(database: Database, schema: Schema) -> None:
    with disposing(open_migrated(database, schema, connections=1)) as engine:
        add(engine, "kept")
        with pytest.raises(LookupError):
            change_its_mind(engine)
    with disposing(open_migrated(database, schema, connections=1)) as engine:
        assert names(engine) == ["kept"]


def test_migrations_go_up_down_and_up_again(engine: Engine, schema: Schema) -> None:
    with engine.begin() as connection:
        config = alembic_config(connection, schema)
        command.downgrade(config, "0001")
        assert [column["name"] for column in inspect(connection).get_columns("things")] == ["id", "name"]
        command.downgrade(config, "base")
        assert not inspect(connection).has_table("things")
        assert revision(connection, schema) is None
    migrate(engine, schema)
    with engine.connect() as connection:
        assert revision(connection, schema) == "0002"


async def test_replicas_that_start_at_once_migrate_once(database: Database, schema: Schema) -> None:
    async with asyncio.timeout(GUARD_S * 2):
        engines = await asyncio.gather(
            *(asyncio.to_thread(open_migrated, database, schema, connections=1) for _ in range(4))
        )
    for opened in engines:
        assert names(opened) == []
        opened.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(database: Database, schema: Schema) -> None:
    with disposing(open_engine(database, "things", connections=1)) as engine:
        second = Path(schema.migrations) / "versions" / "r0002.py"
        second.write_text(_SECOND.replace('add_column("things"', 'add_column("nothing"'))
        with pytest.raises(DBAPIError):
            migrate(engine, schema)
        assert not inspect(engine).has_table("things")


def test_a_database_of_a_newer_version_is_refused_in_one_line(database: Database, schema: Schema) -> None:
    open_migrated(database, schema, connections=1).dispose()
    older = Schema(schema.service, "0001", schema.migrations)
    (Path(schema.migrations) / "versions" / "r0002.py").unlink()
    with pytest.raises(OSError, match=r"^cannot use the database .* was made by a newer version of Asahi; run that$"):
        open_migrated(database, older, connections=1)


def test_two_services_share_a_postgresql_database(server: PostgreSQL, tmp_path: Path, schema: Schema) -> None:
    database = database_at(server.create_database("core_shared"), tmp_path / "unused")
    open_migrated(database, schema, connections=1).dispose()
    (Path(schema.migrations) / "versions" / "r0001.py").write_text(_FIRST.replace("things", "others"))
    (Path(schema.migrations) / "versions" / "r0002.py").write_text(_SECOND.replace("things", "others"))
    with disposing(open_migrated(database, Schema("others", "0002", schema.migrations), connections=1)) as engine:
        tables = set(inspect(engine).get_table_names())
    assert tables == {"things", "others", "alembic_version_things", "alembic_version_others"}


def test_a_reader_sees_one_state_and_changes_nothing(engine: Engine, database: Database) -> None:
    add(engine, "before")
    with disposing(open_reader(database, "things", connections=1)) as reader:
        with reader.begin() as reading:
            count = text("SELECT count(*) FROM things")
            assert reading.execute(count).scalar() == 1
            add(engine, "after")
            assert reading.execute(count).scalar() == 1
        with pytest.raises(DBAPIError, match=r"(?i)read.?only"):
            add(reader, "by a reader")
    assert names(engine) == ["before", "after"]


def test_look_ups_do_not_wait_for_a_change(engine: Engine) -> None:
    looking = engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.begin() as changing:
        changing.execute(text("INSERT INTO things (name) VALUES ('late')"))
        assert names(looking) == []
    assert names(looking) == ["late"]


def test_parameters_stay_out_of_errors(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(text("INSERT INTO nothing (name) VALUES (:name)"), {"name": "a secret"})
    assert "a secret" not in str(caught.value)


def test_mistakes_in_sql_are_not_told_as_unavailable(engine: Engine) -> None:
    mistake = (OperationalError, ProgrammingError)
    with pytest.raises(mistake), told_as_unavailable("store of things"), engine.begin() as connection:
        connection.execute(text("SELECT * FROM nothing"))


def test_a_file_is_for_its_owner_alone_and_its_connections_durable(tmp_path: Path) -> None:
    database = database_at("", tmp_path / "made" / "for it" / "things.db")
    assert stat.S_IMODE((tmp_path / "made" / "for it").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "made" / "for it" / "things.db").stat().st_mode) == 0o600
    with disposing(open_engine(database, "things", connections=1)) as engine, engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 2, 1, 5000]


def test_another_process_that_reads_a_file_in_use_leaves_its_log_alone(tmp_path: Path) -> None:
    file = tmp_path / "things.db"
    with disposing(open_engine(database_at("", file), "things", connections=1)) as engine:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE things (id INTEGER)"))
        database_at("", file)
        for kept in range(2):
            assert _read_elsewhere(file) == kept
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO things VALUES (1)"))
        assert _read_elsewhere(file) == 2


def _read_elsewhere(file: Path) -> int:
    script = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM things").fetchone()[0])
"""
    ran = subprocess.run([sys.executable, "-c", script, str(file)], check=True, capture_output=True, text=True)
    return int(ran.stdout)


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot use .*things\.db.*set ASAHI_DATA_DIR"):
        database_at("", tmp_path / "file" / "things.db")


def test_who_opens_a_new_file_at_the_same_time_is_never_refused(tmp_path: Path) -> None:
    barrier = threading.Barrier(_OPENERS)

    def open_one(database: Database) -> None:
        with disposing(open_engine(database, "things", connections=1)) as engine:
            barrier.wait(GUARD_S)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS things (id INTEGER)"))

    with ThreadPoolExecutor(_OPENERS) as openers:
        for number in range(_FILES):
            list(openers.map(open_one, [database_at("", tmp_path / f"{number}.db")] * _OPENERS))


def test_a_statement_on_a_file_ends_when_its_time_is_over(tmp_path: Path) -> None:
    database = database_at("", tmp_path / "things.db")
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    with disposing(open_reader(database, "things", connections=1)) as engine, engine.connect() as connection:
        limit_statements(connection, lambda: True)
        with pytest.raises(OperationalError, match="interrupted"):
            connection.execute(endless)


def test_a_file_that_stays_locked_is_told_as_unavailable(tmp_path: Path, schema: Schema) -> None:
    database = database_at("", tmp_path / "things.db")
    with (
        disposing(open_migrated(database, schema, connections=1)) as one,
        disposing(open_engine(database, "things", connections=1, statement_s=0.05)) as other,
        one.begin(),
        pytest.raises(ServiceUnavailable, match="store of things") as caught,
        told_as_unavailable("store of things"),
    ):
        add(other, "x")
    assert caught.value.retry_after_s is not None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:secret@h/d", "of no database that can be used; it takes postgresql://"),
        ("no url", "is no URL; it takes postgresql://user:password@host/database"),
        ("postgresql://u:secret@h:port/d", "is no URL; it takes postgresql://user:password@host/database"),
        ("postgresql://u:secret@127.0.0.1:1/d", "see that it runs"),
        ("postgresql://u:secret@127.0.0.1:1/d?colour=red", "colour"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_in_one_line_without_its_password(
    tmp_path: Path, schema: Schema, url: str, says: str
) -> None:
    with pytest.raises(OSError, match=says) as caught:
        open_migrated(database_at(url, tmp_path / "unused"), schema, connections=1)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, schema: Schema) -> None:
    file = tmp_path / "things.db"
    file.write_text("This is no database at all, and it is long enough to be taken for one.")
    with pytest.raises(OSError, match=f"^cannot use the database {file}: file is not a database; mend or remove it"):
        open_migrated(database_at("", file), schema, connections=1)


def test_a_connection_lost_in_the_middle_of_a_change_changes_nothing_and_the_next_one_works(
    server: PostgreSQL, tmp_path: Path, schema: Schema
) -> None:
    url = server.create_database("core_lost")
    with disposing(open_migrated(database_at(url, tmp_path), schema, connections=2)) as engine:

        def lose() -> NoReturn:
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO things (name) VALUES ('lost')"))
                pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (pid,))
                connection.execute(text("INSERT INTO things (name) VALUES ('lost as well')"))
            raise AssertionError("the connection was not lost")

        with pytest.raises(ServiceUnavailable), told_as_unavailable("store of things"):
            lose()
        add(engine, "kept")
        assert names(engine) == ["kept"]


def test_a_server_that_stops_is_unavailable_and_used_again_when_it_is_back(tmp_path: Path, schema: Schema) -> None:
    with postgresql() as server:
        database = database_at(server.url(), tmp_path / "unused")
        with disposing(open_migrated(database, schema, connections=2)) as engine:
            add(engine, "before")
            server.stop()
            with pytest.raises(ServiceUnavailable), told_as_unavailable("store of things"):
                names(engine)
            server.start()
            assert names(engine) == ["before"]


def test_a_statement_that_takes_too_long_is_ended_and_told_as_unavailable(server: PostgreSQL, tmp_path: Path) -> None:
    database = database_at(server.create_database("core_slow"), tmp_path / "unused")
    for opened in (open_engine, open_reader):
        with (
            disposing(opened(database, "things", connections=1, statement_s=0.1)) as engine,
            pytest.raises(ServiceUnavailable),
            told_as_unavailable("store of things"),
            engine.connect() as connection,
        ):
            connection.execute(text("SELECT pg_sleep(60)"))


def test_connections_are_bounded(server: PostgreSQL, tmp_path: Path) -> None:
    database = database_at(server.create_database("core_bounded"), tmp_path / "unused")
    with (
        disposing(open_engine(database, "things", connections=1)) as engine,
        engine.connect(),
        pytest.raises(ServiceUnavailable),
        told_as_unavailable("store of things"),
    ):
        names(engine)


async def test_what_waits_for_a_thread_is_bounded_and_what_is_given_up_makes_room() -> None:
    lane = Lane("test", 1, store="store of things", most_under_way=3)
    release = threading.Event()
    waiting = [asyncio.create_task(lane.run(lambda: release.wait(GUARD_S))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="store of things"):
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
