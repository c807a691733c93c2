"""When something fails: every provider call has its record, answers are never stored in part, and the rest goes on."""

import pytest

from asahi.type.v1.chat_pb2 import FinishReason
from asahi_core.errors import (
    DeadlineExceeded,
    InternalError,
    NoModelSatisfies,
    ProviderError,
    ServiceUnavailable,
    UpstreamInterrupted,
)
from services.edge.tests.flying import asked, flying, price, savings_sum, soon
from services.edge.tests.neighbours import BASELINE, CHEAP, answer, reported, text_of
from services.edge.tests.usage_records import CountingLedger

_AWAY = ServiceUnavailable("It does not answer.", retry_after_s=1.0)


async def test_failed_attempts_are_priced_and_recorded_once_beside_the_one_that_answered() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide()
        call.announce(1, CHEAP)
        call.fail("service_unavailable")
        call.announce(2, BASELINE)
        call.fail("provider_error", reported(100, 7))
        call.announce(3, CHEAP)
        call.complete("42")
        result = await soon(asking)
        records = await rig.records()
    lost = price(BASELINE, reported(100, 7))
    assert result.charge.cost_nanos == price(CHEAP) + lost
    assert result.charge.original_nanos == price(BASELINE)
    assert sum(nanos for _, nanos in result.charge.savings) == price(BASELINE) - price(CHEAP) - lost
    assert [(r.attempt, r.cost_nanos, r.error_code, r.answered) for r in records] == [
        (1, 0, "service_unavailable", False),
        (2, lost, "provider_error", False),
        (3, price(CHEAP), "", True),
    ]
    assert all(map(savings_sum, records))
    assert [attempt.outcome for attempt in result.attempts] == ["service_unavailable", "provider_error", "answered"]


async def test_an_answer_that_failed_its_check_is_a_loss_of_the_cascade_and_the_better_one_is_stored() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide(CHEAP)
        call.announce(1, CHEAP)
        call.fail("cascade: json_schema", reported())
        call.announce(2, BASELINE)
        call.complete(answer("42", model=BASELINE))
        result = await soon(asking)
        records = await rig.records()
        assert len(rig.cache.entries) == 1
    assert result.charge.cost_nanos == price(CHEAP) + price(BASELINE)
    assert result.charge.savings == (("cascade", -price(CHEAP)),)
    assert result.techniques == ["cascade"]
    assert [(r.attempt, r.cost_nanos, r.error_code, r.answered) for r in records] == [
        (1, price(CHEAP), "cascade: json_schema", False),
        (2, price(BASELINE), "", True),
    ]


async def test_an_answer_that_is_given_after_all_is_billed_once_and_not_stored() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide(CHEAP)
        call.announce(1, CHEAP)
        call.fail("cascade: empty", reported())
        call.announce(2, BASELINE)
        call.fail("provider_error")
        call.give_after_all(1, "42", "empty")
        result = await soon(asking)
        records = await rig.records()
        assert (rig.cache.entries, len(rig.near)) == ({}, 0)
    assert text_of(result.answer) == "42"
    assert result.reason.endswith("It is given as it is.")
    assert result.charge.cost_nanos == price(CHEAP)
    assert [(one.attempt, one.outcome) for one in result.attempts] == [(1, "answered"), (2, "provider_error")]
    assert sorted((r.attempt, r.cost_nanos, r.error_code, r.answered) for r in records) == [
        (1, price(CHEAP), "", True),
        (2, 0, "provider_error", False),
    ]


async def test_a_request_whose_attempts_all_failed_raises_and_records_each_of_them() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide()
        call.announce(1)
        call.fail("provider_error", reported())
        call.break_off(ProviderError("openai refused it."))
        with pytest.raises(ProviderError):
            await soon(asking)
        (record,) = await rig.records()
    assert (record.cost_nanos, record.answered, record.error_code) == (price(CHEAP), False, "provider_error")
    assert rig.cache.entries == {}


async def test_a_call_whose_end_the_router_could_not_tell_is_estimated() -> None:
    async with flying() as rig:
        listener = rig.listen(asked("r-1", stream=True))
        call = await rig.call()
        call.decide()
        call.announce(1)
        call.say("for")
        call.say("ty")
        call.break_off(_AWAY)
        with pytest.raises(UpstreamInterrupted):
            await soon(listener.task)
        (record,) = await rig.records()
    assert (record.usage.input_tokens, record.usage.output_tokens) == (9, 2)
    assert not record.answered


async def test_a_router_that_refuses_is_told_as_it_said_and_records_nothing() -> None:
    async with flying() as rig:
        rig.router.failure = NoModelSatisfies("No model is that cheap.", param="cost_budget")
        with pytest.raises(NoModelSatisfies) as caught:
            await soon(rig.ask(asked("r-1")))
        assert caught.value.param == "cost_budget"
        assert await rig.records() == []


async def test_a_router_that_ends_without_an_answer_is_an_error_and_its_call_is_estimated() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide()
        call.announce(1)
        call.end()
        with pytest.raises(InternalError):
            await soon(asking)
        assert [record.error_code for record in await rig.records()] == ["internal_error"]


@pytest.mark.parametrize(
    "reason",
    [
        FinishReason.FINISH_REASON_LENGTH,
        FinishReason.FINISH_REASON_CONTENT_FILTER,
        FinishReason.FINISH_REASON_UNSPECIFIED,
    ],
)
async def test_truncated_and_filtered_answers_are_given_but_never_stored(reason: FinishReason.ValueType) -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.decide()
        call.announce()
        call.complete(answer("4", reason=reason))
        result = await soon(asking)
        assert (rig.cache.entries, len(rig.near)) == ({}, 0)
    assert text_of(result.answer) == "4"
    assert [end for _, end in rig.cache.ended] == [None]


async def test_lookups_that_fail_are_misses_and_said_to_be_degraded() -> None:
    async with flying() as rig:
        rig.cache.failure = DeadlineExceeded("The cache service did not answer within the call's deadline.")
        result = await rig.answered(asked("r-1"))
    assert (text_of(result.answer), result.degraded) == ("42", ("cache",))


async def test_a_cache_that_cannot_store_degrades_and_the_answer_is_given() -> None:
    async with flying() as rig:
        rig.cache.store_failure = _AWAY
        result = await rig.answered(asked("r-1"))
        assert len(rig.near) == 0
    assert (text_of(result.answer), result.degraded) == ("42", ("cache",))


async def test_a_spool_that_does_not_last_without_billing_degrades_and_the_answer_is_given() -> None:
    ledger = CountingLedger()
    ledger.failure = _AWAY
    async with flying(persistent=False, ledger=ledger) as rig:
        result = await rig.answered(asked("r-1"))
        ledger.failure = None
    assert (text_of(result.answer), result.degraded) == ("42", ("billing",))
