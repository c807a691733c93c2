"""What the rigs of bench/ judge by, without measuring anything."""

from pathlib import Path

import pytest

from bench import guard, hour
from bench.breakdown import Breakdown
from bench.flames import flames
from bench.hour import Moment
from bench.peers.rounds import Aim, Figure, told
from bench.suite import SCENARIOS

_KEPT = {"hit": 20.0, "miss": 100.0}


def test_what_is_a_quarter_dearer_is_not_let_pass_and_what_rounds_differ_by_is() -> None:
    assert guard.dearer({"hit": 25.0, "miss": 110.0}, _KEPT) == {"hit": 1.25}
    assert not guard.dearer({"hit": 12.0, "miss": 117.0}, _KEPT)


def test_the_least_of_all_rounds_counts() -> None:
    rounds = [{"hit": 31.0, "miss": 101.0}, {"hit": 21.0, "miss": 140.0}]
    assert guard.least(rounds) == {"hit": 21.0, "miss": 101.0}


def test_every_guarded_kind_of_request_is_recorded() -> None:
    assert '"hit at the edge"' in Path(guard.KEPT).read_text()
    assert guard.loop_us(0.01) > 0


@pytest.mark.parametrize(("value", "words"), [(0.4, "aim reached"), (0.5, "first step reached"), (0.7, "**missed**")])
def test_a_figure_that_is_to_be_small(value: float, words: str) -> None:
    assert Aim(0.4, 0.6).reached(value) == words


@pytest.mark.parametrize(("value", "words"), [(800, "aim reached"), (500, "first step reached"), (400, "**missed**")])
def test_a_figure_that_is_to_be_large(value: float, words: str) -> None:
    assert Aim(800, 450, more_is_better=True).reached(value) == words


def test_the_table_sets_others_beside_asahi_and_says_what_asahi_reaches() -> None:
    ours = {"miss, CPU": Figure("miss, CPU", "ms", [2.0, 1.0, 1.2])}
    theirs = {"miss, CPU": Figure("miss, CPU", "ms", [12.0]), "more": Figure("more", "", [1.0])}
    lines = list(told([("Asahi", ours), ("Other", theirs)]))
    assert lines[2] == "| miss, CPU, ms | 1.2 (1–2) | 12 (12–12, × 10) | ≤ 1.2 (2.2) | aim reached |"
    assert lines[3] == "| more | – | 1 (1–1) |  |  |"


def test_what_grows_over_an_hour_is_seen_and_what_fills_at_first_is_not() -> None:
    def moment(minute: float, memory: float) -> Moment:
        return Moment(minute, 1.0, {"edge": memory}, {"edge": 20.0}, {"edge": 9.0}, {})

    filling = [moment(n, min(100.0, 40.0 + n)) for n in range(240)]
    leaking = [moment(n, 100.0 + n) for n in range(240)]
    assert hour.grown(filling)["memory"] <= 1.05
    assert hour.grown(leaking)["memory"] > 1.05


def test_a_flame_is_as_wide_as_its_time_and_what_is_too_small_is_left_out() -> None:
    base = ("asahi_core.process", "run_service")
    stacks = [
        (75.0, [base, ("asahi_edge.domain.pilot", "fly")]),
        (24.9, [base, ("asahi_edge.api.scope", "call"), ("json", "<loads>")]),
        (0.1, [base, ("json", "tiny")]),
    ]
    drawn = flames(Breakdown("edge", SCENARIOS[0], 10, 100.0, 0.0, [], [], stacks))
    assert 'width="899.6"' in drawn
    assert "asahi_edge.domain.pilot.fly: 75.0 µs a request" in drawn
    assert "&lt;loads&gt;" in drawn
    assert "tiny" not in drawn
