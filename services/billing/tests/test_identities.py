"""Who asked can be taken out of the ledger: no table names them any more, and everything still adds up."""

from collections.abc import AsyncIterator

import pytest
import structlog
from sqlalchemy import select
from sqlmodel import SQLModel

from asahi_billing.domain.alerts import Alerts
from asahi_billing.domain.identities import Identities
from asahi_billing.domain.store import Span
from asahi_billing.stores.alerts import SqlAlerts
from asahi_billing.stores.analytics import SqlAnalytics
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.identities import SqlIdentities
from asahi_core.errors import InvalidRequest
from services.billing.tests.books import Books, budget, plan
from services.billing.tests.records import ORGANIZATION, OTHER, call, compared

EVER = Span(0, 2**62)
ADA, BOB = "ada@example.com", "bob@example.com"


class _Deaf:
    async def post(self, *_: object) -> int:
        return 200


@pytest.fixture
async def desk(request: pytest.FixtureRequest, books: Books) -> AsyncIterator[Desk]:
    """A second way to the database of `books`."""
    place = request.getfixturevalue("database" if books.writer.dialect.name == "sqlite" else "on_postgresql")
    desk = Desk(place, books.clock, structlog.get_logger(), read_limit_s=60)
    yield desk
    await desk.close()


async def spend(books: Books, count: int = 30) -> None:
    told = plan(budget("user", limit_nanos=100, alert_at=[0.5]), budget("tag:team", blocks=False), budget(blocks=False))
    told.webhook_url = "https://example.com/alerts"
    for number in range(count):
        record = call(number, seconds=-number * 1800, user_id=ADA if number % 3 else BOB, task_id=f"for {ADA}")
        record.tags["team"] = "the team of Ada"
        await books.ledger.record([compared(record, {"routing": 1000})], [told])
    await books.ledger.record([call(5, organization_id=OTHER, user_id=ADA)])


def rows_that_name(books: Books, *words: str) -> list[str]:
    """Every row of every table in which one of the words is."""
    found = []
    with books.writer.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                said = " ".join(
                    value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in row.values()
                )
                if any(word in said for word in words):
                    found.append(f"{table}: {said}")
    return found


async def test_an_end_user_is_named_nowhere_and_no_sum_changes(books: Books, desk: Desk) -> None:
    await spend(books)
    alerts = Alerts(SqlAlerts(desk, lambda: "secret"), books.store, _Deaf(), books.clock)
    assert await alerts.raise_due() > 0
    analytics = SqlAnalytics(books.store)
    before = {by: await analytics.by_value(ORGANIZATION, by, EVER) for by in ("model", "technique", "tag:team")}
    users = await analytics.by_value(ORGANIZATION, "user", EVER)
    assert any(ADA in one for one in rows_that_name(books, ADA))

    records, alerted = await Identities(SqlIdentities(desk)).erase(ORGANIZATION, ADA)
    assert (records, alerted > 0) == (20, True)

    named = [one for one in rows_that_name(books, ADA) if OTHER not in one and "for ada" not in one]
    assert named == []
    assert before == {by: await analytics.by_value(ORGANIZATION, by, EVER) for by in before}
    after = await analytics.by_value(ORGANIZATION, "user", EVER)
    assert after[""].cost_nanos == users[ADA].cost_nanos
    assert after[BOB] == users[BOB]
    assert await alerts.raise_due() == 0
    await books.ledger.record([call(999, user_id=ADA)], [])
    await books.agree()
    assert await Identities(SqlIdentities(desk)).erase(ORGANIZATION, BOB) != (0, 0)
    await books.agree()


async def test_an_organization_keeps_what_was_spent_and_nobody_who_spent_it(books: Books, desk: Desk) -> None:
    await spend(books)
    alerts = Alerts(SqlAlerts(desk, lambda: "secret"), books.store, _Deaf(), books.clock)
    await alerts.raise_due()
    spent = (await books.ledger.cost_summary(ORGANIZATION, EVER)).total_cost_nanos
    identities = Identities(SqlIdentities(desk))
    assert (await identities.erase(ORGANIZATION, ""))[0] == 30
    named = [one for one in rows_that_name(books, ADA, BOB, "the team of Ada", "example.com") if OTHER not in one]
    assert named == []
    assert (await books.ledger.cost_summary(ORGANIZATION, EVER)).total_cost_nanos == spent
    await books.agree()
    assert await identities.erase(ORGANIZATION, "") == (0, 0)


async def test_many_records_are_erased_step_by_step(books: Books, desk: Desk) -> None:
    for start in range(0, 4_500, 500):
        await books.ledger.record([call(n, seconds=-(n // 7), user_id=ADA) for n in range(start, start + 500)])
    assert (await Identities(SqlIdentities(desk)).erase(ORGANIZATION, ADA))[0] == 4_500
    assert rows_that_name(books, ADA) == []


async def test_nobody_is_erased_without_an_organization(books: Books, desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="organization_id"):
        await Identities(SqlIdentities(desk)).erase("", ADA)
