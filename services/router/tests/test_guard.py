"""The guard leaves the baseline where outcomes show that quality holds, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from asahi_router.domain.learning.guard import Guard, guard_of
from asahi_router.domain.learning.learned import Measured, learn
from services.router.tests.learning_rig import CHEAP, DEAR, World

COSTS = {DEAR: 100.0, CHEAP: 5.0}


def guard(measured: Measured, costs: tuple[float, float] = (100.0, 5.0), epsilon: float = 0.01) -> Guard:
    taught = learn(measured, np.random.default_rng(0))
    return guard_of(taught, np.tile(np.array(costs), (len(measured.forms), 1)), DEAR, epsilon)


def choices(by: Guard, measured: Measured, embeddings: np.ndarray) -> np.ndarray:
    forms = measured.forms[:1]
    told = [by.learned.tell(forms, embeddings[row : row + 1]) for row in range(len(embeddings))]
    return np.array([by.judge(one, COSTS).model for one in told])


@pytest.mark.parametrize("known", [1.0, 0.6])
def test_the_cheap_model_answers_what_it_answers_as_well(known: float) -> None:
    world = World(1)
    measured = world.measured(3000, known=known)
    by = guard(measured)
    embeddings, topics = world.asked(400)
    cheap = choices(by, measured, embeddings) == CHEAP
    assert cheap[topics < world.easy].mean() > 0.6, "most easy questions should leave the baseline"
    assert cheap[topics >= world.easy].mean() < 0.1, "hard questions should stay with the baseline"
    right = world.right(topics)
    assert by.calibration.loss <= 0.01
    assert right[cheap].mean(axis=0).tolist() == pytest.approx([0.9, 0.9], abs=0.1)


def test_where_the_cheap_model_is_worse_at_everything_the_guard_never_leaves_the_baseline() -> None:
    world = World(2, easy=0)
    measured = world.measured(2000)
    by = guard(measured)
    embeddings, _ = world.asked(200)
    assert (choices(by, measured, embeddings) == CHEAP).mean() < 0.03


def test_a_question_unlike_any_of_the_memory_stays_with_the_baseline() -> None:
    world = World(3)
    measured = world.measured(3000)
    by = guard(measured)
    strange = world.strange(200)
    assert (choices(by, measured, strange) == CHEAP).mean() < 0.05
    told = by.learned.tell(measured.forms[:1], strange[:1])
    assert by.judge(told, COSTS).strange


def test_few_outcomes_decide_nothing() -> None:
    world = World(4, easy=12)
    measured = world.measured(90)
    embeddings, _ = world.asked(50)
    assert not (choices(guard(measured), measured, embeddings) == CHEAP).any()


def test_a_dearer_model_never_stands_in_for_the_baseline() -> None:
    world = World(5, easy=12)
    measured = world.measured(1000)
    by = guard(measured, costs=(100.0, 110.0))
    told = by.learned.tell(measured.forms[:1], world.asked(1)[0])
    assert by.judge(told, {DEAR: 100.0, CHEAP: 110.0}).model == DEAR


def test_a_model_that_may_not_answer_is_not_chosen() -> None:
    world = World(6)
    measured = world.measured(1000)
    by = guard(measured)
    told = by.learned.tell(measured.forms[:1], world.asked(1)[0])
    assert by.judge(told, {DEAR: 100.0}).model == DEAR


def test_a_smaller_epsilon_leaves_the_baseline_less_often() -> None:
    world = World(7)
    measured = world.measured(3000)
    switched = [guard(measured, epsilon=epsilon).calibration.switched for epsilon in (0.0001, 0.01, 0.2)]
    assert switched == sorted(switched)
    assert switched[0] < switched[2]


def test_rounding_never_makes_an_error_that_is_no_number() -> None:
    world = World(9)
    measured = world.measured(300)
    learned = guard(measured).learned
    rounded = replace(learned, spread=(-1e-7 * np.eye(learned.basis.size)).astype(np.float32))
    told = rounded.tell(measured.forms[:20], world.asked(20)[0])
    assert (told.error == 0).all()


def test_learning_twice_from_the_same_memory_says_the_same() -> None:
    measured = World(8).measured(500)
    first, second = guard(measured), guard(measured)
    assert first.calibration == second.calibration
