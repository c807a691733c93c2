"""Answers that another model than the decided one gives, so that what routing is worth can be measured.

Without it what is answered by whom is a function of the question, and no log can tell what the others would have
answered. Until enough outcomes are known models are drawn alike; then those are tried that promise to save, on
questions like those on which they may be as good (`learning.trials`), with the baseline beside them. The probability
with which each model was drawn is kept with the answer (`Chance`).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from asahi.router.v1 import router_pb2 as pb
from asahi_router.domain.candidates import Candidate
from asahi_router.domain.decision import Decider, Ranking
from asahi_router.domain.examples import Chance
from asahi_router.domain.experience import Experience
from asahi_router.domain.goal import epsilon_of
from asahi_router.domain.learning.trials import Plan
from asahi_router.domain.lessons import Aim, vectors

_MOST = 4
"""Models beside the decided one that may be drawn: more would each be seen too seldom."""


class Exploring:
    """A decider that lets questions, where the policy explores, be answered to learn from."""

    def __init__(self, decider: Decider, random: Callable[[], float], experience: Experience | None = None) -> None:
        """`random` yields numbers in [0, 1). `experience`: None: nothing is tried, models are drawn alike."""
        self._decider = decider
        self._random = random
        self._experience = experience

    def decide(self, task: pb.Task, *, explain: bool, streamed: bool = False) -> Ranking:
        """As the decider does, or another of the models that may answer: tried, or drawn. Raises as it does."""
        ranking = self._decider.decide(task, explain=explain, streamed=streamed)
        chance, share = ranking.chance, task.policy.exploration
        if chance is None or share <= 0 or not ranking.may:
            return ranking
        aim = Aim(chance.baseline, epsilon_of(task.policy))
        if self._experience is not None and self._experience.harm(task.organization_id, aim) is not None:
            return ranking
        plan = self._plan(task, ranking, aim)
        return self._drawn(ranking, chance, share) if plan is None else self._tried(ranking, chance, plan)

    def _plan(self, task: pb.Task, ranking: Ranking, aim: Aim) -> Plan | None:
        """Who is tried; None: too little is known, or the baseline may not answer."""
        known, baseline = None, ranking.baseline
        if self._experience is not None:
            known = self._experience.trials(task.organization_id, task.prompt_embedding, aim)
        if known is None or baseline is None or not baseline.expected_cost_nanos:
            return None
        lesson, trials = known
        seen = vectors([task.prompt_embedding]) if lesson.taught.learned.basis.embeds else None
        cell = int(trials.cells.of(np.array([ranking.features.form], np.float32), seen)[0])
        usual = baseline.expected_cost_nanos
        saved = {c.model: 1 - c.expected_cost_nanos / usual for c in ranking.may if c.expected_cost_nanos is not None}
        return trials.plan(cell, saved, task.policy.exploration)

    def _tried(self, ranking: Ranking, chance: Chance, plan: Plan) -> Ranking:
        """One of the two models of a plan."""
        model, baseline, chances = plan.answers.model, plan.baseline.model, plan.chances
        drawn = model if self._random() < chances[model] else baseline
        other = baseline if drawn == model else model
        kept = replace(chance, propensity=chances[drawn], least=chances[other] if other != drawn else 0.0, among=other)
        candidates = {candidate.model: candidate for candidate in (*ranking.chain, *ranking.may)}
        return _answered_by(ranking, candidates[drawn], kept, _why(plan, drawn))

    def _drawn(self, ranking: Ranking, chance: Chance, share: float) -> Ranking:
        """The decided one or, at a share of questions, any of those that may answer."""
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
        reason = (
            f"{drawn.model} was drawn among {len(drawn_among)} models to learn how good it is, as the policy's "
            f"exploration of {100 * share:.3g} % has it; else {decided.model} would answer."
        )
        return _answered_by(ranking, drawn, replace(least, propensity=each), reason)


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


def _why(plan: Plan, drawn: str) -> str:
    model, baseline = plan.answers, plan.baseline
    seen = f"by {baseline.outcomes:.0f} of its outcomes on questions like this one"
    if model is baseline:
        return f"{baseline.model} is the baseline; no cheaper model is worth trying in its place any more, {seen}."
    by = (
        f"{model.outcomes:.0f} outcomes on questions like this one, {100 * model.quality:.0f} % good against "
        f"{100 * baseline.quality:.0f} %; as good with a likelihood of {100 * model.equal:.0f} %"
    )
    if drawn == baseline.model:
        share = f"{100 * plan.share:.3g} % of the questions on which {model.model} is tried"
        return f"{baseline.model} is the baseline and answers {share}, so that its own quality stays known ({by})."
    word = "stands in for" if model.trusted else "is tried in place of"
    return f"{model.model} {word} {baseline.model}, by {by}."


def _answered_by(ranking: Ranking, candidate: Candidate, chance: Chance, reason: str) -> Ranking:
    decision = pb.Decision()
    decision.CopyFrom(ranking.decision)
    decision.model, decision.provider, decision.reason = candidate.model, candidate.provider, reason
    decision.expected_cost_nanos = candidate.expected_cost_nanos or 0
    decision.max_cost_nanos = candidate.max_cost_nanos or 0
    rest = [other for other in ranking.chain if other.served is not candidate.served]
    return replace(ranking, decision=decision, chain=(candidate, *rest), chance=chance)
