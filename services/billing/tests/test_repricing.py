"""A wrong price is mended by counter-entries: records stay, totals and budgets follow, and everything still adds up."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.billing.v1.prices_pb2 import OverridingPrice, PriceSheet, RepriceRequest, RepriceResponse
from asahi_billing.domain.repricing import Repricing
from asahi_billing.domain.store import Span
from asahi_core.errors import InvalidRequest
from asahi_core.ids import SystemIds
from asahi_core.prices import OrganizationPrices
from services.billing.tests.books import Books, budget, hold, key_plan, plan
from services.billing.tests.records import NOON, ORGANIZATION, OTHER, PRICES, at, call, compared

_BEGIN = at(-3600)
_DAY = Span(int(NOON.timestamp() * 10**9) - 10**14, int(NOON.timestamp() * 10**9) + 10**14)


def repricing(books: Books, *factors: str) -> Repricing:
    """By prices that were set one after the other."""
    prices = OrganizationPrices(PRICES)
    for number, factor in enumerate(factors, 1):
        sheet = PriceSheet(organization_id=ORGANIZATION, version=number, revision=number)
        sheet.prices.append(OverridingPrice(models="*", factor=factor))
        prices.put(sheet)
    return Repricing(books.store, prices, books.clock, SystemIds())


def asked(start: datetime = _BEGIN, end: datetime = NOON, *, models: str = "", dry_run: bool = False) -> RepriceRequest:
    request = RepriceRequest(organization_id=ORGANIZATION, models=models, dry_run=dry_run)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return request


async def reprice(books: Books, factor: str, *, models: str = "", dry_run: bool = False) -> RepriceResponse:
    return await repricing(books, factor).reprice(asked(models=models, dry_run=dry_run))


async def spent(books: Books) -> list[int]:
    return [state.spent_nanos for state in await books.spending.budgets(ORGANIZATION, "key_1", "")]


async def cost(books: Books, organization_id: str = ORGANIZATION) -> int:
    return (await books.ledger.cost_summary(organization_id, _DAY)).total_cost_nanos


def calls(count: int) -> Sequence[UsageRecord]:
    return [call(number, seconds=-number - 1) for number in range(count)]


async def test_counter_entries_adjust_totals_and_budgets_and_records_stay(books: Books) -> None:
    records, plans = calls(1200), [plan(budget()), key_plan("key_1", budget("key"))]
    await books.spending.reserve(hold(0, 10**9, *plans), 10**10)
    for start in range(0, len(records), 600):
        await books.ledger.record(records[start : start + 600], plans)
    await books.ledger.record([call(5, organization_id=OTHER)])
    before = await cost(books)
    assert await spent(books) == [before, before]
    done = await reprice(books, "0.5")
    assert (done.calls, done.changed_calls, done.difference_nanos) == (1200, 1200, -before // 2)
    assert await cost(books) == before // 2
    assert await spent(books) == [before // 2, before // 2]
    assert (await books.ledger.inference(ORGANIZATION, records[0].request_id)).record == records[0]
    assert await cost(books, OTHER) == records[0].cost_nanos
    await books.agree()


async def test_repeated_it_books_nothing_and_a_later_price_books_the_rest(books: Books) -> None:
    await books.ledger.record(calls(10), [plan(budget())])
    before = await cost(books)
    first = await reprice(books, "0.5")
    again = await reprice(books, "0.5")
    assert (again.changed_calls, again.difference_nanos, again.repricing_id) == (0, 0, "")
    back = await reprice(books, "1")
    assert back.difference_nanos == -first.difference_nanos
    assert back.repricing_id != first.repricing_id
    assert (await cost(books), await spent(books)) == (before, [before])
    await books.agree()


async def test_a_dry_run_says_the_same_and_books_nothing(books: Books) -> None:
    await books.ledger.record(calls(10), [plan(budget())])
    before = await cost(books)
    said = await reprice(books, "3", dry_run=True)
    assert (await cost(books), said.repricing_id) == (before, "")
    booked = await reprice(books, "3")
    assert (said.changed_calls, said.difference_nanos) == (booked.changed_calls, booked.difference_nanos)
    assert await cost(books) == 3 * before


async def test_only_the_time_and_the_models_that_are_named_are_repriced(books: Books) -> None:
    await books.ledger.record([call(1, seconds=-10), call(2, seconds=-20, model="gpt-4o"), call(3, seconds=-7200)])
    done = await reprice(books, "2", models="gpt-4o-*")
    assert (done.calls, done.difference_nanos) == (1, call(1).cost_nanos)


async def test_a_call_without_a_price_is_counted_when_it_has_one(books: Books) -> None:
    unknown = call(1, seconds=-10, price_unknown=True, price_version="")
    await books.ledger.record([unknown], [plan(budget()), key_plan("key_1", budget("key"))])
    assert await spent(books) == [0, 0]
    done = await reprice(books, "1")
    assert done.difference_nanos == call(1).cost_nanos
    assert await spent(books) == [call(1).cost_nanos] * 2
    assert await cost(books) == call(1).cost_nanos
    await books.agree()


async def test_savings_still_sum_to_original_less_cost(books: Books) -> None:
    await books.ledger.record([compared(call(1, seconds=-10), {"routing": 1000})])
    await reprice(books, "0.5")
    summary = await books.ledger.cost_summary(ORGANIZATION, _DAY)
    saved = summary.cost_original_nanos - summary.compared_cost_nanos
    assert {one.technique: one.nanos for one in summary.savings} == {
        "routing": 1000,
        "repricing": call(1).cost_nanos // 2,
    }
    assert sum(one.nanos for one in summary.savings) == saved


async def test_only_the_past_can_be_repriced(books: Books) -> None:
    for wrong in (asked(end=NOON + timedelta(days=1)), asked(start=NOON, end=at(-1)), RepriceRequest()):
        with pytest.raises(InvalidRequest):
            await repricing(books, "0.5").reprice(wrong)
