"""Flights that another edge leads, and flights that others follow."""

import asyncio
from dataclasses import replace

import pytest

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import (
    AsahiError,
    Cancelled,
    DeadlineExceeded,
    InternalError,
    NoModelSatisfies,
    Overloaded,
    ProviderError,
    ServiceUnavailable,
    UpstreamInterrupted,
)
from services.edge.tests.flying import Waiting, asked, flying, settle, soon, until
from services.edge.tests.neighbours import CHEAP, text_of

GONE = UpstreamInterrupted("The edge that was fetching this answer is gone.")
LOST = [
    GONE,
    ServiceUnavailable("The cache service does not answer.", retry_after_s=1.0),
    Overloaded("The answer is too long to be shared.", retry_after_s=1.0),
    Cancelled("The last caller left."),
    DeadlineExceeded("The call's time ran out."),
    InternalError("The cache service failed."),
]


async def test_a_foreign_flight_brings_its_answer_as_coalesced_without_a_call() -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        asking = [rig.ask(asked(f"r-{number}")) for number in range(2)]
        await until(lambda: foreign.followers == 1)
        foreign.finish(rig.entry("42"))
        results = await soon(asyncio.gather(*asking))
        records = await rig.records()
    assert rig.router.calls == []
    assert [(text_of(r.answer), r.coalesced, r.charge.cost_nanos) for r in results] == [("42", True, 0)] * 2
    assert [(r.attempt, r.coalesced) for r in records] == [(0, True)] * 2


async def test_a_foreign_flight_streams() -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        listener = rig.listen(asked("r-1", stream=True))
        foreign.open()
        foreign.say("forty")
        await until(lambda: listener.text == "forty")
        foreign.say("-two")
        foreign.finish(rig.entry("forty-two"))
        await soon(listener.task)
    assert (listener.pieces[0].opening.model, listener.text) == (CHEAP, "forty-two")
    assert listener.result is not None
    assert listener.result.coalesced


@pytest.mark.parametrize("error", [NoModelSatisfies("None is that cheap."), ProviderError("openai refused it.")])
async def test_what_the_request_itself_is_refused_for_is_told_as_the_lead_heard_it(error: AsahiError) -> None:
    async with flying() as rig:
        rig.cache.fly_elsewhere("f-1").fail(error)
        with pytest.raises(type(error)):
            await soon(rig.ask(asked("r-1")))
        assert rig.router.calls == []


@pytest.mark.parametrize("error", LOST, ids=lambda error: error.code)
async def test_a_foreign_flight_that_is_lost_is_flown_anew_for_those_who_were_sent_nothing(error: AsahiError) -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        plain, streamed = rig.ask(asked("r-1")), rig.listen(asked("r-2", stream=True))
        await until(lambda: foreign.followers == 1)
        foreign.fail(error)
        (await rig.call()).answer("42")
        result = await soon(plain)
        await soon(streamed.task)
    assert text_of(result.answer) == "42"
    assert streamed.result is not None
    assert text_of(streamed.result.answer) == "42"
    assert len(rig.router.calls) == 1


async def test_who_has_only_headers_to_send_when_a_flight_is_lost_is_flown_anew_too() -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        chat = replace(asked("r-1", stream=True), api=Api.API_OPENAI_CHAT_COMPLETIONS)
        listener = rig.listen(chat)
        foreign.open()
        await until(lambda: len(listener.pieces) == 1)
        foreign.fail(GONE)
        (await rig.call()).answer("42")
        await soon(listener.task)
    assert listener.result is not None
    assert text_of(listener.result.answer) == "42"


@pytest.mark.parametrize("error", LOST, ids=lambda error: error.code)
async def test_after_the_first_piece_a_lost_flight_ends_the_stream_unbilled_and_others_fly_anew(
    error: AsahiError,
) -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        plain, streamed = rig.ask(asked("r-1")), rig.listen(asked("r-2", stream=True))
        foreign.open()
        foreign.say("4")
        await until(lambda: streamed.text == "4")
        foreign.fail(error)
        with pytest.raises(UpstreamInterrupted):
            await soon(streamed.task)
        (await rig.call()).answer("42")
        result = await soon(plain)
        records = await rig.records()
    assert text_of(result.answer) == "42"
    assert streamed.result is None
    assert [record.request_id for record in records] == ["r-1"]


async def test_a_foreign_flight_that_falls_silent_without_an_end_is_lost() -> None:
    async with flying() as rig:
        rig.cache.fly_elsewhere("f-1").end()
        asking = rig.ask(asked("r-1"))
        (await rig.call()).answer("42")
        assert text_of((await soon(asking)).answer) == "42"


async def test_a_foreign_flight_that_ended_between_two_calls_has_its_answer_looked_up_again() -> None:
    async with flying() as rig:
        request = asked("r-1")
        rig.cache.fly_elsewhere("f-1", known=False)
        rig.cache.when_not_found = lambda: rig.cache.put("org-1", request.fingerprint, rig.entry("42"))
        result = await soon(rig.ask(request))
    assert (text_of(result.answer), result.cache_tier, rig.cache.lookups) == ("42", 1, 2)
    assert rig.router.calls == []


async def test_one_that_is_never_found_is_asked_for_no_oftener_than_three_times() -> None:
    async with flying() as rig:
        for number in range(5):
            rig.cache.fly_elsewhere(f"f-{number}", known=False)
        result = await rig.answered(asked("r-1"))
    assert (text_of(result.answer), rig.cache.lookups) == ("42", 3)


async def test_a_caller_whose_flights_are_lost_again_and_again_hears_of_it() -> None:
    async with flying() as rig:
        for number in range(5):
            rig.cache.fly_elsewhere(f"f-{number}").fail(GONE)
        with pytest.raises(UpstreamInterrupted):
            await soon(rig.ask(asked("r-1")))
        assert rig.cache.lookups == 3


async def test_following_ends_when_the_last_caller_leaves_and_costs_nothing() -> None:
    async with flying() as rig:
        foreign, caller = rig.cache.fly_elsewhere("f-1"), Waiting()
        asking = rig.ask(asked("r-1"), caller)
        await until(lambda: foreign.followers == 1)
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        await until(lambda: foreign.followers == 0)
        assert await rig.records() == []


async def test_who_asks_in_the_moment_in_which_the_last_follower_leaves_is_answered() -> None:
    async with flying() as rig:
        foreign, caller = rig.cache.fly_elsewhere("f-1"), Waiting()
        leaving = rig.ask(asked("r-1"), caller)
        await until(lambda: foreign.followers == 1)
        leaving.cancel()
        rig.router.script = lambda call: call.answer("42")
        for number in range(10):
            result = await soon(rig.ask(asked(f"r-a{number}")))
            assert text_of(result.answer) == "42"


async def test_nobody_is_followed_for_a_caller_who_has_left_already() -> None:
    async with flying() as rig:
        foreign, caller = rig.cache.fly_elsewhere("f-1"), Waiting()
        rig.cache.replying.clear()
        asking = rig.ask(asked("r-1"), caller)
        await until(lambda: rig.cache.lookups == 1)
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        rig.cache.replying.set()
        await settle()
        assert foreign.followers == 0
        foreign.finish(rig.entry())


async def test_a_lead_hands_on_all_pieces_from_the_first_when_it_is_wanted_and_says_how_it_ended() -> None:
    async with flying() as rig:
        listener = rig.listen(asked("r-1", stream=True))
        call = await rig.call()
        call.decide()
        call.announce()
        call.say("for")
        await until(lambda: listener.text == "for")
        assert rig.cache.published == []
        rig.leads.want("led-1")
        call.say("ty")
        call.complete("forty")
        await soon(listener.task)
    assert [id_ for id_, _ in rig.cache.published] == ["led-1"] * 3
    assert [piece.text for _, piece in rig.cache.published] == ["", "for", "ty"]
    assert rig.cache.published[0][1].HasField("opening")
    ((flight_id, end),) = rig.cache.ended
    assert flight_id == "led-1"
    assert isinstance(end, CacheEntry)
    assert text_of(end.answer) == "forty"


async def test_a_lead_that_nobody_follows_says_nothing_once_its_answer_is_stored() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        assert (rig.cache.published, rig.cache.ended) == ([], [])


async def test_a_follower_elsewhere_keeps_the_call_alive_until_it_is_gone_too() -> None:
    async with flying() as rig:
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        call = await rig.call()
        call.decide(expected_cost_nanos=10_000_001)
        call.announce()
        rig.leads.want("led-1")
        await settle()
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        assert not call.cancelled
        rig.leads.unwant("led-1")
        assert call.cancelled
        await until(lambda: rig.spool.appended == 1)


async def test_a_flight_whose_replica_is_gone_is_asked_for_anew_by_name() -> None:
    async with flying() as rig:
        foreign = rig.cache.fly_elsewhere("f-1")
        asking = rig.ask(asked("r-1"))
        await until(lambda: foreign.followers == 1)
        foreign.fail(ServiceUnavailable("The cache service does not answer.", retry_after_s=1.0))
        (await rig.call()).answer("42")
        await soon(asking)
        assert rig.cache.lost == ["", "f-1"]


async def test_who_follows_in_the_moment_of_the_landing_is_told_the_answer() -> None:
    async with flying() as rig:
        rig.router.closing.clear()
        asking = rig.ask(asked("r-1"))
        (await rig.call()).answer("42")
        await soon(asking)
        rig.leads.want("led-1")
        rig.router.closing.set()
        await until(lambda: bool(rig.cache.ended))
    (flight_id, end), *others = rig.cache.ended
    assert (flight_id, others) == ("led-1", [])
    assert isinstance(end, CacheEntry)
    assert text_of(end.answer) == "42"


async def test_a_word_that_comes_before_the_answer_to_the_lookup_is_kept_for_it() -> None:
    async with flying() as rig:
        rig.leads.want("led-1")
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        call.answer("42")
        await soon(asking)
        assert [(id_, end is not None) for id_, end in rig.cache.ended] == [("led-1", True)]


async def test_who_wanted_a_flight_too_early_and_left_again_does_not_keep_it_alive() -> None:
    async with flying() as rig:
        for word in (rig.leads.want, rig.leads.want, rig.leads.unwant):
            word("led-1")
        caller = Waiting()
        asking = rig.ask(asked("r-1"), caller)
        call = await rig.call()
        caller.go()
        with pytest.raises(Cancelled):
            await soon(asking)
        assert call.cancelled


async def test_a_flight_that_nobody_here_knows_is_ended_for_its_followers() -> None:
    async with flying() as rig:
        rig.leads.want("never-told")
        await until(lambda: bool(rig.cache.ended))
        assert rig.cache.ended == [("never-told", None)]


async def test_a_failure_is_told_to_followers_elsewhere() -> None:
    async with flying() as rig:
        asking = rig.ask(asked("r-1"))
        call = await rig.call()
        rig.leads.want("led-1")
        error = NoModelSatisfies("None is that cheap.")
        call.break_off(error)
        with pytest.raises(NoModelSatisfies):
            await soon(asking)
        assert rig.cache.ended == [("led-1", error)]
