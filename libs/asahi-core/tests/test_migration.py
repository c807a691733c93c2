"""Bringing a database up apart from the services that use it: once, waited for, and told plainly when it fails."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from asahi_core.sql.databases import Database, database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.migration import MigrationFailed, bring_up, migration_options
from asahi_core.sql.schema import Schema, migrate, open_migrated, revision

_ENV = """
from alembic import context
attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
"""
_STEP = """
from alembic import op
revision, down_revision = "{revision}", {before}
def upgrade():
    op.execute("{statement}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(_ENV)
    _step(tmp_path / "migrations", "0001", None, "CREATE TABLE things (id INTEGER)")
    _step(tmp_path / "migrations", "0002", "0001", "ALTER TABLE things ADD COLUMN name VARCHAR")
    return tmp_path / "migrations"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return database_at("", tmp_path / "things.db")


def _step(folder: Path, step: str, before: str | None, statement: str) -> None:
    text_of = _STEP.format(revision=step, before=repr(before), statement=statement)
    (folder / "versions" / f"r{step}.py").write_text(text_of)


def _found(database: Database, schema: Schema) -> str | None:
    engine = open_engine(database, schema.service, connections=1)
    try:
        with engine.connect() as connection:
            return revision(connection, schema)
    finally:
        engine.dispose()


def _bring_up(database: Database, schema: Schema, *, only_wait: bool = False, within_s: float = 30) -> list[str]:
    told: list[str] = []
    bring_up(database, schema, only_wait=only_wait, within_s=within_s, tell=told.append)
    return told


def test_a_new_database_is_brought_up_and_the_second_time_left_alone(database: Database, folder: Path) -> None:
    schema = Schema("things", "0002", str(folder))
    assert _bring_up(database, schema) == ["migrating from nothing to 0002", "the schema is at 0002"]
    assert _bring_up(database, schema) == ["the schema is at 0002"]


async def test_who_waits_ends_when_somebody_else_has_migrated(database: Database, folder: Path) -> None:
    schema = Schema("things", "0002", str(folder))
    waiting = asyncio.create_task(asyncio.to_thread(_bring_up, database, schema, only_wait=True))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await asyncio.to_thread(_bring_up, database, schema)
    told = await asyncio.wait_for(waiting, 30)
    assert told[0].startswith("waiting: the schema is at nothing, and this version needs 0002")
    assert told[-1] == "the schema is at 0002"


def test_a_schema_of_a_newer_version_is_left_alone_by_the_older_one(database: Database, folder: Path) -> None:
    _bring_up(database, Schema("things", "0002", str(folder)))
    (folder / "versions" / "r0002.py").unlink()
    older = Schema("things", "0001", str(folder))
    for only_wait in (True, False):
        [told] = _bring_up(database, older, only_wait=only_wait)
        assert told == "the schema is at 0002, newer than 0001, which this version was made for; left as it is"


def test_a_migration_that_fails_says_why_and_changes_nothing(database: Database, folder: Path) -> None:
    _step(folder, "0002", "0001", "ALTER TABLE nothing ADD COLUMN name VARCHAR")
    schema = Schema("things", "0002", str(folder))
    with pytest.raises(MigrationFailed, match=r"the migration to 0002 failed, nothing was changed: .*nothing"):
        _bring_up(database, schema)
    assert _found(database, schema) is None


def test_a_database_that_does_not_answer_is_named_without_its_password(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    database = database_at(f"postgresql://asahi:hidden-word@127.0.0.1:{port}/asahi", tmp_path / "unused")
    with pytest.raises(MigrationFailed, match="gave up after 0 s: the database of DATABASE_URL does not") as failed:
        _bring_up(database, Schema("things", "0002", str(folder)), within_s=0)
    assert "hidden-word" not in str(failed.value)


def test_a_service_told_not_to_migrate_leaves_the_database_as_it_is(database: Database, folder: Path) -> None:
    schema = Schema("things", "0002", str(folder))
    engine = open_migrated(database, schema, connections=1, migrate_first=False)
    assert not inspect(engine).has_table("things")
    migrate(engine, schema)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM things")).scalar() == 0
    engine.dispose()


def test_options_wait_for_five_minutes_unless_told_otherwise() -> None:
    assert (migration_options("auth", []).wait, migration_options("auth", []).seconds) == (False, 300)
    told = migration_options("auth", ["--wait", "--seconds", "5"])
    assert (told.wait, told.seconds) == (True, 5)


def test_who_waits_for_a_migration_ends_at_sigterm_also_as_a_container_s_first_process() -> None:
    script = (
        "import sys; from asahi_core.sql.migration import migration_options\n"
        "migration_options('auth', []); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM  # by a handler: a first process has no default
