"""Compared answers: who is asked, what is learned from them, and that they go with whom they are of."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from asahi_core.clock import ManualClock
from asahi_router.domain.comparisons import most_telling
from asahi_router.domain.decision import Decider, Ranking
from asahi_router.domain.erasure import Eraser
from asahi_router.domain.examples import Pair
from asahi_router.domain.learning.learned import Measured
from asahi_router.domain.lessons import Lesson, lesson_of
from asahi_router.domain.outcomes import Outcome
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from services.router.tests.decision_rig import BASELINE, CHEAP, always, scale, task
from services.router.tests.learning_rig import DEAR
from services.router.tests.test_experience import FORM
from services.router.tests.test_forgetting import NOW, example, experience_at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


def pair(request: str, difference: float, *, user: str = "ada", org: str = "acme") -> Pair:
    """The baseline's answer beside the cheap model's, which was given."""
    second = replace(example(f"{request}/1000001", user, org), form=FORM, model=DEAR)
    return Pair(second, CHEAP, 40, difference, "local")


def ranking(**policy: object) -> Ranking:
    asked = task(policy={"exploration": 1.0, "quality_floor": 0.0, **policy})
    return Decider(scale(), always, ManualClock(NOW)).decide(asked, explain=False)


def test_the_baseline_is_asked_what_another_answered_and_else_the_most_promising_of_the_cheaper() -> None:
    found = most_telling(ranking(), CHEAP, 0.01)
    assert found is not None
    assert found.model == BASELINE
    found = most_telling(ranking(), BASELINE, 0.01)
    assert found is not None
    assert found.expected_cost_nanos < next(c for c in ranking().may if c.model == BASELINE).expected_cost_nanos  # type: ignore[operator]


def test_nothing_is_asked_where_all_is_sure_or_nobody_else_may_answer() -> None:
    assert most_telling(ranking(allowed_models=[BASELINE]), BASELINE, 0.01) is None
    assert most_telling(ranking(allowed_models=[CHEAP]), CHEAP, 0.01) is None, "the baseline may not answer"
    sure = ranking()
    known = tuple(c._replace(quality=0.5, quality_error=0.01) if c.model != BASELINE else c for c in sure.may)
    assert most_telling(replace(sure, may=known), BASELINE, 0.01) is None, "they are surely worse"


async def test_pairs_are_learned_from_in_every_process_and_kept_longer_than_what_nobody_judged(
    store: SqlOutcomeStore,
) -> None:
    clock = ManualClock(NOW)
    first, second = experience_at(store, clock), experience_at(store, clock)
    for number in range(110):
        first.paired(pair(f"r{number}", 1.0 if number % 2 else 0.0))
    await first.catch_up()
    clock.advance(timedelta(days=8).total_seconds())
    await second.catch_up()
    lesson = second.lesson("acme", b"")
    assert lesson is not None
    answers = dict(zip(lesson.taught.learned.models, lesson.taught.learned.answers.tolist(), strict=True))
    assert answers == {DEAR: 110, CHEAP: 110}
    assert second.lesson("other", b"") is None


def outcomes_of(lesson: Lesson) -> dict[str, list[float]]:
    measured: Measured = lesson.taught.measured
    return {model: measured.quality[:, place].tolist() for place, model in enumerate(measured.models)}


def test_a_pair_says_how_answers_differ_at_the_level_that_is_known() -> None:
    pairs = [pair(f"r{number}", [0.4, -0.4, 0.0][number % 3]) for number in range(210)]
    quality = outcomes_of(lesson_of("acme", [], pairs, embeds=False))
    assert quality[CHEAP][:3] == pytest.approx([0.6, 1.0, 1.0])
    assert quality[DEAR][:3] == pytest.approx([1.0, 0.6, 1.0])


async def test_what_somebody_said_of_the_answer_that_was_given_is_the_level_of_its_pair(
    store: SqlOutcomeStore,
) -> None:
    given = [replace(example(f"r{number}", "ada", "acme"), form=FORM, model=CHEAP) for number in range(30)]
    await store.keep(given)
    for one in given:
        await store.record(Outcome("acme", one.request_id, "key", CHEAP, "chat", 0.5, None, "", NOW, "ada"))
    judged = await store.judged(NOW - timedelta(days=1), 100)
    lesson = lesson_of("acme", judged, [pair("r3", 0.25), pair("unjudged", 0.25)], embeds=False)
    quality = outcomes_of(lesson)
    row = [one.example.request_id for one in judged].index("r3")
    assert (quality[CHEAP][row], quality[DEAR][row]) == pytest.approx((0.5, 0.75))
    assert (quality[CHEAP][-1], quality[DEAR][-1]) == pytest.approx((0.25, 0.5)), "the usual level is the better's"
    assert len(quality[DEAR]) == 31
    assert np.isnan(quality[DEAR][(row + 1) % 30])


async def test_an_erased_users_pairs_are_gone_and_late_ones_are_not_kept(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW)
    experience = experience_at(store, clock)
    experience.paired(pair("r1", 1.0, user="ada"))
    experience.paired(pair("r2", 1.0, user="bob"))
    experience.paired(pair("r3", 1.0, user="ada", org="other"))
    await experience.catch_up()
    clock.advance(60.0)
    await Eraser(store, experience, clock).erase("acme", "ada")
    experience.paired(pair("r4", 1.0, user="ada"))  # asked before the erasure, compared after it
    await experience.catch_up()
    kept = await store.pairs(NOW - timedelta(days=1), 10)
    assert sorted(one.example.request_id.partition("/")[0] for one in kept) == ["r2", "r3"]


async def test_a_pair_is_no_answer_that_somebody_got(store: SqlOutcomeStore) -> None:
    await store.keep_pairs([pair("r1", 1.0)])
    assert await store.answers("acme", NOW - timedelta(days=1)) == []
    assert await store.signalled(NOW - timedelta(days=1), 10) == []
