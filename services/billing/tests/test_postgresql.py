"""What only a server can do: replicas side by side, broken connections, statements that are ended."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import asahi_billing.wiring  # noqa: F401 - every table is known then, whichever tests run
from asahi.billing.v1 import billing_pb2 as pb
from asahi_billing.domain.store import Span
from asahi_billing.stores.opening import SCHEMA, open_engines
from asahi_billing.stores.spending_tables import EntryRow
from asahi_core.clock import ManualClock
from asahi_core.errors import BudgetReserved, ServiceUnavailable
from asahi_core.sql.databases import Database, database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import alembic_config, migrate
from services.billing.tests.books import MINUTE, Books, budget, hold, open_books, plan
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, call
from services.billing.tests.running import running
from tests.postgresql import PostgreSQL, postgresql

COST = call().cost_nanos


def test_migrations_go_up_and_down(on_postgresql: Database) -> None:
    engines = open_engines(on_postgresql, 60)
    with engines.writer.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": SCHEMA.version_table("postgresql")})
        assert compare_metadata(context, EntryRow.metadata) == []
        command.downgrade(alembic_config(connection, SCHEMA), "base")
        assert inspect(connection).get_table_names() == ["alembic_version_billing"]
    migrate(engines.writer, SCHEMA)
    engines.dispose()


async def test_two_replicas_share_one_budget_and_count_everything_once(on_postgresql: Database) -> None:
    limited = plan(budget(limit_nanos=20 * COST))
    clock = ManualClock(NOON)
    async with open_books(on_postgresql, clock) as one, open_books(on_postgresql, clock) as other:
        both = (one, other)
        outcomes = await asyncio.gather(
            *(both[n % 2].spending.reserve(hold(n, COST, limited), MINUTE) for n in range(100)), return_exceptions=True
        )
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 20
        assert sum(isinstance(outcome, BudgetReserved) for outcome in outcomes) == 80
        records = [call(n, organization_id=(ORGANIZATION, OTHER)[n % 3 == 0]) for n in range(300)]
        told = [limited, plan(budget("user"), organization_id=OTHER)]
        batches = [records[start : start + 20] for start in range(0, 300, 20)]
        recorded = await asyncio.gather(
            *(one.ledger.record(batch, told) for batch in batches),
            *(other.ledger.record(batch[::-1], told[::-1]) for batch in reversed(batches)),
        )
        assert sum(outcome.new for outcome in recorded) == 300
        await one.agree()
        (state,) = await other.spending.budgets(ORGANIZATION, "", "")
        assert state.spent_nanos == 200 * COST


async def test_a_summary_is_the_same_as_on_sqlite(on_postgresql: Database, database: Database) -> None:
    always = Span(0, 2**62)
    async with open_books(on_postgresql) as books, open_books(database) as others:
        for one in (books, others):
            await one.ledger.record([call(n) for n in range(5)])
        summary = await books.ledger.cost_summary(ORGANIZATION, always)
        assert summary == await others.ledger.cost_summary(ORGANIZATION, always)
        assert summary.total_cost_nanos == 5 * COST


async def test_a_connection_that_dies_in_a_transaction_loses_and_doubles_nothing(
    server: PostgreSQL, on_postgresql: Database, tmp_path: Path
) -> None:
    async with open_books(on_postgresql) as books:
        killer = open_engine(database_at(server.url(), tmp_path), "test", connections=1)
        working = asyncio.create_task(_work(books))
        for _ in range(10):
            await asyncio.sleep(0.03)
            await asyncio.to_thread(_end_connections, killer, on_postgresql)
        killer.dispose()
        await working
        await books.agree()
        (state,) = await books.spending.budgets(ORGANIZATION, "", "")
        assert (state.spent_nanos, state.reserved_nanos) == (200 * COST, 0)


async def test_a_server_that_is_away_refuses_and_comes_back(tmp_path: Path) -> None:
    with postgresql() as server:
        async with open_books(database_at(server.create_database("billing"), tmp_path)) as books:
            await books.ledger.record([call(1)], [plan(budget())])
            server.stop()
            with pytest.raises(ServiceUnavailable):
                await books.ledger.record([call(2)])
            with pytest.raises(ServiceUnavailable):
                await books.spending.budgets(ORGANIZATION, "", "")
            server.start()
            assert (await books.ledger.record([call(2)])).new == 1
            await books.agree()


async def test_the_service_runs_on_it_and_tells_its_refusals(server: PostgreSQL, tmp_path: Path) -> None:
    url = server.create_database("as_a_process")
    limited = plan(budget(limit_nanos=COST))
    async with running(tmp_path, DATABASE_URL=url, ASAHI_BILLING_SWEEP_SECONDS="0.05") as (_, service):
        held = await service.Reserve(hold(1, COST, limited))
        assert held.held_until.seconds
        with pytest.raises(BudgetReserved) as refused:
            await service.Reserve(hold(2, COST, limited))
        assert refused.value.retry_after_s
        key = pb.CallKey(organization_id=ORGANIZATION, request_id=hold(1, 0).request_id, attempt=1)
        assert not (await service.RenewHolds(pb.RenewHoldsRequest(calls=[key]))).ended
        assert (await service.ReleaseHold(pb.ReleaseHoldRequest(call=key))).released
        short = hold(3, COST, limited)
        short.lease.seconds = 1
        await service.Reserve(short)
        while (await service.CheckLedger(pb.CheckLedgerRequest())).open_holds:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.05)
        request = pb.RecordUsageRequest(records=[call(3), call(4, cost_nanos=-1)], reject_singly=True)
        answer = await service.RecordUsage(request)
        assert (answer.recorded, [one.index for one in answer.rejected]) == (1, [1])
        assert not (await service.CheckLedger(pb.CheckLedgerRequest())).breaks
    assert not (tmp_path / "billing.db").exists()


async def _work(books: Books) -> None:
    """Holds and settles 200 calls."""
    for number in range(200):
        await _insist(partial(books.spending.reserve, hold(number, COST), MINUTE))
        await _insist(partial(books.ledger.record, [call(number)]))


async def _insist(step: Callable[[], Awaitable[object]]) -> None:
    """Does a step again until it is done."""
    while True:
        try:
            await step()
        except ServiceUnavailable:
            await asyncio.sleep(0.005)
        else:
            return


def _end_connections(engine: Engine, database: Database) -> None:
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": database.url.database},
        )
