"""Second answers at the edge: few at a time, each call held and recorded, whatever becomes of it."""

from contextlib import AbstractAsyncContextManager
from random import Random

import structlog
from prometheus_client import REGISTRY

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.router.v1.router_pb2 import Comparison, Task
from asahi.type.v1.policy_pb2 import LearningPolicy, Policy
from asahi_core.errors import ServiceUnavailable
from asahi_edge.domain.budgets import KnownPlans, is_blocked_by_budget, plans_of
from asahi_edge.domain.shadows import FIRST_ATTEMPT, Shadows
from asahi_edge.domain.task import task_of
from services.edge.tests.flying import PRICES, Rig, asked, flying, settle, soon, until, verdict
from services.edge.tests.neighbours import BASELINE, ScriptedCompletion, ScriptedRouter, answer, reported

LIMIT_NANOS = 1_000_000_000


def learning(**changes: object) -> Verdict:
    """Of an organisation that has every answer compared."""
    said = LearningPolicy(shadow_share=1.0, judge="local", monthly_limit_nanos=LIMIT_NANOS)
    for name, value in changes.items():
        setattr(said, name, value)
    by = verdict()
    by.policy.CopyFrom(Policy(learning=said, default_max_output_tokens=4096, timezone="UTC"))
    by.policy_version = 3
    return by


class Comparer:
    """The scripted router, asked to compare."""

    def __init__(self, router: ScriptedRouter) -> None:
        self._router = router

    def compare(self, task: Task, comparison: Comparison) -> AbstractAsyncContextManager[ScriptedCompletion]:
        return self._router.complete(task, explain=False, stream=False, confirm=True)


def shadows_of(rig: Rig, most: int = 4) -> Shadows:
    return Shadows(
        router=Comparer(rig.router),
        usage=rig.usage,
        holds=rig.holds,
        plans=KnownPlans(),
        prices=PRICES,
        clock=rig.clock,
        random=Random(1),
        most=most,
        log=structlog.get_logger(),
    )


def tell(shadows: Shadows, request_id: str, by: Verdict | None = None) -> None:
    """A question was answered."""
    request = asked(request_id, by=by or learning())
    shadows.answered(request, task_of(request), answer("42"))


def ended(how: str) -> float:
    return REGISTRY.get_sample_value("asahi_shadow_questions_total", {"end": how}) or 0.0


async def under_way(rig: Rig, number: int = 1) -> ScriptedCompletion:
    """The second answer is being given."""
    call = await rig.call(number)
    call.decide(BASELINE)
    call.announce(FIRST_ATTEMPT, BASELINE, purpose="shadow")
    await until(lambda: call.confirmed == [FIRST_ATTEMPT])
    return call


async def test_what_does_not_fit_beside_what_is_under_way_is_left_out_and_counted() -> None:
    async with flying() as rig:
        shadows, busy = shadows_of(rig, most=1), ended("busy")
        tell(shadows, "r-1")
        tell(shadows, "r-2")
        call = await under_way(rig)
        call.fail("answered", reported())
        call.break_off(ServiceUnavailable("That was all."))
        await soon(shadows.close(1.0))
        assert len(rig.router.calls) == 1
        assert ended("busy") == busy + 1


async def test_a_call_is_held_as_learning_and_recorded_as_overhead_alone() -> None:
    async with flying() as rig:
        shadows = shadows_of(rig)
        tell(shadows, "r-1")
        call = await under_way(rig)
        assert (call.task.policy.price_needed, call.task.policy.default_max_output_tokens) == (True, 4096)
        (reservation,) = rig.keeper.reservations
        assert reservation.purpose == "shadow"
        (budget,) = rig.keeper.held_against[0].budgets
        assert (budget.per, budget.limit_nanos, budget.timezone) == ("learning", LIMIT_NANOS, "UTC")
        call.fail("answered", reported())
        call.break_off(ServiceUnavailable("That was all."))
        await soon(shadows.close(1.0))
        (record,) = await rig.calls_recorded()
        assert (record.purpose, record.attempt, record.answered) == ("shadow", FIRST_ATTEMPT, False)
        assert record.cost_overhead_nanos == record.cost_nanos > 0
        assert [(one.technique, one.nanos) for one in record.savings] == [("routing", -record.cost_nanos)]
        assert not rig.keeper.held


async def test_what_is_under_way_when_the_edge_stops_is_given_up_and_recorded() -> None:
    async with flying() as rig:
        shadows = shadows_of(rig)
        tell(shadows, "r-1")
        call = await under_way(rig)
        await soon(shadows.close(0.0))
        assert call.cancelled
        (record,) = await rig.calls_recorded()
        assert (record.purpose, record.error_code) == ("shadow", "cancelled")
        tell(shadows, "r-2")
        await settle()
        assert len(rig.router.calls) == 1


async def test_a_call_that_the_router_cannot_tell_the_end_of_is_estimated() -> None:
    async with flying() as rig:
        shadows = shadows_of(rig)
        tell(shadows, "r-1")
        call = await under_way(rig)
        call.break_off(ServiceUnavailable("The router went away."))
        await soon(shadows.close(1.0))
        (record,) = await rig.calls_recorded()
        assert record.usage.input_tokens > 0
        assert record.cost_overhead_nanos == record.cost_nanos > 0


async def test_where_the_month_is_spent_nobody_is_asked_for_a_minute() -> None:
    async with flying() as rig:
        shadows, rig.keeper.limit_nanos = shadows_of(rig), 1
        tell(shadows, "r-1")
        call = await rig.call()
        call.decide(BASELINE)
        call.announce(FIRST_ATTEMPT, BASELINE, purpose="shadow")
        await until(lambda: call.closed)
        assert not call.confirmed
        tell(shadows, "r-2")
        await settle()
        assert len(rig.router.calls) == 1
        rig.clock.advance(61.0)
        tell(shadows, "r-3")
        await until(lambda: len(rig.router.calls) == 2)
        rig.router.calls[1].break_off(ServiceUnavailable("That was all."))
        await soon(shadows.close(1.0))
        assert await rig.calls_recorded() == []


async def test_a_router_that_would_answer_in_place_of_comparing_is_not_let() -> None:
    async with flying() as rig:
        shadows = shadows_of(rig)
        tell(shadows, "r-1")
        call = await rig.call()
        call.decide()
        call.announce(FIRST_ATTEMPT)
        await until(lambda: call.closed)
        assert (call.confirmed, call.cancelled) == ([], True)
        await soon(shadows.close(1.0))
        assert await rig.calls_recorded() == []


async def test_nothing_is_asked_without_a_share_money_or_a_judge() -> None:
    async with flying() as rig:
        shadows = shadows_of(rig)
        for without in ({"shadow_share": 0.0}, {"monthly_limit_nanos": 0}, {"judge": "none"}):
            tell(shadows, "r-1", learning(**without))
        await settle()
        assert rig.router.calls == []
        await soon(shadows.close(0.0))


def test_what_learning_may_cost_blocks_nothing_else() -> None:
    assert not is_blocked_by_budget(learning(), {})
    assert [budget.per for budget in plans_of(learning())[0].budgets] == ["learning"]
