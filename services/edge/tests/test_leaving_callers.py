"""When the last caller of a flight leaves: drained where that is cheap and of use, else given up; recorded always."""

import asyncio

import pytest

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.errors import Cancelled, DeadlineExceeded
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.inference import CacheDirectives
from services.edge.tests.flying import Rig, Waiting, asked, flying, limit, settle, soon, until
from services.edge.tests.neighbours import ScriptedCompletion, answer, text_of

QUICK = FlightLimits(drain_s=0.02)


async def _deserted(rig: Rig, *, cache: CacheDirectives | None = None, nanos: int = 1_000) -> ScriptedCompletion:
    """A call under way whose only caller has left."""
    caller = Waiting()
    asking = rig.ask(asked("r-1", cache=cache), caller)
    call = await rig.call()
    call.decide(expected_cost_nanos=nanos)
    call.announce()
    await settle()
    caller.go()
    with pytest.raises(Cancelled):
        await soon(asking)
    return call


async def test_a_cheap_answer_is_read_to_its_end_recorded_as_drained_and_serves_the_next_caller() -> None:
    async with flying() as rig:
        call = await _deserted(rig)
        call.complete("42")
        await until(lambda: bool(rig.cache.entries))
        again = await soon(rig.ask(asked("r-2")))
        (record,) = await rig.calls_recorded()
    assert not call.cancelled
    assert (again.cache_tier, text_of(again.answer)) == (1, "42")
    assert (record.usage.source, record.answered) == (UsageSource.USAGE_SOURCE_DRAINED, False)


async def test_a_drained_answer_whose_usage_was_estimated_says_estimated() -> None:
    async with flying() as rig:
        call = await _deserted(rig)
        estimate = Usage(input_tokens=10, output_tokens=5, source=UsageSource.USAGE_SOURCE_ESTIMATED)
        call.complete(answer("42", usage=estimate))
        await until(lambda: bool(rig.cache.entries))
        (record,) = await rig.records()
    assert record.usage.source == UsageSource.USAGE_SOURCE_ESTIMATED


async def test_draining_has_a_limit_in_time_and_the_rest_is_given_up() -> None:
    async with flying(QUICK) as rig:
        call = await _deserted(rig)
        await until(lambda: call.cancelled)
        (record,) = await _recorded(rig)
    assert (record.error_code, record.answered) == ("cancelled", False)
    assert record.usage.source == UsageSource.USAGE_SOURCE_ESTIMATED


@pytest.mark.parametrize(
    ("cache", "nanos"),
    [(CacheDirectives(read=False, write=False), 1_000), (None, 10_000_001)],
    ids=["the cache may not have it", "it may cost more than the limit"],
)
async def test_a_call_that_is_not_worth_it_is_given_up_at_once(cache: CacheDirectives | None, nanos: int) -> None:
    async with flying() as rig:
        call = await _deserted(rig, cache=cache, nanos=nanos)
        assert call.cancelled
        (record,) = await _recorded(rig)
        assert record.error_code == "cancelled"
        assert rig.cache.entries == {}


async def test_who_boards_a_deserted_flight_saves_it() -> None:
    async with flying(QUICK) as rig:
        call = await _deserted(rig)
        asking = rig.ask(asked("r-2"))
        await asyncio.sleep(3 * QUICK.drain_s)
        assert not call.cancelled
        call.complete("42")
        result = await soon(asking)
        records = await rig.records()
    assert (result.coalesced, text_of(result.answer)) == (True, "42")
    assert [(r.request_id, r.attempt, r.coalesced) for r in records] == [("r-1", 1, False), ("r-2", 0, True)]


async def test_who_asks_after_a_call_was_given_up_gets_a_call_of_their_own() -> None:
    async with flying() as rig:
        first = await _deserted(rig, nanos=10_000_001)
        result = await rig.answered(asked("r-2"))
        records = await _recorded(rig, 2)
    assert first.cancelled
    assert (text_of(result.answer), result.coalesced) == ("42", False)
    assert {(r.request_id, r.answered) for r in records} == {("r-1", False), ("r-2", True)}


async def test_the_cache_service_hears_at_once_that_a_call_was_given_up() -> None:
    async with flying() as rig:
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        call = await rig.call()
        call.ignores_cancel = True
        call.decide(expected_cost_nanos=10_000_001)
        call.announce()
        await settle()
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        assert rig.cache.ended == [("led-1", None)], "identical requests at other edges still follow a dying call"
        call.break_off(Cancelled("The call was given up."))
        await _recorded(rig)
        assert rig.cache.ended == [("led-1", None)]


async def test_an_answer_that_crosses_the_giving_up_is_recorded_once_and_kept() -> None:
    async with flying() as rig:
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        call = await rig.call()
        call.ignores_cancel = True
        call.decide(expected_cost_nanos=10_000_001)
        call.announce()
        await settle()
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        call.complete("42")
        (record,) = await _recorded(rig)
        assert len(rig.cache.entries) == 1
    assert (record.usage.source, record.error_code) == (UsageSource.USAGE_SOURCE_DRAINED, "")


async def test_while_one_caller_waits_the_leaving_of_others_changes_nothing() -> None:
    async with flying() as rig:
        callers = [Waiting() for _ in range(5)]
        asking = [rig.ask(asked(f"r-{number}"), caller) for number, caller in enumerate(callers)]
        call = await rig.call()
        await settle()
        for caller in callers[:-1]:
            caller.go()
        await settle()
        call.answer("42")
        result = await soon(asking[-1])
        (record,) = await rig.calls_recorded()
    assert text_of(result.answer) == "42"
    assert (record.request_id, record.answered) == ("r-0", False)


async def test_a_caller_who_leaves_before_the_router_was_asked_costs_nothing() -> None:
    async with flying() as rig:
        rig.cache.replying.clear()
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        await until(lambda: rig.cache.lookups == 1)
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        rig.cache.replying.set()
        await until(lambda: bool(rig.cache.ended))
        assert (rig.router.calls, await rig.records()) == ([], [])


async def test_a_caller_who_leaves_while_the_router_is_being_reached_has_the_call_given_up() -> None:
    async with flying() as rig:
        rig.router.opening.clear()
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        call = await rig.call()
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        rig.router.opening.set()
        await until(lambda: call.closed)
        assert call.cancelled


async def test_closing_a_stream_is_leaving() -> None:
    async with flying() as rig:
        listener = rig.listen(asked("r-1", stream=True))
        call = await rig.call()
        call.decide(expected_cost_nanos=10_000_001)
        call.announce()
        call.say("4")
        await until(lambda: listener.text == "4")
        listener.task.cancel()
        await until(lambda: call.cancelled)
        (record,) = await _recorded(rig)
    assert record.error_code == "cancelled"


async def test_a_flight_that_ran_out_of_its_openers_time_is_flown_anew_for_those_who_have_more() -> None:
    async with flying(FlightLimits(drain_s=600)) as rig:

        async def hurried() -> None:
            limit(1.0)
            await rig.pipeline.infer(asked("r-1"), Waiting())

        opening = rig.begin(hurried())
        call = await rig.call()
        call.decide()
        call.announce()
        await settle()
        patient = rig.ask(asked("r-2"))
        with pytest.raises(DeadlineExceeded):
            await soon(opening)
        call.fail("deadline_exceeded")
        call.break_off(DeadlineExceeded("The call's time ran out."))
        (await rig.call(2)).answer("42")
        result = await soon(patient)
        records = await rig.calls_recorded()
    assert (text_of(result.answer), result.coalesced) == ("42", False)
    assert {(r.request_id, r.answered) for r in records} == {("r-1", False), ("r-2", True)}


async def _recorded(rig: Rig, count: int = 1) -> list[UsageRecord]:
    """The records once there are `count`."""
    await until(lambda: rig.spool.appended >= count)
    return await rig.records()
