"""Organisations that share their outcomes decide by each other's while their own are too few; others never see them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from asahi.router.v1.router_pb2 import Decision
from asahi_core.clock import ManualClock
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.decision import Past, decide
from asahi_router.domain.erasure import Eraser
from asahi_router.domain.escalation import Checks
from asahi_router.domain.experience import Experience
from asahi_router.domain.outcomes import Outcome
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from services.router.tests.decision_rig import always, chat, scale, task
from services.router.tests.learning_rig import DEAR
from services.router.tests.test_experience import FORM, TEXT
from services.router.tests.test_forgetting import NOW, example, experience_at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


async def gives(store: SqlOutcomeStore, org: str, count: int, *, shared: bool) -> None:
    """Answers to an organisation, all judged."""
    names = [f"{org}-{number}" for number in range(count)]
    await store.keep([replace(example(name, "ada", org), form=FORM, shared=shared) for name in names])
    for number, name in enumerate(names):
        await store.record(Outcome(org, name, "key", DEAR, "chat", float(number % 3 > 0), None, "", NOW, "ada"))


def told(experience: Experience, org: str, *, shares: bool) -> Decision:
    asked = task(chat(TEXT), policy={"quality_floor": 1.0, "shares_outcomes": shares})
    asked.organization_id = org
    return decide(
        asked, scale(), always, Past(experience, Conversations(ManualClock(NOW)), Checks()), explain=True
    ).decision


def learned(experience: Experience, org: str, *, shares: bool) -> int:
    """Outcomes that decide for the organisation."""
    lesson = experience.lesson(org, b"", common=shares)
    return 0 if lesson is None else int(np.sum(lesson.taught.learned.answers))


async def test_who_shares_decides_by_the_outcomes_of_all_that_do(store: SqlOutcomeStore) -> None:
    await gives(store, "one", 120, shared=True)
    await gives(store, "two", 130, shared=True)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    assert learned(experience, "one", shares=True) == learned(experience, "new", shares=True) == 250
    told(experience, "new", shares=True)
    await experience.catch_up()
    assert "by 250 outcomes of organizations that share them" in told(experience, "new", shares=True).reason


async def test_who_does_not_share_neither_gives_nor_gets(store: SqlOutcomeStore) -> None:
    await gives(store, "private", 150, shared=False)
    await gives(store, "open", 210, shared=True)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    assert learned(experience, "private", shares=False) == 0
    assert not any(c.HasField("quality_error") for c in told(experience, "private", shares=False).candidates)
    assert learned(experience, "new", shares=True) == 210, "the private ones are not among them"


async def test_an_organisations_own_outcomes_decide_where_there_are_enough(store: SqlOutcomeStore) -> None:
    await gives(store, "one", 300, shared=True)
    await gives(store, "two", 220, shared=True)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    assert learned(experience, "two", shares=True) == 220


async def test_who_shares_no_longer_takes_back_what_was_shared_in_every_process(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW + timedelta(minutes=1))
    await gives(store, "one", 230, shared=True)
    await gives(store, "two", 240, shared=True)
    asked, other = experience_at(store, clock), experience_at(store, clock)
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience, "new", shares=True) == 470
    told(asked, "one", shares=False)
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience, "new", shares=True) == 240
        assert learned(experience, "one", shares=False) == 230, "they are still its own"


async def test_what_is_erased_is_gone_from_what_is_shared(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW)
    await gives(store, "one", 230, shared=True)
    await gives(store, "two", 240, shared=True)
    asked, other = experience_at(store, clock), experience_at(store, clock)
    for experience in (asked, other):
        await experience.catch_up()
    await Eraser(store, asked, clock).erase("one", "ada")
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience, "new", shares=True) == 240
