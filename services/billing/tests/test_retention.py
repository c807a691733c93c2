"""Usage that is older than it is kept goes, with who asked; sums stay, and everything still adds up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog
from sqlalchemy import Table, select

from asahi.billing.v1.billing_pb2 import SpendingPlan
from asahi.type.v1.policy_pb2 import BudgetWindow
from asahi_billing.domain.retention import DEFAULT_DAYS, Retention
from asahi_billing.domain.store import Span
from asahi_billing.stores.analytics import SqlAnalytics
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.retention import SqlRetention
from asahi_billing.stores.spending_tables import ACCOUNTS, ENTRIES, HOLDS
from asahi_billing.stores.tables import USAGE_RECORDS
from asahi_core.clock import ManualClock
from asahi_core.sql.databases import Database
from services.billing.tests.books import Books, budget, hold, open_books, plan
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, call

DAY = 86_400.0
EVER = Span(0, 2**62)
COST = call().cost_nanos


@dataclass(frozen=True, slots=True)
class Kept:
    """Books whose clock stands 600 days before noon, and the job that drops."""

    books: Books
    retention: Retention

    async def spend(self, days: float, *plans: SpendingPlan, organization_id: str = ORGANIZATION) -> None:
        """Records a call `days` after noon, at that time."""
        self._stand(days)
        record = call(int((days + 1000) * 1000), seconds=days * DAY, user_id="ada", organization_id=organization_id)
        record.tags["team"] = "search"
        await self.books.ledger.record([record], plans)

    async def hold(self, days: float, *plans: SpendingPlan) -> None:
        self._stand(days)
        await self.books.spending.reserve(hold(7, 100, *plans), 60 * 10**9)

    async def drop(self) -> dict[str, int]:
        self._stand(0)
        return await self.retention.drop()

    async def days(self, organization_id: str = ORGANIZATION) -> list[float]:
        """Whose records are kept, in days after noon."""
        records = await self.books.store.calls_after(organization_id, EVER, 0, 100)
        noon_ns = int(NOON.timestamp() * 10**9)
        return [(record.occurred_at.ToNanoseconds() - noon_ns) / DAY / 10**9 for _, record in records]

    async def rows(self, table: Table) -> int:
        return await self.books.store.read(lambda connection: len(connection.execute(select(table)).all()))

    async def costs(self, dimension: str) -> dict[str, int]:
        found = await SqlAnalytics(self.books.store).by_value(ORGANIZATION, dimension, EVER)
        return {value: figures.cost_nanos for value, figures in found.items() if figures.calls}

    def _stand(self, days: float) -> None:
        at = NOON.timestamp() + days * DAY
        assert at >= self.books.clock.now().timestamp()
        self.books.clock.advance(at - self.books.clock.now().timestamp())


@pytest.fixture(params=["sqlite", "postgresql"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    place: Database = request.getfixturevalue("database" if request.param == "sqlite" else "on_postgresql")
    clock = ManualClock(NOON.fromtimestamp(NOON.timestamp() - 600 * DAY, NOON.tzinfo))
    async with open_books(place, clock) as books:
        desk = Desk(place, clock, structlog.get_logger(), read_limit_s=60)
        yield Kept(books, Retention(SqlRetention(desk), clock))
        await desk.close()


def days_plan(days: int, *windows: "BudgetWindow.ValueType") -> SpendingPlan:
    found = plan(*(budget(window=window, blocks=False) for window in windows))
    found.usage_days = days
    return found


async def test_what_is_older_goes_with_who_asked_and_sums_stay(kept: Kept) -> None:
    told = days_plan(10, BudgetWindow.BUDGET_WINDOW_DAY)
    for days in (-30.0, -20.0, -11.0, -10.0, -5.0, -0.1):
        await kept.spend(days, told)
    await kept.spend(-0.05, organization_id=OTHER)
    before = await kept.costs("model")
    accounts = await kept.rows(ACCOUNTS)
    assert await kept.drop() == {ORGANIZATION: 3}
    assert await kept.days() == pytest.approx([-10.0, -5.0, -0.1])
    assert await kept.days(OTHER) == pytest.approx([-0.05])
    assert await kept.costs("model") == before == {call().model: 6 * COST}
    assert await kept.costs("user") == {"ada": 3 * COST}
    assert await kept.costs("api_key") == {"key_1": 3 * COST}
    assert await kept.costs("tag:team") == {"search": 3 * COST}
    assert (await kept.books.ledger.cost_summary(ORGANIZATION, EVER)).total_cost_nanos == 6 * COST
    assert await kept.rows(ACCOUNTS) == accounts - 3
    assert await kept.rows(ENTRIES) == 3
    await kept.books.agree()
    assert await kept.drop() == {}


async def test_a_window_in_which_records_are_dropped_still_adds_up_and_goes_when_it_is_over(kept: Kept) -> None:
    told = days_plan(10, BudgetWindow.BUDGET_WINDOW_MONTH, BudgetWindow.BUDGET_WINDOW_WEEK)
    for days in (-40.0, -18.0, -17.0, -1.0):
        await kept.spend(days, told)
    assert await kept.drop() == {ORGANIZATION: 3}
    assert await kept.days() == pytest.approx([-1.0])
    spent = [state.spent_nanos for state in await kept.books.spending.budgets(ORGANIZATION, "key_1", "")]
    assert spent == [3 * COST, COST]
    await kept.books.agree()
    kept.books.clock.advance(60 * DAY)
    assert await kept.retention.drop() == {ORGANIZATION: 1}
    assert await kept.rows(ACCOUNTS) == await kept.rows(ENTRIES) == 0
    await kept.books.agree()


async def test_a_hold_that_is_open_keeps_its_time(kept: Kept) -> None:
    told = days_plan(7, BudgetWindow.BUDGET_WINDOW_HOUR)
    await kept.spend(-30.0, told)
    await kept.hold(-20.0, told)
    await kept.spend(-10.0, told)
    assert await kept.drop() == {ORGANIZATION: 1}
    assert await kept.rows(HOLDS) == 1
    await kept.books.agree()
    await kept.books.spending.expire()
    assert await kept.drop() == {ORGANIZATION: 1}
    assert await kept.rows(HOLDS) == 0
    assert await kept.days() == []
    await kept.books.agree()


async def test_who_never_said_keeps_usage_for_the_default_time(kept: Kept) -> None:
    for days in (-DEFAULT_DAYS - 1.0, -DEFAULT_DAYS + 1.0):
        await kept.spend(days)
    assert await kept.drop() == {ORGANIZATION: 1}
    assert await kept.days() == pytest.approx([1.0 - DEFAULT_DAYS])


async def test_many_go_in_short_transactions(kept: Kept) -> None:
    kept.books.clock.advance(500 * DAY)
    records = [call(number, seconds=-90 * DAY + number / 100) for number in range(4_500)]
    for start in range(0, len(records), 500):
        await kept.books.ledger.record(records[start : start + 500], [days_plan(30)])
    assert await kept.drop() == {ORGANIZATION: 4_500}
    assert await kept.rows(USAGE_RECORDS) == 0
    await kept.books.agree()
