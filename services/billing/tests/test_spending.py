"""Holds and budgets: what is held, spent and refused, on SQLite and on PostgreSQL alike."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from asahi.billing.v1.billing_pb2 import BudgetState
from asahi_billing.domain.plans import Call
from asahi_core.errors import BudgetReserved, InsufficientQuota, InternalError, InvalidRequest, VersionConflict
from services.billing.tests.books import MINUTE, Books, budget, hold, key_plan, plan
from services.billing.tests.records import ORGANIZATION, OTHER, call, request_id

COST = call().cost_nanos


async def _state(books: Books, per: str = "organization") -> BudgetState:
    states = await books.spending.budgets(ORGANIZATION, "key_1", "")
    return next(state for state in states if state.budget.per == per)


async def _figures(books: Books) -> tuple[int, int]:
    state = await _state(books)
    return state.spent_nanos, state.reserved_nanos


async def test_a_hold_is_replaced_by_what_the_call_cost(books: Books) -> None:
    await books.spending.reserve(hold(1, COST + 100), MINUTE)
    assert await _figures(books) == (0, COST + 100)
    await books.ledger.record([call(1)], [plan(budget())])
    assert await _figures(books) == (COST, 0)
    await books.ledger.record([call(1)], [plan(budget())])
    assert await _figures(books) == (COST, 0)
    await books.agree()


async def test_a_released_hold_is_gone_and_its_call_cannot_hold_again(books: Books) -> None:
    await books.spending.reserve(hold(1, 500), MINUTE)
    assert await books.spending.release(_key(1))
    assert not await books.spending.release(_key(1))
    assert await _figures(books) == (0, 0)
    with pytest.raises(VersionConflict, match="released"):
        await books.spending.reserve(hold(1, 500), MINUTE)
    await books.agree()


async def test_a_release_that_overtakes_its_reservation_bars_it(books: Books) -> None:
    await books.spending.reserve(hold(9, 1), MINUTE)
    assert not await books.spending.release(_key(1))
    with pytest.raises(VersionConflict):
        await books.spending.reserve(hold(1, 500), MINUTE)


async def test_a_reservation_said_twice_holds_once(books: Books) -> None:
    until = await books.spending.reserve(hold(1, 500), MINUTE)
    books.clock.advance(5)
    assert await books.spending.reserve(hold(1, 500), MINUTE) == until
    assert await _figures(books) == (0, 500)


async def test_a_recorded_call_cannot_hold(books: Books) -> None:
    await books.ledger.record([call(1)], [plan(budget())])
    with pytest.raises(VersionConflict, match="settled"):
        await books.spending.reserve(hold(1, 500), MINUTE)


async def test_many_are_held_or_refused_each_by_itself_and_in_their_order(books: Books) -> None:
    limited, foreign = plan(budget(limit_nanos=2 * COST)), plan(budget(limit_nanos=1), organization_id=OTHER)
    asked = [hold(1, COST), hold(2, -1), hold(3, COST), hold(4, COST), hold(1, COST)]
    for request in asked:
        request.ClearField("plans")
    outcomes = await books.spending.reserve_many([(request, MINUTE) for request in asked], [limited, foreign])
    assert [type(outcome) for outcome in outcomes] == [int, InvalidRequest, int, BudgetReserved, int]
    assert await _figures(books) == (0, 2 * COST)
    await books.agree()


async def test_a_plan_that_cannot_be_understood_refuses_its_own_organization_alone(books: Books) -> None:
    odd = plan(budget(window=99), organization_id=OTHER)
    theirs, ours = hold(1, COST), hold(1, COST)
    theirs.organization_id = OTHER
    for request in (theirs, ours):
        request.ClearField("plans")
    outcomes = await books.spending.reserve_many([(theirs, MINUTE), (ours, MINUTE)], [odd, plan(budget())])
    assert [type(outcome) for outcome in outcomes] == [InvalidRequest, int]


async def test_one_that_the_store_fails_on_takes_no_other_with_it(books: Books) -> None:
    await books.break_on(request_id(2), "holds")
    outcomes = await books.spending.reserve_many([(hold(number, COST), MINUTE) for number in (1, 2, 3)])
    assert [type(outcome) for outcome in outcomes] == [int, InternalError, int]
    assert await _figures(books) == (0, 2 * COST)
    await books.agree()


async def test_none_and_too_many_at_once_are_refused(books: Books) -> None:
    for number in (0, 1001):
        with pytest.raises(InvalidRequest, match=f"{number} entries"):
            await books.spending.reserve_many([(hold(1, COST), MINUTE)] * number)


async def test_a_lease_that_nobody_renews_ends_and_a_late_record_counts_still(books: Books) -> None:
    await books.spending.reserve(hold(1, 10**9), MINUTE)
    books.clock.advance(50)
    until, ended = await books.spending.renew([_key(1), _key(2)], MINUTE)
    assert ended == [_key(2)]
    assert until == books.now_ns() + MINUTE
    books.clock.advance(50)
    assert await books.spending.expire() == 0
    books.clock.advance(11)
    assert await books.spending.expire() == 1
    assert await _figures(books) == (0, 0)
    assert (await books.spending.renew([_key(1)], MINUTE))[1] == [_key(1)]
    await books.ledger.record([call(1)])
    assert await _figures(books) == (COST, 0)
    await books.agree()


async def test_what_is_spent_is_told_from_what_is_only_held(books: Books) -> None:
    limited = plan(budget(limit_nanos=2 * COST))
    await books.spending.reserve(hold(1, COST, limited), MINUTE)
    await books.spending.reserve(hold(2, COST, limited), MINUTE)
    with pytest.raises(BudgetReserved) as waiting:
        await books.spending.reserve(hold(3, COST, limited), MINUTE)
    assert waiting.value.retry_after_s
    await books.ledger.record([call(1), call(2)])
    with pytest.raises(InsufficientQuota) as spent:
        await books.spending.reserve(hold(3, COST, limited), MINUTE)
    assert spent.value.should_retry is False
    for word in ("organization's budget", "a day", "0.0009 $ are spent", "2026-11-21T00:00:00Z"):
        assert word in spent.value.message
    await books.agree()


async def test_a_hundred_at_once_never_hold_more_than_twenty_may(books: Books) -> None:
    limited = plan(budget(limit_nanos=20 * COST))
    outcomes = await asyncio.gather(
        *(books.spending.reserve(hold(n, COST, limited), MINUTE) for n in range(100)), return_exceptions=True
    )
    assert sum(isinstance(one, int) for one in outcomes) == 20
    assert sum(isinstance(one, BudgetReserved) for one in outcomes) == 80
    assert await _figures(books) == (0, 20 * COST)
    await books.agree()


async def test_alerting_budgets_count_and_refuse_nothing(books: Books) -> None:
    watched = plan(budget(limit_nanos=1, blocks=False))
    await books.spending.reserve(hold(1, COST, watched), MINUTE)
    await books.ledger.record([call(1), call(2)])
    state = await _state(books)
    assert (state.spent_nanos, state.reserved_nanos, state.left_nanos) == (2 * COST, 0, 1 - 2 * COST)


async def test_keys_users_and_tags_have_budgets_of_their_own(books: Books) -> None:
    told = plan(budget("key"), budget("user"), budget("tag:team"))
    await books.ledger.record(
        [call(1, user_id="ann", tags={"team": "a"}), call(2, user_id="bob", api_key_id="key_2"), call(3)],
        [told, key_plan("key_1", budget("organization"))],
    )
    states = await books.spending.budgets(ORGANIZATION, "", "")
    found = {(one.api_key_id, one.budget.per, one.subject): one.spent_nanos // COST for one in states}
    assert found == {
        ("", "key", "key_1"): 2,
        ("", "key", "key_2"): 1,
        ("", "user", "ann"): 1,
        ("", "user", "bob"): 1,
        ("", "user", ""): 1,
        ("", "tag:team", "a"): 1,
        ("key_1", "organization", ORGANIZATION): 2,
    }
    assert not await books.spending.budgets(OTHER, "", "")
    await books.agree()


async def test_an_older_plan_never_replaces_a_newer_one(books: Books) -> None:
    await books.ledger.record([call(1)], [plan(budget(limit_nanos=7), version=2)])
    await books.ledger.record([call(2)], [plan(budget(limit_nanos=9), version=1)])
    assert (await _state(books)).budget.limit_nanos == 7


async def test_a_call_counts_in_the_window_that_it_was_held_in(books: Books) -> None:
    books.clock.advance(timedelta(hours=11, minutes=59).total_seconds())
    await books.spending.reserve(hold(1, COST), MINUTE)
    books.clock.advance(120)
    await books.ledger.record([call(1, seconds=12 * 3600 + 60), call(2, seconds=12 * 3600 + 61)])
    assert await _figures(books) == (COST, 0)
    await books.agree()


async def test_a_bad_record_leaves_the_others_alone_where_that_is_asked(books: Books) -> None:
    recorded = await books.ledger.record([call(1), call(2, cost_nanos=-1), call(3)], singly=True)
    assert (recorded.new, recorded.duplicates) == (2, 0)
    (rejected,) = recorded.rejected
    assert (rejected.index, rejected.request_id, rejected.code) == (1, request_id(2), "invalid_request")
    assert rejected.param == "records[1].cost_nanos"


async def test_a_record_that_the_store_fails_on_is_named_and_blocks_nothing(books: Books) -> None:
    await books.break_on(request_id(2))
    recorded = await books.ledger.record([call(1), call(2), call(3)], singly=True)
    assert recorded.new == 2
    assert [(one.index, one.code) for one in recorded.rejected] == [(1, "internal_error")]


async def test_a_plan_that_cannot_be_understood_refuses_a_hold_and_no_record(books: Books) -> None:
    odd = plan(budget(timezone="Europe/Nowhere"))
    with pytest.raises(InvalidRequest, match="Europe/Nowhere"):
        await books.spending.reserve(hold(1, 1, odd), MINUTE)
    assert (await books.ledger.record([call(1)], [odd])).new == 1
    assert books.ledger.unusable_plans == 1


async def test_a_broken_total_is_named(books: Books) -> None:
    await books.spending.reserve(hold(1, 70), MINUTE)
    await books.ledger.record([call(2)])
    with books.writer.begin() as connection:
        connection.execute(text("UPDATE budget_accounts SET spent_nanos = spent_nanos + 5, reserved_nanos = 0"))
        connection.execute(text("UPDATE usage_records SET cost_nanos = 1"))
    found = {one.figure: (one.expected_nanos, one.found_nanos) for one in (await books.spending.check("")).breaks}
    assert found == {
        "spent": (COST, COST + 5),
        "reserved": (70, 0),
        "holds": (70, 0),
        "record": (1, COST),
        "rollups": (1, COST),
    }
    by_hour_and_by_day = 1
    assert books.spending.breaks == len(found) + by_hour_and_by_day
    assert len((await books.spending.check(ORGANIZATION)).breaks) == len(found) + by_hour_and_by_day
    assert not (await books.spending.check(OTHER)).breaks


async def test_what_cannot_be_understood_is_refused(books: Books) -> None:
    with pytest.raises(InvalidRequest, match="attempt"):
        await books.spending.release(Call(ORGANIZATION, "r", 0))
    with pytest.raises(InvalidRequest, match="lease"):
        await books.spending.renew([_key(1)], 1)
    with pytest.raises(InvalidRequest, match="plans"):
        await books.spending.reserve(hold(1, 1, plan(budget(), organization_id=OTHER)), MINUTE)
    with pytest.raises(InvalidRequest, match="upper_bound"):
        await books.spending.reserve(hold(1, -1), MINUTE)


def _key(number: int) -> Call:
    return Call(ORGANIZATION, request_id(number), 1)
