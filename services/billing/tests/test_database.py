"""The schema, its migrations, and that no question reads more of the ledger than it must."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Select, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.store import OrphanPosition, Span
from asahi_billing.stores import statements
from asahi_billing.stores.alerts import AlertRow
from asahi_billing.stores.opening import SCHEMA, Engines
from asahi_billing.stores.price_sheets import PriceSheetRow
from asahi_billing.stores.report_tables import ImportRow
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
    "first page of an export": statements.exported(ORGANIZATION, SPAN, None, 500),
    "next page of an export": statements.exported(ORGANIZATION, SPAN, (2**60, 7), 500),
    "repeated answers": statements.count_repeated_answers(),
}


def test_migrations_lead_to_the_schema_that_the_code_uses(engines: Engines) -> None:
    with engines.writer.begin() as connection:
        assert EntryRow.metadata is AlertRow.metadata is PriceSheetRow.metadata is ImportRow.metadata
        assert compare_metadata(MigrationContext.configure(connection), EntryRow.metadata) == []
    engines.dispose()


def test_the_newest_migration_is_the_one_that_the_service_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", SCHEMA.migrations)
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA.head


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_question_scans_the_ledger(ledger: Ledger, engines: Engines, question: str) -> None:
    await ledger.record([call(n, organization_id=(ORGANIZATION, OTHER)[n % 2]) for n in range(400)])
    plan = _plan(engines, QUESTIONS[question])
    reads = [step for step in plan if "usage_records" in step]
    assert reads, plan
    for step in reads:
        narrow = step.startswith("SEARCH") or "orphans" in step or "repeated_answers" in step
        assert narrow, f"{question} reads all records: {plan}"


async def test_pages_are_read_in_the_order_of_an_index(ledger: Ledger, engines: Engines) -> None:
    await ledger.record([call(n) for n in range(400)])
    for question in (
        "next page of an export",
        "next page of requests",
        "next page of orphans",
        "next page of everybody's orphans",
    ):
        assert not [step for step in _plan(engines, QUESTIONS[question]) if "TEMP B-TREE" in step], question


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_are_understood_by_postgresql_as_well(question: str) -> None:
    assert "usage_records" in str(QUESTIONS[question].compile(dialect=_POSTGRESQL))


def test_the_table_can_be_made_on_postgresql() -> None:
    made: list[DDLElement] = [CreateTable(USAGE_RECORDS), *map(CreateIndex, USAGE_RECORDS.indexes)]
    ddl = "\n".join(str(one.compile(dialect=_POSTGRESQL)) for one in made)
    assert "id BIGSERIAL NOT NULL" in ddl
    assert "WHERE orphan" in ddl


def _plan(engines: Engines, statement: Select[Any]) -> list[str]:
    def _explain(_c: object, _u: object, sql: str, parameters: object, _x: object, _m: bool) -> tuple[str, object]:
        return f"EXPLAIN QUERY PLAN {sql}", parameters

    event.listen(engines.reader, "before_cursor_execute", _explain, retval=True)
    try:
        with engines.reader.connect() as connection:
            return [str(row[3]) for row in connection.execute(statement).cursor.fetchall()]
    finally:
        event.remove(engines.reader, "before_cursor_execute", _explain)
