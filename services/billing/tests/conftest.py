"""A ledger on a database of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL, Engine

from asahi_billing.domain.ledger import Ledger
from asahi_billing.migrations import upgrade
from asahi_billing.stores.engine import open_writer
from asahi_billing.stores.sql import SqlUsageStore
from asahi_core.clock import SystemClock
from asahi_core.prices import load_price_book


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
async def store(url: URL, writer: Engine) -> AsyncIterator[SqlUsageStore]:
    store = SqlUsageStore(
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
def ledger(store: SqlUsageStore) -> Ledger:
    return Ledger(store, load_price_book())
