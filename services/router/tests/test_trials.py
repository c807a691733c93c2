"""Models are tried where they may save, left where they are worse, and trusted where they are as good."""

from collections.abc import Mapping

import numpy as np
import pytest

from asahi_router.domain.learning.basis import Floats, basis_of
from asahi_router.domain.learning.cells import Cells, cells_of
from asahi_router.domain.learning.trials import Plan, Seen, Trials, trials_of

SAVED = {"dear": 0.0, "good": 0.7, "bad": 0.9}
MODELS = ("bad", "dear", "good")
GENEROUS = 1.0


def kinds(count: int, seed: int = 0) -> tuple[Floats, np.ndarray]:
    """Forms of two kinds of question, and which each is of."""
    random = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    return (kind[:, None] * 3 + random.normal(size=(count, 43))).astype(np.float32), kind


def two_cells() -> Cells:
    forms, _ = kinds(300)
    return cells_of(basis_of(forms, None, np.random.default_rng(0)), forms, None, np.random.default_rng(0))


def trials(
    right: Mapping[str, float], count: int = 100, epsilon: float = 0.01, worse_after: int | None = None
) -> Trials:
    """After `count` outcomes of each model in the first cell; so many of each ten were right."""
    names = [name for name in right for _ in range(count)]
    score = np.concatenate([spread(share, count) for share in right.values()])
    if worse_after is not None:
        score[count - worse_after : count] = np.arange(worse_after) % 2
    cell, place = np.zeros(len(names), np.intp), np.array([MODELS.index(name) for name in names])
    return trials_of(two_cells(), Seen(MODELS, cell, place, score, 10_000.0, 5_000.0), "dear", epsilon)


def spread(share: float, count: int) -> np.ndarray:
    """Ones at that share, evenly."""
    return np.diff(np.floor(np.arange(count + 1) * share + 1e-9))


def plan(of: Trials, exploration: float = GENEROUS, saved: Mapping[str, float] = SAVED) -> Plan:
    return of.plan(0, saved, exploration)


def test_questions_of_two_kinds_are_told_apart() -> None:
    cells, (forms, kind) = two_cells(), kinds(200, seed=1)
    found = cells.of(forms, None)
    assert len(cells.middles) == 2
    assert len(set(zip(found.tolist(), kind.tolist(), strict=True))) == 2


def test_questions_that_are_all_alike_are_one_cell_or_several_and_each_has_its_place() -> None:
    forms = np.zeros((50, 43), np.float32)
    cells = cells_of(basis_of(forms, None, np.random.default_rng(0)), forms, None, np.random.default_rng(0))
    assert set(cells.of(forms, None).tolist()) == {0}


def test_embeddings_tell_kinds_apart_where_forms_do_not() -> None:
    random, kind = np.random.default_rng(0), np.arange(200) % 3
    seen = np.eye(384, dtype=np.float32)[kind] + 0.02 * random.normal(size=(200, 384)).astype(np.float32)
    forms = np.zeros((200, 43), np.float32)
    cells = cells_of(basis_of(forms, seen, random), forms, seen, random)
    assert len(set(zip(cells.of(forms, seen).tolist(), kind.tolist(), strict=True))) == len(cells.middles) == 3


def test_a_model_of_which_nothing_is_known_is_tried_beside_the_baseline() -> None:
    tried = plan(trials({"dear": 0.9}))
    assert (tried.answers.model, tried.answers.trusted) == ("bad", False)
    assert tried.chances == {"bad": 0.4, "dear": 0.6}


def test_a_model_that_is_worse_is_left_and_the_next_one_tried() -> None:
    assert plan(trials({"bad": 0.6, "dear": 0.9})).answers.model == "good"


def test_a_model_that_is_as_good_is_trusted_and_the_baseline_still_asked_now_and_then() -> None:
    trusted = plan(trials({"bad": 0.6, "good": 0.9, "dear": 0.9}, count=300))
    assert trusted.answers.trusted
    assert trusted.chances == {"good": pytest.approx(0.97), "dear": pytest.approx(0.03)}


def test_where_all_are_worse_the_baseline_answers_and_nothing_is_drawn() -> None:
    assert plan(trials({"bad": 0.6, "good": 0.7, "dear": 0.9})).chances == {"dear": 1.0}


@pytest.mark.parametrize("exploration", [0.0, 0.1, 1.0])
def test_probabilities_sum_to_one_and_none_is_nought(exploration: float) -> None:
    for right in ({"dear": 0.9}, {"bad": 0.6, "dear": 0.9}, {"bad": 0.85, "good": 0.9, "dear": 0.9}):
        for cell in (0, 1):
            chances = trials(right).plan(cell, SAVED, exploration).chances
            assert sum(chances.values()) == pytest.approx(1)
            assert min(chances.values()) > 0
            assert "dear" in chances


def test_no_more_is_tried_in_a_month_than_the_policy_lets_explore() -> None:
    after = trials({"bad": 0.6, "dear": 0.9})
    assert after.tried == pytest.approx(0.01)
    assert plan(after, exploration=0.02).answers.model == "good"
    assert plan(after, exploration=0.005).chances == {"dear": 1.0}
    trusted = trials({"bad": 0.9, "dear": 0.9}, count=400)
    assert plan(trusted, exploration=0.0).answers.model == "bad", "who is trusted is not on trial"


def test_a_model_that_costs_as_much_or_may_not_answer_is_not_tried() -> None:
    assert plan(trials({"dear": 0.9}), saved={"dear": 0.0, "good": 0.0, "bad": -0.1}).chances == {"dear": 1.0}
    assert plan(trials({"dear": 0.9}), saved={"dear": 0.0, "good": 0.7}).answers.model == "good"


def test_who_may_lose_more_keeps_a_model_that_is_a_little_worse() -> None:
    right = {"bad": 0.84, "good": 0.84, "dear": 0.9}
    assert plan(trials(right, count=1000)).answers.model == "dear"
    assert plan(trials(right, count=1000, epsilon=0.1)).answers.model == "bad"


def test_a_model_that_was_trusted_and_got_worse_is_withdrawn_and_its_older_outcomes_count_no_more() -> None:
    before = plan(trials({"bad": 0.9, "dear": 0.9}, count=500))
    assert (before.answers.model, before.answers.trusted) == ("bad", True)
    after = trials({"bad": 0.9, "dear": 0.9}, count=500, worse_after=60)
    assert plan(after).answers.model != "bad"
    assert after.standings[0]["bad"].outcomes < 100
