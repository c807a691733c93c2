"""Which cheaper model is tried in a baseline's place, cell by cell, and how far it is trusted.

In each cell every model's outcomes are weighed against two guesses: that it is as good as the baseline, or worse by so
much (Bayes, on a grid, the baseline's own quality being as unknown). A model is tried where what it may save for the
time to come is worth what trying loses; it is left, and the next one tried, as soon as that is no longer so; it is kept
once it is likely as good. Outcomes from before a model got worse do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asahi_router.domain.learning.cells import Cells
from asahi_router.domain.learning.changes import fallen_since
from asahi_router.domain.learning.guard import Doubles
from asahi_router.domain.learning.regression import Indices

_GAPS = np.concatenate([[0.0], np.arange(0.03, 0.46, 0.03)])
"""Quality that a model may be worse by."""
_LIKELY_EQUAL = 0.4
"""How likely the first of them is before any outcome is known; the others are alike."""
_QUALITIES = np.linspace(0.02, 0.99, 40)
_PRIOR = np.array([_LIKELY_EQUAL, *[(1 - _LIKELY_EQUAL) / (len(_GAPS) - 1)] * (len(_GAPS) - 1)])
_ACCEPTED = 2.2
"""Times ε: quality that may be lost on a question whose whole cost is saved, by what is expected when all is known."""
_CONVINCED_BY = 40.0
"""Outcomes that it takes about to trust a model."""
_LEAST_EPSILON = 1e-4
_TRUSTED = 0.8
_BESIDE_TRUSTED, _BESIDE_TRIED = 0.03, 0.6
"""Of questions that the baseline answers beside a model that is trusted, and beside one on trial."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Outcomes in order of time."""

    models: tuple[str, ...]
    """The baseline is among them."""
    cell: Indices
    """(n,)."""
    answered: Indices
    """(n,): the place of the model that answered."""
    score: Doubles
    """(n,): 0 to 1."""
    month: float
    """Outcomes that a month brings."""
    ahead: float
    """Those that are expected while what is learned now is of use."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a model in a cell."""

    model: str
    outcomes: float
    quality: float
    """Mean of them, 0 to 1."""
    gap: float
    """Quality that it is expected to be worse by than the baseline."""
    equal: float
    """How likely it is as good, 0 to 1."""

    @property
    def trusted(self) -> bool:
        """Whether it is no longer on trial."""
        return self.equal > _TRUSTED


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers a question, and with which probability; they sum to 1."""

    answers: Standing
    """The model that is tried or trusted, or the baseline."""
    baseline: Standing
    share: float
    """Of the baseline where it is not that model: that its quality stays known; else 1."""

    @property
    def chances(self) -> Mapping[str, float]:
        """By model; those that are not there have none."""
        if self.answers is self.baseline:
            return {self.baseline.model: 1.0}
        return {self.answers.model: 1 - self.share, self.baseline.model: self.share}


@dataclass(frozen=True, slots=True)
class Trials:
    """How all trials of one memory beside one baseline stand."""

    cells: Cells
    baseline: str
    standings: Sequence[Mapping[str, Standing]]
    """By cell, of every model with outcomes; the baseline is among them."""
    expected: Doubles
    """By cell: outcomes that are expected while what is learned holds."""
    price: float
    """What quality is worth, in shares of the baseline's cost."""
    tried: float
    """Share of a month's outcomes that models gave which are not trusted."""

    def plan(self, cell: int, saved: Mapping[str, float], exploration: float) -> Plan:
        """Who answers a question of that cell.

        `saved`: of each model that may answer, the share of the baseline's cost on it. `exploration`: share of a
        month's questions that models may answer which are not trusted; they may be the first of it.
        """
        known = self.standings[cell]
        baseline, best, most = known[self.baseline], known[self.baseline], 0.0
        for model, share in saved.items():
            if model == self.baseline or share <= 0:
                continue
            standing = known.get(model) or Standing(model, 0.0, 0.0, _UNKNOWN.gap, _UNKNOWN.equal)
            if not standing.trusted and self.tried >= exploration:
                continue
            worth = share * (1 + standing.equal * self.expected[cell] / _CONVINCED_BY) - self.price * standing.gap
            if worth > most:
                best, most = standing, worth
        return Plan(best, baseline, _BESIDE_TRUSTED if best.trusted else _BESIDE_TRIED)


def trials_of(cells: Cells, outcomes: Seen, baseline: str, epsilon: float) -> Trials:
    """How trials stand beside one of the models; `epsilon`: share of its quality that may be lost."""
    models, count = outcomes.models, len(cells.middles)
    good, seen = np.zeros((count, len(models))), np.zeros((count, len(models)))
    for place in range(count):
        for model in range(len(models)):
            scores = outcomes.score[(outcomes.cell == place) & (outcomes.answered == model)]
            scores = scores[fallen_since(scores) :]
            good[place, model], seen[place, model] = scores.sum(), len(scores)
    at = models.index(baseline)
    gaps, equals = _weighed(good, seen, at)
    standings = [
        {
            name: Standing(name, float(seen[place, n]), float(good[place, n] / max(seen[place, n], 1)), gap, equal)
            for n, (name, gap, equal) in enumerate(
                zip(models, gaps[place].tolist(), equals[place].tolist(), strict=True)
            )
        }
        for place in range(count)
    ]
    share = np.bincount(outcomes.cell, minlength=count) / max(len(outcomes.cell), 1)
    price = 1 / (_ACCEPTED * max(epsilon, _LEAST_EPSILON))
    untrusted = float(seen[equals <= _TRUSTED].sum()) / max(outcomes.month, 1.0)
    return Trials(cells, baseline, standings, outcomes.ahead * share, price, untrusted)


def _weighed(good: Doubles, seen: Doubles, baseline: int) -> tuple[Doubles, Doubles]:
    """(cells, models): the gap that is expected, and how likely there is none."""
    bad = seen - good
    worse = np.clip(_QUALITIES[:, None] - _GAPS, 0.01, 0.99)
    likely = good[:, :, None, None] * np.log(worse) + bad[:, :, None, None] * np.log(1 - worse)
    weight = np.exp(likely - likely.max(axis=(2, 3), keepdims=True)) * _PRIOR
    by_quality = weight.sum(axis=3)  # (cells, models, qualities of the baseline)
    others = np.log(by_quality + 1e-300)
    others[:, baseline] = good[:, [baseline]] * np.log(_QUALITIES) + bad[:, [baseline]] * np.log(1 - _QUALITIES)
    quality = others.sum(axis=1)
    quality = np.exp(quality - quality.max(axis=1, keepdims=True))
    quality /= quality.sum(axis=1, keepdims=True)
    gap = np.einsum("cmqg,cq->cmg", weight / (by_quality[..., None] + 1e-300), quality)
    gap[:, baseline] = 0.0
    gap[:, baseline, 0] = 1.0
    return gap @ _GAPS, gap[:, :, 0]


_UNKNOWN = Standing("", 0.0, 0.0, float(_PRIOR @ _GAPS), _LIKELY_EQUAL)
"""Of which there are no outcomes."""
