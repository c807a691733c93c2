"""A share of questions, by policy, is answered by models drawn at random; what that measures."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest
from asahi_router.domain.decision import Decider, Ranking
from asahi_router.domain.examples import Chance, Example
from asahi_router.domain.exploration import Exploring
from asahi_router.domain.lessons import Aim
from asahi_router.domain.outcomes import Outcome
from asahi_router.domain.worth import Worth
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from services.router.tests.decision_rig import BASELINE, BEST, CHEAP, EXPLICIT, PEER, QUICK, always, scale, task
from services.router.tests.test_experience import FORM, NOW, decided, experience_at

AIM = Aim(BASELINE, 0.05)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


def draws(asked: Task, random: Callable[[], float], count: int) -> list[Ranking]:
    exploring = Exploring(Decider(scale(), always, ManualClock(NOW)), random)
    return [exploring.decide(asked, explain=False) for _ in range(count)]


def explored(share: float, **policy: object) -> Task:
    return task(policy={"exploration": share, "quality_floor": 3.0, **policy})


def test_models_are_drawn_as_often_as_their_propensity_says() -> None:
    rankings = draws(explored(0.4), np.random.default_rng(0).random, 6000)
    seen: Counter[str] = Counter(ranking.decision.model for ranking in rankings)
    propensity = {r.decision.model: r.chance.propensity for r in rankings if r.chance is not None}
    assert set(propensity) == {BASELINE, PEER, CHEAP}, "none below the floor, none dearer than the baseline"
    assert sum(propensity.values()) == pytest.approx(1)
    for name, share in propensity.items():
        assert seen[name] / 6000 == pytest.approx(share, abs=0.02)


def test_who_was_drawn_answers_first_and_is_said_to_be_drawn() -> None:
    usual = draws(explored(0.0), lambda: 0.0, 1)[0]
    assert usual.chance == Chance(BASELINE)
    drawn = draws(explored(1.0), cycle((0.0, 0.99)).__next__, 1)[0]
    assert drawn.decision.model == drawn.chain[0].model != usual.decision.model
    assert drawn.decision.provider == drawn.chain[0].provider
    assert f"else {usual.decision.model} would answer" in drawn.decision.reason
    assert [c.model for c in drawn.chain].count(drawn.decision.model) == 1


@pytest.mark.parametrize("case", ["named", "threshold", "alone"])
def test_nothing_is_drawn_where_the_caller_decided_or_one_model_is_left(case: str) -> None:
    asked = {
        "named": task(mode=EXPLICIT, model=BEST, policy={"exploration": 1.0}),
        "threshold": task(quality_threshold=4.0, policy={"exploration": 1.0}),
        "alone": explored(1.0, allowed_models=[BASELINE]),
    }[case]
    models = {ranking.decision.model for ranking in draws(asked, np.random.default_rng(1).random, 50)}
    assert len(models) == 1


def test_a_model_that_may_not_answer_is_never_drawn() -> None:
    rankings = draws(explored(1.0, quality_floor=0.0, allowed_models=["gpt-*"]), np.random.default_rng(2).random, 300)
    assert {r.decision.model for r in rankings} == {BASELINE, PEER, CHEAP, QUICK}


async def lived(store: SqlOutcomeStore, *, cheap_is_right: float, exploration: float) -> None:
    """1500 answers, most by the cheap model, each judged."""
    random = np.random.default_rng(3)
    each = exploration / 2
    examples, outcomes = [], []
    for number in range(1500):
        drawn = random.random() < each
        model = BASELINE if drawn else CHEAP
        chance = Chance(BASELINE, each if drawn else 1 - each, each)
        right = random.random() < (0.95 if drawn else cheap_is_right)
        example = Example("org", str(number), model, FORM, b"", 40, 100, NOW)
        examples.append(replace(example, chance=chance))
        outcomes.append(Outcome("org", str(number), "key", model, "chat", float(right), None, "", NOW))
    await store.keep(examples)
    for outcome in outcomes:
        await store.record(outcome)


async def test_where_routing_surely_loses_too_much_the_baseline_takes_over_and_says_so(store: SqlOutcomeStore) -> None:
    await lived(store, cheap_is_right=0.5, exploration=0.4)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    decided(experience)
    await experience.catch_up()
    told = decided(experience).decision
    assert told.model == BASELINE
    assert "is the baseline and answers all: measured by inverse propensity, routing lost" in told.reason
    worth = await Worth(experience, scale().catalog).compare("org", RoutingPolicy(epsilon=0.05))
    assert worth.baseline_took_over
    assert (worth.decisions, worth.explored) == (1500, 1500)
    assert experience.harm("other", AIM) is None
    other = await Worth(experience, scale().catalog).compare("other", RoutingPolicy(epsilon=0.05))
    assert (other.decisions, list(other.controls)) == (0, []), "no organisation sees another's"


async def test_where_it_does_not_routing_goes_on_and_is_measured(store: SqlOutcomeStore) -> None:
    await lived(store, cheap_is_right=0.95, exploration=0.4)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    worth = await Worth(experience, scale().catalog).compare("org", RoutingPolicy(epsilon=0.05))
    assert not worth.baseline_took_over
    router = worth.controls[0]
    assert (router.policy, router.measured) == ("router", True)
    assert router.lost_low < 0.02
    assert router.saved > 0.3


async def test_without_exploration_nothing_is_measured_and_the_memory_decides(store: SqlOutcomeStore) -> None:
    await lived(store, cheap_is_right=0.5, exploration=0.0)
    experience = experience_at(store, ManualClock(NOW))
    await experience.catch_up()
    worth = await Worth(experience, scale().catalog).compare("org", RoutingPolicy(epsilon=0.05))
    assert (worth.decisions, worth.explored, worth.baseline_took_over) == (1500, 0, False)
    assert not any(control.measured for control in worth.controls)


async def tried(store: SqlOutcomeStore, asked: Task, *, cheap_is_right: float, count: int) -> list[Ranking]:
    """What is decided after 1500 answers that were judged, each by what had been learned when it was asked."""
    await lived(store, cheap_is_right=cheap_is_right, exploration=1.0)
    clock = ManualClock(NOW)
    experience = experience_at(store, clock)
    exploring = Exploring(Decider(scale(), always, clock), np.random.default_rng(4).random, experience)
    for _ in range(2):  # what is tried is learned when somebody has asked
        await experience.catch_up()
        exploring.decide(asked, explain=False)
    await experience.catch_up()
    return [exploring.decide(asked, explain=False) for _ in range(count)]


async def test_a_model_that_is_as_good_is_trusted_and_drawn_as_often_as_its_propensity_says(
    store: SqlOutcomeStore,
) -> None:
    asked = explored(0.4, epsilon=0.05)
    asked.organization_id = "org"
    rankings = await tried(store, asked, cheap_is_right=0.96, count=3000)
    seen = Counter(ranking.decision.model for ranking in rankings)
    chances = {r.decision.model: r.chance for r in rankings if r.chance is not None}
    assert set(seen) == {CHEAP, BASELINE}
    assert sum(chance.propensity for chance in chances.values()) == pytest.approx(1)
    for name, chance in chances.items():
        other = BASELINE if name == CHEAP else CHEAP
        assert seen[name] / 3000 == pytest.approx(chance.propensity, abs=0.01)
        assert (chance.among, chance.least) == (other, chances[other].propensity)
        assert chance.least_of(PEER) == 0, "no log says what a third model would have answered"
    reasons = {r.decision.model: r.decision.reason for r in rankings}
    assert reasons[CHEAP].startswith("gpt-6-luna stands in for gpt-6.1-sol, by 7")
    assert "answers 3 % of the questions on which gpt-6-luna is tried" in reasons[BASELINE]
    assert {r.chain[0].model for r in rankings if r.decision.model == CHEAP} == {CHEAP}


async def test_a_model_that_is_shown_worse_is_not_drawn_any_more(store: SqlOutcomeStore) -> None:
    asked = explored(0.4, epsilon=0.05, allowed_models=[BASELINE, CHEAP])
    asked.organization_id = "org"
    rankings = await tried(store, asked, cheap_is_right=0.7, count=200)
    assert {r.decision.model for r in rankings} == {BASELINE}
    assert {r.chance for r in rankings} == {Chance(BASELINE, 1.0, 0.0, BASELINE)}
    assert "no cheaper model is worth trying in its place any more" in rankings[0].decision.reason


async def test_what_one_organisation_learned_decides_nothing_for_another(store: SqlOutcomeStore) -> None:
    asked = explored(0.4, epsilon=0.05)
    asked.organization_id = "other"
    rankings = await tried(store, asked, cheap_is_right=0.96, count=300)
    assert {r.decision.model for r in rankings} == {BASELINE, PEER, CHEAP}, "drawn alike: nothing is known"
    assert {r.chance.among for r in rankings if r.chance is not None} == {""}


async def test_an_organisation_must_be_named(store: SqlOutcomeStore) -> None:
    experience = experience_at(store, ManualClock(NOW))
    with pytest.raises(InvalidRequest):
        await Worth(experience, scale().catalog).compare("", RoutingPolicy())


async def test_propensities_come_back_from_the_store_as_they_were(store: SqlOutcomeStore) -> None:
    chance = Chance(BASELINE, 0.125, 0.0625, PEER)
    await store.keep([Example("org", "1", CHEAP, FORM, b"", 40, 100, NOW, chance=chance)])
    await store.record(Outcome("org", "1", "key", CHEAP, "chat", 1.0, None, "", NOW))
    assert [one.example.chance for one in await store.judged(NOW, 10)] == [chance]
