"""A hold before each provider call where a budget blocks: taken, renewed, settled, and given back on every way out."""

import asyncio

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow, Policy
from asahi_core.errors import (
    Cancelled,
    InsufficientQuota,
    PriceUnknown,
    ServiceUnavailable,
)
from asahi_edge.domain.budgets import plans_of
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.policies import routing_policy
from services.edge.tests.flying import Rig, asked, flying, settle, soon, until, verdict
from services.edge.tests.neighbours import reported

_BLOCK, _ALERT = BudgetAction.BUDGET_ACTION_BLOCK, BudgetAction.BUDGET_ACTION_ALERT
_BOUND = 10_000_000


def budget(
    per: str = "organization", action: BudgetAction.ValueType = _BLOCK, *, limit_nanos: int = 1_000_000_000
) -> Budget:
    return Budget(per=per, window=BudgetWindow.BUDGET_WINDOW_DAY, limit_nanos=limit_nanos, action=action)


def under(*budgets: Budget, own: tuple[Budget, ...] = (), open_without_billing: bool = False) -> Verdict:
    policy = Policy(
        budgets=budgets,
        default_max_output_tokens=4096,
        timezone="UTC",
        fail_open_without_billing=open_without_billing,
    )
    budgeted = verdict()
    budgeted.policy.CopyFrom(policy)
    budgeted.policy_version = 3
    budgeted.budgets.extend(own)
    return budgeted


def question(prompt: str = "Why?", *, request_id: str = "r-1", by: Verdict | None = None) -> InferenceRequest:
    return asked(request_id, prompt, by=by or under(budget()))


async def announced(rig: Rig, number: int = 1) -> None:
    """The completion with this number is at its first attempt."""
    call = await rig.call(number)
    call.decide()
    call.announce(most_nanos=_BOUND)


async def test_a_call_begins_when_its_upper_bound_is_held_and_its_record_replaces_the_hold() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        await announced(rig)
        call = rig.router.calls[0]
        await until(lambda: call.confirmed == [1])
        assert call.waits_for_confirmation
        assert list(rig.keeper.held.values()) == [_BOUND]
        call.complete("42")
        assert (await soon(asking)).charge.cost_nanos > 0
        assert len(await rig.calls_recorded()) == 1
        assert not rig.keeper.held
        assert rig.holds.open == 0


async def test_the_reservation_says_whose_call_it_is_and_which_budgets_apply() -> None:
    async with flying() as rig:
        await announced_and_answered(rig, question(by=under(budget(), own=(budget("key"),))))
        (reservation,) = rig.keeper.reservations
        assert (reservation.api_key_id, dict(reservation.tags)) == ("key-1", {"team": "research"})
        assert [(plan.api_key_id, plan.policy_version) for plan in rig.keeper.held_against] == [("", 3), ("key-1", 3)]
        assert reservation.lease.seconds == 60


async def announced_and_answered(rig: Rig, request: InferenceRequest) -> None:
    asking = rig.ask(request)
    (await rig.call(len(rig.router.calls) + 1)).answer("42")
    await soon(asking)


@pytest.mark.parametrize(
    ("budgets", "asks"),
    [
        ((), False),
        ((budget("organization", _ALERT),), False),
        ((budget("organization"),), True),
        ((budget("key"),), True),
        ((budget("user"),), True),
        ((budget("tag:team"),), True),
        ((budget("tag:project"),), False),
        ((budget("tag:team", _ALERT),), False),
    ],
)
async def test_billing_is_asked_only_where_a_budget_that_blocks_applies(
    budgets: tuple[Budget, ...], *, asks: bool
) -> None:
    async with flying() as rig:
        request = question(by=under(*budgets))
        await announced_and_answered(rig, request)
        assert (len(rig.keeper.reservations) == 1) is asks
        assert rig.router.calls[0].waits_for_confirmation is asks
        policy = rig.router.calls[0].task.policy
        assert (policy.price_needed, policy.default_max_output_tokens) == (asks, 4096 if asks else 0)


async def test_records_carry_the_budgets_that_they_count_in() -> None:
    async with flying() as rig:
        await announced_and_answered(rig, question(by=under(budget("organization", _ALERT))))
        await rig.records()
        assert [(plan.organization_id, plan.api_key_id, len(plan.budgets)) for plan in rig.keeper.plans] == [
            ("org-1", "", 1)
        ]


def test_a_cost_budget_bounds_answers_too() -> None:
    request = question(by=under())
    request.routing.cost_budget_nanos = 1_000_000
    policy = routing_policy(request)
    assert (policy.default_max_output_tokens, policy.price_needed) == (4096, False)


async def test_a_budget_that_is_spent_refuses_the_call_before_it_is_made() -> None:
    async with flying() as rig:
        rig.keeper.limit_nanos = _BOUND - 1
        asking = rig.ask(question())
        await announced(rig)
        with pytest.raises(InsufficientQuota):
            await soon(asking)
        assert rig.router.calls[0].cancelled
        assert not rig.router.calls[0].confirmed
        assert not await rig.records()
        assert rig.holds.open == 0


async def test_who_boarded_a_refused_flight_may_have_other_budgets_and_flies_anew() -> None:
    async with flying() as rig:
        rig.keeper.limit_nanos = _BOUND - 1
        first = rig.ask(question(request_id="r-1"))
        second = rig.ask(question(request_id="r-2"))
        await announced(rig)
        await until(lambda: len(rig.router.calls) == 2)
        rig.keeper.limit_nanos = _BOUND
        await announced(rig, 2)
        await until(lambda: rig.router.calls[1].confirmed == [1])
        rig.router.calls[1].complete("42")
        with pytest.raises(InsufficientQuota):
            await soon(first)
        assert (await soon(second)).charge.cost_nanos > 0


async def test_a_call_that_failed_for_nothing_is_not_in_the_next_ones_way() -> None:
    async with flying() as rig:
        rig.keeper.limit_nanos = _BOUND
        asking = rig.ask(question())
        await announced(rig)
        call = rig.router.calls[0]
        await until(lambda: call.confirmed == [1])
        call.fail("overloaded")
        call.announce(2, most_nanos=_BOUND)
        await until(lambda: call.confirmed == [1, 2])
        call.complete("42")
        await soon(asking)
        assert [record.attempt for record in await rig.calls_recorded()] == [1, 2]
        assert not rig.keeper.held


async def test_what_a_failed_call_cost_stays_held_until_billing_has_its_record() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        await announced(rig)
        call = rig.router.calls[0]
        await until(lambda: call.confirmed == [1])
        call.fail("interrupted", reported())
        call.announce(2, most_nanos=_BOUND)
        await until(lambda: call.confirmed == [1, 2])
        assert len(rig.keeper.held) == 2
        call.complete("42")
        await soon(asking)
        await rig.records()
        assert not rig.keeper.held


async def test_a_caller_who_leaves_before_the_call_gives_its_hold_back() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        call = await rig.call()
        call.ignores_cancel = True
        call.decide(expected_cost_nanos=10**12)
        await settle()
        asking.cancel()
        await settle()
        call.announce(most_nanos=_BOUND)
        await until(lambda: ("org-1", "r-1", 1) in rig.keeper.ended)
        call.fail("cancelled")
        call.break_off(Cancelled("The call was given up."))
        assert not call.confirmed
        await until(lambda: len(rig.board) == 0)
        assert not await rig.records()
        assert not rig.keeper.held


async def test_a_call_that_its_last_caller_leaves_is_settled_as_what_it_cost() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        call = await rig.call()
        call.decide(expected_cost_nanos=10**12)
        call.announce(most_nanos=_BOUND)
        await until(lambda: call.confirmed == [1])
        asking.cancel()
        await until(lambda: call.closed)
        (record,) = await rig.calls_recorded()
        assert 0 < record.cost_nanos < _BOUND
        assert not rig.keeper.held


async def test_without_billing_a_budget_that_blocks_means_503() -> None:
    async with flying() as rig:
        rig.keeper.failure = ServiceUnavailable("The billing service does not answer.")
        asking = rig.ask(question())
        await announced(rig)
        with pytest.raises(ServiceUnavailable, match="budget that blocks"):
            await soon(asking)
        assert not rig.router.calls[0].confirmed
        assert rig.holds.open == 1, "billing may have taken the hold all the same"
        rig.keeper.failure = None
        await until(lambda: rig.holds.open == 0)
        assert ("org-1", "r-1", 1) in rig.keeper.ended


async def test_a_policy_may_go_on_without_billing_and_says_so() -> None:
    async with flying() as rig:
        rig.keeper.failure = ServiceUnavailable("The billing service does not answer.")
        asking = rig.ask(question(by=under(budget(), open_without_billing=True)))
        (await rig.call()).answer("42")
        result = await soon(asking)
        assert result.degraded == ("billing",)
        assert rig.router.calls[0].confirmed == [1]


async def test_a_hold_is_renewed_while_its_call_or_its_record_is_under_way() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        await announced(rig)
        await until(lambda: len(rig.keeper.renewed) >= 2)
        rig.ledger.failure = ServiceUnavailable("The billing service does not answer.")
        rig.router.calls[0].complete("42")
        await soon(asking)
        before = len(rig.keeper.renewed)
        await until(lambda: len(rig.keeper.renewed) >= before + 2)
        rig.ledger.failure = None
        await rig.records()
        assert not rig.keeper.held
        assert rig.holds.open == 0


async def test_hits_and_followers_hold_nothing() -> None:
    async with flying() as rig:
        first, second = (rig.ask(question(request_id=f"r-{n}")) for n in (1, 2))
        (await rig.call()).answer("42")
        assert [one.coalesced for one in await asyncio.gather(first, second)] == [False, True]
        hit = await soon(rig.ask(question(request_id="r-3")))
        assert hit.cache_tier == 1
        assert len(rig.keeper.reservations) == 1


async def test_a_call_without_a_bound_is_not_made() -> None:
    async with flying() as rig:
        asking = rig.ask(question())
        call = await rig.call()
        call.decide()
        call.announce_unbounded()
        with pytest.raises(PriceUnknown):
            await soon(asking)
        assert not call.confirmed


async def test_the_limit_that_the_policy_adds_is_told() -> None:
    async with flying() as rig:
        plain, streamed = rig.ask(question()), rig.listen(question("How?", request_id="r-2"))
        for number in (1, 2):
            call = await rig.call(number)
            call.decide()
            call.announce(added=4096)
            await until(lambda call=call: call.confirmed == [1])  # type: ignore[misc]  # mypy wants no default
            call.say("42")
            call.complete("42")
        assert (await soon(plain)).added_max_output_tokens == 4096
        await soon(streamed.task)
        assert streamed.pieces[0].opening.added_max_output_tokens == 4096


def test_billing_is_told_of_the_budgets_and_how_long_usage_is_kept() -> None:
    told = under(budget(), own=(budget("key"),))
    told.policy.retention.usage_days = 90
    assert [(plan.api_key_id, plan.usage_days, len(plan.budgets)) for plan in plans_of(told)] == [
        ("", 90, 1),
        (told.api_key_id, 90, 1),
    ]
