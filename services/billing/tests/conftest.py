"""A ledger on a database of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import structlog

from asahi_billing.domain.ledger import Ledger
from asahi_billing.stores.opening import Engines, open_engines
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import SystemClock
from asahi_core.prices import load_price_book
from asahi_core.sql.databases import Database, database_at
from services.billing.tests.books import Books, open_books
from tests.postgresql import PostgreSQL, postgresql


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return database_at("", tmp_path / "billing.db")


@pytest.fixture
def engines(database: Database) -> Engines:
    """What the store works on; the store closes it."""
    return open_engines(database, 60)


@pytest.fixture
async def store(engines: Engines) -> AsyncIterator[SqlStore]:
    store = SqlStore(
        engines,
        SystemClock(),
        structlog.get_logger(),
        queue_records=5_000,
        read_limit_s=60,
        observe_commit_s=lambda _: None,
    )
    store.open()
    yield store
    await store.close()


@pytest.fixture
def ledger(store: SqlStore) -> Ledger:
    return Ledger(store, load_price_book())


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    return (f"billing_{number}" for number in count())


@pytest.fixture
def on_postgresql(server: PostgreSQL, names: Iterator[str], tmp_path: Path) -> Database:
    """A database of the test's own."""
    return database_at(server.create_database(next(names)), tmp_path / "unused")


@pytest.fixture(params=["sqlite", "postgresql"])
async def books(request: pytest.FixtureRequest) -> AsyncIterator[Books]:
    """The same promises on both databases."""
    name = "database" if request.param == "sqlite" else "on_postgresql"
    async with open_books(request.getfixturevalue(name)) as books:
        yield books
