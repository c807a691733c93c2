"""What calls say against answers by themselves becomes part of an organisation's memory, in its share."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Prompt, Role
from asahi.type.v1.policy_pb2 import Cascade
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import ManualClock
from asahi_router.domain.experience import Experience
from asahi_router.domain.outcomes import Outcome
from asahi_router.domain.signals import REPEATED, SCORES, Answers, Repeats, counts, score_of, shares
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from services.router.tests.completion_rig import MODELS, Rig, ScriptedProvider, Turn, start
from services.router.tests.learning_rig import CHEAP, DEAR
from services.router.tests.test_forgetting import NOW, example, experience_at

HOUR = timedelta(hours=1)
PROSE = Turn(pieces=("Certainly!",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


def prompt(text: str) -> Prompt:
    return Prompt(chat=ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text=text)])]))


def structured() -> Prompt:
    asked = prompt("Count to four.")
    asked.chat.response_format_json = b'{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}'
    return asked


async def live(experience: Experience, store: SqlOutcomeStore, *, failing: int, judged_each: int = 10) -> None:
    """1000 answers by each model; every `failing`th of the cheap one fails, some sound ones are judged."""
    for model in (DEAR, CHEAP):
        for number in range(1000):
            fails = model == CHEAP and number % failing == 0
            name = f"{model}-{number}"
            experience.answered(replace(example(name), model=model, signal="json_schema" if fails else ""))
            if not fails and judged_each and number % judged_each == 1:
                await store.record(Outcome("org", name, "key", model, "chat", 1.0, None, "", NOW))
    await experience.catch_up()


def quality(experience: Experience, model: str) -> float:
    lesson = experience.lesson("org", b"")
    assert lesson is not None
    known = lesson.taught.measured.quality[:, lesson.taught.learned.models.index(model)]
    return float(np.nanmean(known))


async def test_failures_have_the_share_of_outcomes_that_they_have_of_answers(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    await live(experience, store, failing=5, judged_each=4)
    assert quality(experience, DEAR) == 1.0
    assert quality(experience, CHEAP) == pytest.approx(0.8, abs=0.06), "one of five answers is of no use"


async def test_where_nobody_judges_anything_nothing_is_learned(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    await live(experience, store, failing=2, judged_each=0)
    assert experience.lesson("org", b"") is None


async def test_what_somebody_says_of_a_failed_answer_counts_instead(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    for number in range(400):
        experience.answered(replace(example(str(number)), signal="refused"))
        await store.record(Outcome("org", str(number), "key", DEAR, "chat", 1.0, None, "", NOW))
    await experience.catch_up()
    assert quality(experience, DEAR) == 1.0


async def test_signals_of_one_organisation_say_nothing_to_another(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    await store.keep([replace(example(str(n), org="other"), model=CHEAP, signal="empty") for n in range(500)])
    await live(experience, store, failing=10_000, judged_each=4)
    assert quality(experience, CHEAP) > 0.99
    assert {one.organization_id for one in await store.signalled(NOW - HOUR, 10_000, "other")} == {"other"}
    assert {one.model for one in await store.answers("org", NOW - HOUR)} == {CHEAP, DEAR}


async def test_a_question_asked_again_marks_the_answer_before_it(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    for name in ("before", "other"):
        experience.answered(example(name))
    experience.repeated("org", "before")
    experience.repeated("elsewhere", "other")
    await experience.catch_up()
    assert [(one.request_id, one.signal) for one in await store.signalled(NOW - HOUR, 10)] == [("before", REPEATED)]


def test_shares_make_up_for_what_nobody_judged() -> None:
    sound, failed = Answers("m", False, 900, 90), Answers("m", True, 100, 0)
    assert shares([sound, failed]) == {"m": pytest.approx(0.1)}
    half = shares([sound, replace(failed, judged=10)])
    assert half == {"m": 0.0}, "as many were judged as there should be"
    assert shares([failed]) == {"m": 0.0}
    assert shares([]) == {}


def test_what_is_said_of_a_kind_of_failure_takes_the_place_of_what_is_assumed() -> None:
    assert score_of("json", []) == SCORES["json"] == 0.0
    assert score_of("refused", [1.0] * 2000) > 0.98
    assert SCORES["json"] < SCORES["refused"] < SCORES[REPEATED] < 1


def test_the_answers_that_count_are_as_many_as_the_share_and_stay_when_it_grows() -> None:
    few, many = ({str(n) for n in range(4000) if counts(str(n), share)} for share in (0.1, 0.5))
    assert few < many
    assert len(few) == pytest.approx(400, rel=0.2)
    assert not counts("1", 0.0)
    assert counts("1", 1.0)


def test_only_the_first_repetition_by_the_same_named_user_within_ten_minutes_is_told() -> None:
    clock = ManualClock(datetime(2026, 11, 24, tzinfo=UTC))
    repeats = Repeats(clock)
    asked = prompt("Why?")
    assert repeats.asked("org", "ada", asked, "1") == ""
    assert repeats.asked("org", "grace", asked, "2") == ""
    assert repeats.asked("other", "ada", asked, "3") == ""
    assert repeats.asked("org", "ada", prompt("How?"), "4") == ""
    assert repeats.asked("org", "ada", asked, "5") == "1"
    assert [repeats.asked("org", "ada", asked, str(n)) for n in range(6, 9)] == ["", "", ""]
    assert [repeats.asked("org", "", asked, str(n)) for n in range(2)] == ["", ""], "nobody is known to ask again"
    clock.advance(601)
    assert repeats.asked("org", "ada", asked, "9") == ""
    assert repeats.asked("org", "ada", asked, "10") == "9"


async def test_a_user_who_asks_again_is_heard() -> None:
    rig = Rig(ScriptedProvider("openai", {MODELS[0]: [Turn()]}), models=MODELS[:1])
    for name in ("first", "second", "third"):
        await rig.run(start(request_id=name))
    assert rig.seen.repetitions == [("org-1", "first")]


@pytest.mark.parametrize("case", ["streamed", "named", "off"])
async def test_answers_that_are_given_unchecked_are_looked_at_too(case: str) -> None:
    mode = RoutingMode.ROUTING_MODE_EXPLICIT if case == "named" else RoutingMode.ROUTING_MODE_AUTOPILOT
    asked = start(stream=case == "streamed", mode=mode, prompt=structured())
    if case == "off":
        asked.task.policy.cascade = Cascade.CASCADE_OFF
    rig = Rig(ScriptedProvider("openai", {MODELS[0]: [PROSE]}), models=MODELS[:1], has_schema=True)
    told = await rig.run(asked)
    assert told.completed is not None
    assert told.completed.failed_check == "", "it is given, and may be used again"
    assert [example.signal for example in rig.seen.examples] == ["json"]


async def test_an_answer_given_though_it_failed_is_kept_once() -> None:
    rig = Rig(ScriptedProvider("openai", {MODELS[0]: [PROSE]}), models=MODELS[:1])
    await rig.run(start(prompt=structured()))
    assert [(one.request_id, one.signal) for one in rig.seen.examples] == [("request-1", "json")]
