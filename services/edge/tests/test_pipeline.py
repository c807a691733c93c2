"""What the pipeline promises a caller: the answer, its price, and one record a provider call."""

import asyncio
from dataclasses import replace

import pytest

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.errors import DeadlineExceeded, ServiceUnavailable
from asahi_edge.domain.inference import CacheDirectives, InferenceRequest
from services.edge.tests.flying import (
    Waiting,
    asked,
    flying,
    limit,
    price,
    savings_sum,
    settle,
    soon,
    until,
    verdict,
)
from services.edge.tests.neighbours import BASELINE, CHEAP, reported, text_of


async def test_a_miss_asks_the_router_and_is_charged_recorded_and_stored() -> None:
    async with flying() as rig:
        result = await rig.answered(asked("r-1"))
        (record,) = await rig.records()
    assert text_of(result.answer) == "42"
    assert result.charge.cost_nanos == price(CHEAP) == record.cost_nanos
    assert result.charge.original_nanos == price(BASELINE) == record.cost_original_nanos
    assert dict(result.charge.savings) == {"routing": price(BASELINE) - price(CHEAP)}
    assert (result.cache_tier, result.coalesced, result.bypassed_cache, result.degraded) == (0, False, False, ())
    assert (record.request_id, record.attempt, record.model, record.answered) == ("r-1", 1, CHEAP, True)
    assert (record.task_type, record.tags["team"], record.api_key_id) == ("chat", "research", "key-1")
    assert record.usage == reported()
    assert savings_sum(record)
    assert [entry.request_id for entry in rig.cache.entries.values()] == ["r-1"]


async def test_the_record_is_with_the_spool_before_the_answer_is_returned() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        assert rig.spool.appended == 1


async def test_a_repeat_is_served_near_by_without_a_hop_and_costs_nothing() -> None:
    async with flying() as rig:
        first = await rig.answered(asked("r-1"))
        rig.clock.advance(90)
        lookups = rig.cache.lookups
        again = await soon(rig.ask(asked("r-2")))
        records = await rig.records()
    assert rig.cache.lookups == lookups
    assert again.answer == first.answer
    assert (again.cache_tier, again.age_s, again.charge.cost_nanos) == (1, 90, 0)
    assert again.charge.savings == (("cache_tier_1", price(BASELINE)),)
    assert [(r.request_id, r.attempt, r.cache_tier, r.cost_nanos) for r in records] == [
        ("r-1", 1, 0, price(CHEAP)),
        ("r-2", 0, 1, 0),
    ]
    assert records[1].reused_usage == reported()
    assert not records[1].HasField("usage")
    assert all(map(savings_sum, records))


async def test_an_answer_kept_at_the_cache_service_is_a_hit_and_then_near_by() -> None:
    async with flying() as rig:
        request = asked("r-1")
        rig.cache.put("org-1", request.fingerprint, rig.entry("stored", age_s=5))
        far = await soon(rig.ask(request))
        near = await soon(rig.ask(asked("r-2")))
        assert rig.cache.lookups == 1
    assert [text_of(r.answer) for r in (far, near)] == ["stored", "stored"]
    assert (far.cache_tier, far.age_s) == (1, 5)
    assert rig.router.calls == []


async def test_a_semantic_hit_is_not_kept_near_by() -> None:
    async with flying() as rig:
        request = asked("r-1")
        rig.cache.tier = 2
        rig.cache.put("org-1", request.fingerprint, rig.entry())
        result = await soon(rig.ask(request))
        assert (result.cache_tier, result.charge.savings[0][0]) == (2, "cache_tier_2")
        assert len(rig.near) == 0


async def test_an_answer_withdrawn_while_it_was_looked_up_is_not_kept_near_by() -> None:
    async with flying() as rig:
        request = asked("r-1")
        rig.cache.put("org-1", request.fingerprint, rig.entry())
        rig.cache.replying.clear()
        asking = rig.ask(request)
        await until(lambda: rig.cache.lookups == 1)
        rig.near.withdraw("org-1", request.fingerprint)
        rig.cache.replying.set()
        await soon(asking)
        assert len(rig.near) == 0


async def test_the_near_copy_is_not_served_while_the_connection_over_which_it_is_withdrawn_is_down() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        rig.cache.attached = False
        result = await rig.answered(asked("r-2"), "43")
    assert text_of(result.answer) == "43"
    assert result.degraded == ("cache",)


async def test_a_call_under_way_at_a_withdrawal_serves_who_waits_and_nobody_else() -> None:
    async with flying() as rig:
        before = rig.ask(asked("r-1"))
        old = await rig.call(1)
        rig.near.withdraw("org-1", b"")
        after = rig.ask(asked("r-2"))
        new = await rig.call(2)
        new.answer("new")
        assert text_of((await soon(after)).answer) == "new"
        old.answer("old")
        assert text_of((await soon(before)).answer) == "old"
        third = await soon(rig.ask(asked("r-3")))
        kept = [entry.request_id for entry in rig.cache.entries.values()]
    assert (text_of(third.answer), third.cache_tier) == ("new", 1)
    assert kept == ["r-2"]


async def test_a_stored_answer_says_what_it_can_be_dropped_by() -> None:
    async with flying() as rig:
        await rig.answered(replace(asked("r-1"), user_id="ada", document_id="contract"))
        (kept,) = rig.cache.entries.values()
    assert (kept.request_id, kept.user_id, kept.document_id, list(kept.tags)) == (
        *("r-1", "ada", "contract"),
        ["team=research"],
    )


async def test_one_organisations_answers_are_not_anothers() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        other = await rig.answered(asked("r-2", by=verdict("org-2")), "theirs")
        mine = await soon(rig.ask(asked("r-3")))
        theirs = await soon(rig.ask(asked("r-4", by=verdict("org-2"))))
    assert (text_of(other.answer), other.cache_tier) == ("theirs", 0)
    assert (text_of(mine.answer), mine.cache_tier) == ("42", 1)
    assert (text_of(theirs.answer), theirs.cache_tier) == ("theirs", 1)


async def test_identical_requests_at_the_same_time_cost_one_call_and_are_answered_alike() -> None:
    async with flying() as rig:
        asking = [rig.ask(asked(f"r-{number}")) for number in range(10)]
        call = await rig.call()
        await settle()
        call.answer("42")
        results = await soon(asyncio.gather(*asking))
        records = await rig.records()
    assert len(rig.router.calls) == 1
    assert {text_of(result.answer) for result in results} == {"42"}
    assert [result.coalesced for result in results] == [False] + [True] * 9
    assert sum(result.charge.cost_nanos for result in results) == price(CHEAP)
    assert {result.charge.savings for result in results[1:]} == {(("coalesced", price(BASELINE)),)}
    assert sorted(record.request_id for record in records) == sorted(f"r-{number}" for number in range(10))
    assert sum(record.cost_nanos for record in records) == price(CHEAP)
    assert all(map(savings_sum, records))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked("r-1"), asked("r-2", "What is 7 × 7?")),
        (asked("r-1"), asked("r-2", by=verdict("org-2"))),
        (asked("r-1"), asked("r-2", by=verdict(models=(CHEAP,)))),
        (asked("r-1"), asked("r-2", cache=CacheDirectives(max_age_s=60))),
        (asked("r-1"), asked("r-2", explain=True)),
        (asked("r-1", explain=True), asked("r-2", explain=True)),
        (asked("r-1", cache=CacheDirectives(read=False)), asked("r-2", cache=CacheDirectives(read=False))),
        (asked("r-1", cache=CacheDirectives(False, False)), asked("r-2", cache=CacheDirectives(False, False))),
    ],
    ids=["prompt", "organisation", "models", "max-age", "one explains", "both explain", "no-cache", "off"],
)
async def test_requests_that_may_need_different_answers_do_not_share_a_call(
    one: InferenceRequest, other: InferenceRequest
) -> None:
    async with flying() as rig:
        rig.router.script = lambda call: call.answer(f"by call {len(rig.router.calls)}")
        asking = [rig.ask(one), rig.ask(other)]
        results = await soon(asyncio.gather(*asking))
    assert len(rig.router.calls) == 2
    assert [result.coalesced for result in results] == [False, False]


async def test_streamed_and_plain_callers_share_a_call() -> None:
    async with flying() as rig:
        first = rig.listen(asked("r-1", stream=True))
        call = await rig.call()
        call.decide()
        call.announce()
        call.say("forty")
        await until(lambda: first.text == "forty")
        plain, late = rig.ask(asked("r-2")), rig.listen(asked("r-3", stream=True))
        await settle()
        call.say("-two")
        call.complete("forty-two")
        await soon(asyncio.gather(first.task, late.task))
        result = await soon(plain)
    assert len(rig.router.calls) == 1
    for listener in (first, late):
        assert listener.pieces[0].opening.model == CHEAP
        assert listener.text == "forty-two"
    assert first.result is not None
    assert not first.result.coalesced
    assert late.result is not None
    assert late.result.coalesced
    assert (text_of(result.answer), result.coalesced) == ("forty-two", True)


async def test_a_stored_answer_streams_as_the_result_alone() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        listener = rig.listen(asked("r-2", stream=True))
        await soon(listener.task)
    assert listener.pieces == []
    assert listener.result is not None
    assert listener.result.cache_tier == 1


async def test_a_hit_by_a_model_that_the_key_may_not_use_is_passed_over() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        narrow = verdict(models=("claude-*",))
        far = asked("r-3", by=narrow, cache=CacheDirectives(max_age_s=1e9))
        results = [await rig.answered(request, "43") for request in (asked("r-2", by=narrow), far)]
    assert [(text_of(result.answer), result.cache_tier) for result in results] == [("43", 0)] * 2
    assert list(rig.router.calls[-1].task.policy.key_allowed_models) == ["claude-*"]


@pytest.mark.parametrize(
    ("directives", "looks_up", "stores"),
    [(CacheDirectives(read=False), False, True), (CacheDirectives(read=False, write=False), False, False)],
    ids=["no-cache", "no-store and off"],
)
async def test_cache_directives_are_obeyed(directives: CacheDirectives, *, looks_up: bool, stores: bool) -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        lookups = rig.cache.lookups
        result = await rig.answered(asked("r-2", cache=directives), "43")
        assert (rig.cache.lookups > lookups) is looks_up
        kept = [entry.request_id for entry in rig.cache.entries.values()]
    assert (text_of(result.answer), result.bypassed_cache) == ("43", True)
    assert kept == ["r-2" if stores else "r-1"]


async def test_max_age_bounds_the_age_of_a_hit_near_by_and_far() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        rig.clock.advance(60)
        young_enough = await soon(rig.ask(asked("r-2", cache=CacheDirectives(max_age_s=60))))
        rig.clock.advance(1)
        too_old = await rig.answered(asked("r-3", cache=CacheDirectives(max_age_s=60)), "43")
    assert (young_enough.cache_tier, text_of(young_enough.answer)) == (1, "42")
    assert (too_old.cache_tier, text_of(too_old.answer)) == (0, "43")


async def test_a_caller_whose_time_is_out_hears_so_and_the_others_get_the_answer() -> None:
    async with flying() as rig:
        patient = rig.ask(asked("r-1"))
        call = await rig.call()

        async def hurried() -> None:
            limit(0.02)
            await rig.pipeline.infer(asked("r-2"), Waiting())

        with pytest.raises(DeadlineExceeded):
            await soon(rig.begin(hurried()))
        call.answer("42")
        assert text_of((await soon(patient)).answer) == "42"


async def test_an_explanation_lists_the_candidates() -> None:
    async with flying() as rig:
        result = await rig.answered(asked("r-1", explain=True))
    assert [candidate.model for candidate in result.alternatives] == [CHEAP]


async def test_overhead_is_what_no_provider_took() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        rig.clock.advance(0.01)
        call.answer("42")
        result = await soon(asking)
    assert result.latency_ms == pytest.approx(10)
    assert result.overhead_ms == pytest.approx(7)


async def test_while_usage_cannot_be_recorded_no_request_is_admitted() -> None:
    async with flying() as rig:
        rig.spool.intend(UsageRecord(request_id="much", routing_reason="x" * 300_000_000))
        with pytest.raises(ServiceUnavailable):
            await soon(rig.ask(asked("r-1")))
        rig.spool.append([UsageRecord(request_id="much")])
