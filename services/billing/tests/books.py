"""A ledger with budgets on a database, and the words to ask it with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Engine, text

from asahi.billing.v1.billing_pb2 import ReserveRequest, SpendingPlan
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.spending import Spending
from asahi_billing.stores.opening import open_engines
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_core.sql.databases import Database
from services.billing.tests.records import NOON, ORGANIZATION, request_id

_SILENT = 50
MINUTE = 60 * 10**9
_ON_SQLITE = "CREATE TRIGGER broken BEFORE INSERT ON {} WHEN NEW.request_id = '{}' BEGIN {} END"


@dataclass(frozen=True, slots=True)
class Books:
    """All of billing's domain on one database, at noon."""

    ledger: Ledger
    spending: Spending
    store: SqlStore
    writer: Engine
    clock: ManualClock

    def now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 10**9)

    async def agree(self) -> None:
        """Every total is what its entries add up to."""
        found = await self.spending.check("")
        assert not found.breaks, found.breaks

    async def break_on(self, request: str, table: str = "usage_records") -> None:
        """Lets the database fail on records of a request, or on its rows of another table."""
        sqlite = self.writer.dialect.name == "sqlite"
        with self.writer.begin() as connection:
            if sqlite:
                connection.execute(text(_ON_SQLITE.format(table, request, "SELECT RAISE(ABORT, 'no');")))
            else:
                check = f"CHECK (request_id <> '{request}')"
                connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT broken {check}"))


@asynccontextmanager
async def open_books(database: Database, clock: ManualClock | None = None) -> AsyncIterator[Books]:
    """Opens the books on a database, as a process does that starts."""
    engines = open_engines(database, 60)
    clock = clock or ManualClock(NOON)
    store = SqlStore(
        engines,
        clock,
        structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(_SILENT)),
        queue_records=20_000,
        read_limit_s=60,
        observe_commit_s=lambda _: None,
    )
    store.open()
    try:
        yield Books(Ledger(store, load_price_book()), Spending(store, clock), store, engines.writer, clock)
    finally:
        await store.close()


def budget(per: str = "organization", *, limit_nanos: int = 10**12, blocks: bool = True, **fields: Any) -> Budget:
    """A budget a day."""
    action = BudgetAction.BUDGET_ACTION_BLOCK if blocks else BudgetAction.BUDGET_ACTION_ALERT
    fields = {"window": BudgetWindow.BUDGET_WINDOW_DAY, **fields}
    return Budget(per=per, limit_nanos=limit_nanos, action=action, **fields)


def plan(*budgets: Budget, version: int = 1, organization_id: str = ORGANIZATION, key: str = "") -> SpendingPlan:
    """A plan of the organisation, or of a key."""
    return SpendingPlan(
        organization_id=organization_id, api_key_id=key, policy_version=version, budgets=budgets, timezone="UTC"
    )


def key_plan(key: str, *budgets: Budget) -> SpendingPlan:
    """A plan of a key."""
    return plan(*budgets, key=key)


def hold(number: int, nanos: int, *plans: SpendingPlan, attempt: int = 1) -> ReserveRequest:
    """Asks for `call(number)`'s upper bound; against a large budget if none is given."""
    return ReserveRequest(
        organization_id=ORGANIZATION,
        request_id=request_id(number),
        attempt=attempt,
        upper_bound_nanos=nanos,
        api_key_id="key_1",
        plans=plans or [plan(budget())],
    )
