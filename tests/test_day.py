"""The day of a gateway on made-up measurements: what each technique saves adds up, and what goes wrong is counted."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from asahi_core.clock import ManualClock
from asahi_router.evaluate.data import read_folder, read_pools
from asahi_router.evaluate.trial import Part, part_of
from bench.day import Days, Plan, days, told
from bench.day_gateway import Technique
from bench.day_provider import Provider
from bench.day_traffic import Kind, Question, Request, Shares, TooFew
from services.cache.tests.tier_two import BagOfWords
from services.router.tests.test_evaluate import write

ALL = frozenset(Technique)
NOTHING: frozenset[Technique] = frozenset()
KINDS = {Kind.QUESTION: 0.3, Kind.STRUCTURED: 0.4, Kind.CONVERSATION: 0.1, Kind.DOCUMENT: 0.1, Kind.STEP: 0.1}
SHARES = Shares(KINDS, repeated=0.2, reworded=0.1)
WITHOUT_CASCADE, WITHOUT_STEPS = ALL - {Technique.CASCADE}, ALL - {Technique.STEPS}


def plan(folder: Path, requests: int) -> Plan:
    return Plan(read_folder(folder), read_pools(folder / "pools.json"), BagOfWords(), requests, seeds=1, epsilon=0.05)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Days:
    """One day, with everything on and with some of it off."""
    folder = write(tmp_path_factory.mktemp("day") / "data")
    wanted = [NOTHING, ALL, WITHOUT_CASCADE, WITHOUT_STEPS]
    return asyncio.run(days(plan(folder, 150), SHARES, wanted, lambda _words: None))


def test_what_each_technique_saved_is_what_the_day_cost_less(made: Days) -> None:
    for entries in made.by_on.values():
        for entry in entries:
            assert sum(entry.saved.values()) == pytest.approx(entry.baseline_cost - entry.cost, abs=1e-12)


def test_with_everything_off_the_baseline_answers_at_its_price(made: Days) -> None:
    for entry in made.by_on[NOTHING]:
        assert (entry.cost, entry.quality) == (entry.baseline_cost, entry.baseline_quality)


def test_every_technique_that_is_on_has_its_part(made: Days) -> None:
    by_technique = {one: sum(entry.saved.get(one, 0.0) for entry in made.by_on[ALL]) for one in Technique}
    for one in (Technique.EXACT, Technique.SIMILAR, Technique.STEPS, Technique.ROUTING):
        assert by_technique[one] > 0, one
    assert by_technique[Technique.CASCADE] < 0, "better models are asked where a cheap one misses the form"
    assert not any(entry.saved.get(Technique.STEPS) for entry in made.by_on[WITHOUT_STEPS])
    assert sum(entry.cost for entry in made.by_on[WITHOUT_STEPS]) > sum(entry.cost for entry in made.by_on[ALL])


def test_an_answer_that_misses_its_form_is_worth_nothing_unless_the_cascade_asks_again(made: Days) -> None:
    kept, missed = (
        sum(entry.quality for entry in made.by_on[on] if entry.kind is Kind.STRUCTURED) for on in (ALL, WITHOUT_CASCADE)
    )
    assert kept > missed


def test_no_other_questions_answer_is_served(made: Days) -> None:
    assert any(entry.cost == 0 for entry in made.by_on[ALL])
    assert not any(entry.wrong_hit for entry in made.by_on[ALL])


def test_tables_say_what_was_left_out(made: Days) -> None:
    days_of_all = {on: made.by_on.get(on, made.by_on[ALL]) for on in _every()}
    lines = told(Days(days_of_all, made.sessions, made.pools), 0.05)
    assert sum(line.startswith("| without ") for line in lines) == len(Technique)
    assert any(line.startswith("| both |") for line in lines)
    assert "Wrong cache hits: 0 of " in lines[-1]


def _every() -> list[frozenset[Technique]]:
    return [ALL, *(ALL - {one} for one in Technique), *(frozenset({one}) for one in Technique)]


def test_too_few_questions_are_told_not_asked_twice(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    with pytest.raises(TooFew, match="which is too few"):
        asyncio.run(days(plan(folder, 2_000), SHARES, [ALL], lambda _words: None))


@pytest.mark.parametrize(
    ("model", "asked_to_keep", "discounts"),
    [
        ("dear", True, [0, 0, 0]),
        ("gpt-4o-mini-1", False, [0, 2_048 * 0.5, 0]),
        ("claude-3-5-x", False, [0, 0, 0]),
        ("claude-3-5-x", True, [-2_048 * 0.25, 2_048 * 0.9, -2_048 * 0.25]),
    ],
)
def test_a_provider_keeps_what_comes_first_for_five_minutes_as_its_maker_did(
    tmp_path: Path, model: str, asked_to_keep: bool, discounts: list[float]
) -> None:
    folder, clock = write(tmp_path / "data", 20), ManualClock()
    read = read_folder(folder)
    whole = part_of(read, np.zeros((len(read.prompts.ids), 1), np.float32), ["kind"], ["dear"])
    table = type(whole.table)(
        whole.table.rows, (model,), whole.table.quality, whole.table.output_tokens, whole.table.cost_usd
    )
    part = Part(table, whole.questions, whole.asked_tokens, whole.forms, whole.embeddings)
    provider, question = Provider(part, {model: (1.0, 1.0)}, clock), Question(0, "What is it?", "q0")
    request = Request(0.0, Kind.DOCUMENT, (question,), "document 1", prefix_tokens=2_100)
    seen = []
    for wait_s in (0, 60, 301):
        clock.advance(wait_s)
        seen.append(provider.bill(model, question, request, asked_to_keep=asked_to_keep).discount)
    assert seen == pytest.approx(discounts)
