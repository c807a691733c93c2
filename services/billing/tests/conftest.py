"""A ledger on a database of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL, Engine

from asahi_billing.domain.ledger import Ledger
from asahi_billing.migrations import upgrade
from asahi_billing.stores.engine import database_url, open_writer
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import SystemClock
from asahi_core.prices import load_price_book
from services.billing.tests.books import Books, open_books
from tests.postgresql import PostgreSQL, postgresql


@pytest.fixture
def url(tmp_path: Path) -> URL:
    return URL.create("sqlite", database=str(tmp_path / "billing.db"))


@pytest.fixture
def writer(url: URL) -> Engine:
    """What the store writes through; the store closes it."""
    writer = open_writer(url)
    upgrade(writer)
    return writer


@pytest.fixture
async def store(url: URL, writer: Engine) -> AsyncIterator[SqlStore]:
    store = SqlStore(
        writer,
        url,
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
def postgresql_url(server: PostgreSQL, names: Iterator[str]) -> URL:
    """A database of the test's own."""
    return database_url(server.create_database(next(names)))


@pytest.fixture(params=["sqlite", "postgresql"])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    """The same promises on both databases."""
    if request.param == "sqlite":
        url = URL.create("sqlite", database=str(tmp_path / "billing.db"))
    else:
        url = request.getfixturevalue("postgresql_url")
    async with open_books(url) as books:
        yield books
