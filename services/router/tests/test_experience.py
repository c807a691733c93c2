"""Answers that somebody judged become a memory, and the memory decides: from the store to the sentence."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import structlog

from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import ManualClock
from asahi_core.errors import NoModelSatisfies
from asahi_core.prices import load_price_book
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.decision import Past, Ranking, decide
from asahi_router.domain.escalation import Checks
from asahi_router.domain.evidence import TariffCosts
from asahi_router.domain.examples import Example
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import read_features
from asahi_router.domain.outcomes import Outcome
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from services.router.tests.decision_rig import always, chat, scale, task
from services.router.tests.learning_rig import CHEAP, DEAR, World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TEXT = "What is it?"
FORM = read_features(chat(TEXT)).form


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


def experience_at(store: SqlOutcomeStore, clock: ManualClock, most: int = 50_000) -> Experience:
    return Experience(store, TariffCosts(load_price_book(), clock), clock, structlog.get_logger(), most)


async def live(store: SqlOutcomeStore, experience: Experience, world: World, count: int, org: str = "org") -> None:
    """`count` questions are answered, half by each model, and judged by callers."""
    embeddings, topics = world.asked(count)
    right = world.right(topics)
    for number in range(count):
        model, request = number % 2, f"{org}-{number}"
        name = (DEAR, CHEAP)[model]
        experience.answered(Example(org, request, name, FORM, embeddings[number].tobytes(), 40, 100, NOW))
        score = float(right[number, model])
        await store.record(Outcome(org, request, "key", name, "knowledge", score, None, "", NOW))


def decided(experience: Experience, embedding: bytes = b"", org: str = "org", **routing: float) -> Ranking:
    asked = task(chat(TEXT), policy={"quality_floor": 1.0, "epsilon": 0.05}, **routing)
    asked.organization_id, asked.prompt_embedding = org, embedding
    return decide(asked, scale(), always, Past(experience, Conversations(ManualClock(NOW)), Checks()), explain=True)


async def test_feedback_lets_the_cheap_model_answer_where_it_is_as_good_and_only_there(store: SqlOutcomeStore) -> None:
    world, experience = World(1), experience_at(store, ManualClock(NOW))
    await live(store, experience, world, 1200)
    await experience.catch_up()
    embeddings, topics = world.asked(60)
    first = decided(experience, embeddings[0].tobytes())
    assert "outcomes" not in first.decision.reason, "nothing is calibrated before somebody asks"
    await experience.catch_up()
    rankings = [decided(experience, one.tobytes()) for one in embeddings]
    cheap = np.array([ranking.decision.model == CHEAP for ranking in rankings])
    assert cheap[topics < world.easy].mean() > 0.5
    assert cheap[topics >= world.easy].mean() < 0.4 * cheap[topics < world.easy].mean()
    switched = rankings[int(cheap.argmax())].decision.reason
    assert "gpt-6-luna stands in for gpt-6.1-sol on this knowledge question, by 1200 outcomes" in switched
    stayed = rankings[int((~cheap).argmax())].decision.reason
    assert "gpt-6.1-sol is the baseline" in stayed


async def test_without_an_embedding_the_form_alone_decides_and_the_reason_says_so(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    await live(store, experience, World(2), 800)
    await experience.catch_up()
    decided(experience)
    await experience.catch_up()
    told = decided(experience).decision
    assert told.model == DEAR, "over all topics the cheap model is worse"
    assert "by the question's form alone" in told.reason


async def test_every_candidate_with_outcomes_has_its_quality_with_an_error(store: SqlOutcomeStore) -> None:
    world, experience = World(3), experience_at(store, ManualClock(NOW))
    await live(store, experience, world, 800)
    await experience.catch_up()
    candidates = {c.model: c for c in decided(experience, world.asked(1)[0][0].tobytes()).decision.candidates}
    assert 0 < candidates[CHEAP].quality_error < 2
    assert not candidates["claude-opus-5-5"].HasField("quality_error")


async def test_a_quality_that_is_asked_for_must_be_met_by_the_lower_bound(store: SqlOutcomeStore) -> None:
    world, experience = World(4), experience_at(store, ManualClock(NOW))
    await live(store, experience, world, 1200)
    await experience.catch_up()
    embeddings, topics = world.asked(40)
    hard = embeddings[topics >= world.easy][0].tobytes()
    asked = decided(experience, hard, mode=RoutingMode.ROUTING_MODE_AUTOPILOT, quality_threshold=3.2)
    excluded = {c.model: c.excluded_by for c in asked.decision.candidates}
    assert "quality" in excluded[CHEAP]
    assert asked.decision.model != CHEAP
    with pytest.raises(NoModelSatisfies, match="the best that meets the other constraints is"):
        decided(experience, hard, mode=RoutingMode.ROUTING_MODE_AUTOPILOT, quality_threshold=5)


async def test_organisations_never_learn_from_each_other(store: SqlOutcomeStore) -> None:
    world, experience = World(5), experience_at(store, ManualClock(NOW))
    await live(store, experience, world, 800)
    await experience.catch_up()
    embedding = world.asked(1)[0][0].tobytes()
    assert experience.lesson("org", embedding) is not None
    assert experience.lesson("other", embedding) is None
    assert not any(c.HasField("quality_error") for c in decided(experience, embedding, "other").decision.candidates)


async def test_another_process_on_the_same_store_learns_the_same(store: SqlOutcomeStore) -> None:
    world, clock = World(6), ManualClock(NOW)
    answering, deciding = experience_at(store, clock), experience_at(store, clock)
    await live(store, answering, world, 600)
    await answering.catch_up()
    await deciding.catch_up()
    embedding = world.asked(1)[0][0].tobytes()
    both = [one.lesson("org", embedding) for one in (answering, deciding)]
    assert both[0] is not None
    assert both[1] is not None
    assert both[0].taught.learned.answers.tolist() == both[1].taught.learned.answers.tolist() == [300, 300]


async def test_memory_is_bounded_and_the_largest_organisation_gives_way(store: SqlOutcomeStore) -> None:
    world, experience = World(7), experience_at(store, ManualClock(NOW), most=500)
    await live(store, experience, world, 250, "small")
    await live(store, experience, world, 600, "large")
    await experience.catch_up()
    embedding = world.asked(1)[0][0].tobytes()
    counts = {}
    for org in ("small", "large"):
        lesson = experience.lesson(org, embedding)
        assert lesson is not None
        counts[org] = int(lesson.taught.learned.answers.sum())
    assert counts == {"small": 250, "large": 250}


async def test_a_key_that_votes_again_and_again_counts_once(store: SqlOutcomeStore) -> None:
    world, clock = World(8), ManualClock(NOW)
    experience = experience_at(store, clock)
    await live(store, experience, world, 600)
    for second in range(300):
        said = NOW + timedelta(seconds=second)
        await store.record(Outcome("org", "org-1", "poison", CHEAP, "knowledge", 1.0, None, "", said))
    await experience.catch_up()
    lesson = experience.lesson("org", world.asked(1)[0][0].tobytes())
    assert lesson is not None
    assert lesson.taught.learned.answers.tolist() == [300, 300]


async def test_what_nobody_judged_is_forgotten_after_a_week(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW)
    experience = experience_at(store, clock)
    old = Example("org", "old", DEAR, FORM, b"", 40, 100, NOW - timedelta(days=8))
    for example in (old, replace(old, request_id="judged")):
        experience.answered(example)
    await store.record(Outcome("org", "judged", "key", DEAR, "chat", 1.0, None, "", NOW))
    await experience.catch_up()
    await store.record(Outcome("org", "old", "key", DEAR, "chat", 1.0, None, "", NOW))
    assert [one.example.request_id for one in await store.judged(NOW - timedelta(days=1), 10)] == ["judged"]
