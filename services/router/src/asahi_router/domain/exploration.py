"""Answers that another model than the decided one gives, so that what routing is worth can be measured.

Without it what is answered by whom is a function of the question, and no log can tell what the others would have
answered. The probability with which each model was drawn is kept with the answer (`Chance`).
"""

from collections.abc import Callable
from dataclasses import replace

from asahi.router.v1 import router_pb2 as pb
from asahi_router.domain.candidates import Candidate
from asahi_router.domain.decision import Decider, Ranking
from asahi_router.domain.examples import Chance

_MOST = 4
"""Models beside the decided one that may be drawn: more would each be seen too seldom."""


class Exploring:
    """A decider that lets a share of questions, by the policy's `exploration`, be answered to learn from."""

    def __init__(self, decider: Decider, random: Callable[[], float]) -> None:
        """`random` yields numbers in [0, 1)."""
        self._decider = decider
        self._random = random

    def decide(self, task: pb.Task, *, explain: bool, streamed: bool = False) -> Ranking:
        """As the decider does, or another of the models that may answer, drawn at random. Raises as it does."""
        ranking = self._decider.decide(task, explain=explain, streamed=streamed)
        chance, share = ranking.chance, task.policy.exploration
        if chance is None or share <= 0:
            return ranking
        decided = ranking.chain[0]
        drawn_among = [decided, *_others(ranking, decided)]
        if len(drawn_among) == 1:
            return ranking
        each = share / len(drawn_among)
        least = replace(chance, propensity=1 - share + each, least=each)
        if self._random() >= share:
            return replace(ranking, chance=least)
        drawn = drawn_among[int(self._random() * len(drawn_among))]
        if drawn is decided:
            return replace(ranking, chance=least)
        return _drawn(ranking, drawn, replace(least, propensity=each), len(drawn_among))


def _others(ranking: Ranking, decided: Candidate) -> list[Candidate]:
    """The baseline, and the best of those that are expected to cost no more."""
    baseline = ranking.baseline
    if baseline is None or baseline.expected_cost_nanos is None:
        return []
    most = baseline.expected_cost_nanos
    cheaper = [c for c in ranking.may if c.expected_cost_nanos is not None and c.expected_cost_nanos <= most]
    others = [c for c in cheaper if c.served is not decided.served and c.served is not baseline.served]
    others.sort(key=lambda c: -c.quality)
    first = [] if baseline.served is decided.served else [baseline]
    return [*first, *others[: _MOST - len(first)]]


def _drawn(ranking: Ranking, drawn: Candidate, chance: Chance, among: int) -> Ranking:
    decision = pb.Decision()
    decision.CopyFrom(ranking.decision)
    decision.model, decision.provider = drawn.model, drawn.provider
    decision.expected_cost_nanos = drawn.expected_cost_nanos or 0
    decision.max_cost_nanos = drawn.max_cost_nanos or 0
    decision.reason = (
        f"{drawn.model} was drawn among {among} models to learn how good it is, as the policy's exploration of "
        f"{100 * among * chance.least:.3g} % has it; else {ranking.chain[0].model} would answer."
    )
    rest = [candidate for candidate in ranking.chain if candidate.served is not drawn.served]
    return replace(ranking, decision=decision, chain=(drawn, *rest), chance=chance)
