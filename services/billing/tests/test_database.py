"""The schema, its migrations, and that no question reads more of the ledger than it must."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Select, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.store import OrphanPosition, Span
from asahi_billing.migrations import HEAD, UnknownSchema, upgrade
from asahi_billing.stores import statements
from asahi_billing.stores.engine import limit_statements, open_reader, open_writer
from asahi_billing.stores.spending_tables import EntryRow
from asahi_billing.stores.tables import USAGE_RECORDS
from services.billing.tests.records import ORGANIZATION, OTHER, call, request_id

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
SPAN = Span(0, 2**62)
QUESTIONS = {
    "totals": statements.totals(ORGANIZATION, SPAN),
    "savings": statements.savings(ORGANIZATION, SPAN),
    "first page of requests": statements.newest_requests(ORGANIZATION, "", 50),
    "next page of requests": statements.newest_requests(ORGANIZATION, request_id(100), 50),
    "request": statements.request(ORGANIZATION, request_id(100)),
    "orphans": statements.newest_orphans(ORGANIZATION, None, 50),
    "next page of orphans": statements.newest_orphans(ORGANIZATION, OrphanPosition(2**60, 7), 50),
    "everybody's orphans": statements.newest_orphans("", None, 50),
    "next page of everybody's orphans": statements.newest_orphans("", OrphanPosition(2**60, 7), 50),
    "repeated answers": statements.count_repeated_answers(),
}


def test_migrations_lead_to_the_schema_that_the_code_uses(url: URL) -> None:
    engine = open_writer(url)
    upgrade(engine)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), EntryRow.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_that_the_service_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", "asahi_billing:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_of_services_that_start_at_once_one_migrates_and_all_go_on(url: URL) -> None:
    engines = [open_writer(url) for _ in range(4)]
    await asyncio.gather(*(asyncio.to_thread(upgrade, engine) for engine in engines))
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(url: URL) -> None:
    engine = open_writer(url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnknownSchema, match="9999"):
        upgrade(engine)
    engine.dispose()


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_question_scans_the_ledger(ledger: Ledger, url: URL, question: str) -> None:
    await ledger.record([call(n, organization_id=(ORGANIZATION, OTHER)[n % 2]) for n in range(400)])
    plan = _plan(url, QUESTIONS[question])
    reads = [step for step in plan if "usage_records" in step]
    assert reads, plan
    for step in reads:
        narrow = step.startswith("SEARCH") or "orphans" in step or "repeated_answers" in step
        assert narrow, f"{question} reads all records: {plan}"


async def test_pages_are_read_in_the_order_of_an_index(ledger: Ledger, url: URL) -> None:
    await ledger.record([call(n) for n in range(400)])
    for question in ("next page of requests", "next page of orphans", "next page of everybody's orphans"):
        assert not [step for step in _plan(url, QUESTIONS[question]) if "TEMP B-TREE" in step], question


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_are_understood_by_postgresql_as_well(question: str) -> None:
    assert "usage_records" in str(QUESTIONS[question].compile(dialect=_POSTGRESQL))


def test_the_table_can_be_made_on_postgresql() -> None:
    made: list[DDLElement] = [CreateTable(USAGE_RECORDS), *map(CreateIndex, USAGE_RECORDS.indexes)]
    ddl = "\n".join(str(one.compile(dialect=_POSTGRESQL)) for one in made)
    assert "id BIGSERIAL NOT NULL" in ddl
    assert "WHERE orphan" in ddl
    assert "ON CONFLICT (organization_id, request_id, attempt) DO NOTHING" in str(
        statements.append("postgresql").compile(dialect=_POSTGRESQL)
    )


def test_a_statement_ends_when_its_time_is_over(url: URL) -> None:
    engine = open_reader(url, 1, 60)
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    with engine.connect() as connection:
        limit_statements(connection, lambda: True)
        with pytest.raises(Exception, match="interrupted"):
            connection.execute(endless)
    engine.dispose()


def test_what_is_committed_is_on_disk(url: URL) -> None:
    engine = open_writer(url)
    with engine.connect() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    engine.dispose()
    assert settings == ["wal", 2]


def _plan(url: URL, statement: Select[Any]) -> list[str]:
    engine = open_reader(url, 1, 60)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _explain(_c: object, _u: object, sql: str, parameters: object, _x: object, _m: bool) -> tuple[str, object]:
        return f"EXPLAIN QUERY PLAN {sql}", parameters

    with engine.connect() as connection:
        plan = [str(row[3]) for row in connection.execute(statement).cursor.fetchall()]
    engine.dispose()
    return plan
