"""What routing was worth beside simpler policies, from its own log: decisions with propensities, and what was judged.

Each policy's quality is estimated doubly robustly: what the regressions expect of its model on every question,
corrected by the outcomes of the questions on which that model was drawn, weighed by the inverse of the propensity
(self-normalised; Swaminathan and Joachims, 2015). Where a policy's model could not have been drawn the log says nothing
about it, however many answers there are: then it is not `measured`. Only questions that somebody judged are seen; that
they are like the others is assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asahi_router.domain.learning.guard import Doubles
from asahi_router.domain.learning.regression import Indices

_FEWEST = 200
"""Judged decisions below which nothing is said."""
_LEAST_OVERLAP = 0.95
_FEWEST_EFFECTIVE = 50.0
_SURE = 1.96
"""Standard errors to either end of a 95 % interval."""
ROUTER, BASELINE, CHEAPEST, CONSTANT, MIX = "router", "always_baseline", "cheapest", "best_constant", "cost_matched_mix"


@dataclass(frozen=True, slots=True)
class Log:
    """Judged decisions beside one baseline."""

    models: tuple[str, ...]
    baseline: int
    chosen: Indices
    """(n,): the model that answered."""
    score: Doubles
    """(n,): how good its answer was, 0 to 1."""
    propensity: Doubles
    """(n,): with which it was drawn."""
    least: Doubles
    """(n, m): with which each other model was at least; 0: it could not be."""
    expected: Doubles
    """(n, m): quality that the regressions expect, without the question's own outcome."""
    costs: Doubles
    """(n, m): expected nano-dollars; NaN: no known price."""

    def of(self, rows: NDArray[np.bool_]) -> "Log":
        """Of those decisions alone."""
        return Log(
            self.models,
            self.baseline,
            self.chosen[rows],
            self.score[rows],
            self.propensity[rows],
            self.least[rows],
            self.expected[rows],
            self.costs[rows],
        )


@dataclass(frozen=True, slots=True)
class Control:
    """A policy on the questions of a log."""

    policy: str
    model: str
    """That it asks, or mixes with the baseline; empty: several."""
    overlap: float
    """Share of the questions on which its model was, or might have been, drawn."""
    effective: float
    """Judged answers that its weights are worth (Kish)."""
    saved: float
    """Expected share of the baseline's cost."""
    lost: float
    """Share of the baseline's quality."""
    low: float
    high: float
    """The ends of its 95 % interval."""

    @property
    def measured(self) -> bool:
        """Whether the log can tell `lost` at all."""
        return self.overlap >= _LEAST_OVERLAP and self.effective >= _FEWEST_EFFECTIVE


@dataclass(frozen=True, slots=True)
class _Worth:
    """A policy's quality, question by question."""

    quality: Doubles
    overlap: float
    effective: float


def compare(log: Log, epsilon: float) -> list[Control]:
    """The router and the controls; empty: too little is judged."""
    if len(log.chosen) < _FEWEST:
        return []
    baseline = _asks(log, log.baseline)
    costs = np.where(np.isnan(log.costs), np.inf, log.costs)
    paid = float(costs[np.arange(len(costs)), log.chosen].mean())
    usual, mean_costs = float(costs[:, log.baseline].mean()), costs.mean(axis=0)
    routed = _Worth(log.score, baseline.overlap, min(baseline.effective, float(len(log.chosen))))

    def control(policy: str, model: int | None, worth: _Worth, cost: float) -> Control:
        name = log.models[model] if model is not None else ""
        lost, error = _lost(baseline.quality, worth.quality)
        low, high = lost - _SURE * error, lost + _SURE * error
        return Control(policy, name, worth.overlap, worth.effective, 1 - cost / usual, lost, low, high)

    each = [_asks(log, model) for model in range(len(log.models))]
    constants = [control(CONSTANT, model, worth, float(mean_costs[model])) for model, worth in enumerate(each)]
    within = [c for c in constants if c.measured and c.lost <= epsilon] or [constants[log.baseline]]
    best = max(within, key=lambda c: c.saved)
    cheapest = int(mean_costs.argmin())
    share = _matching(paid, usual, float(mean_costs[cheapest]))
    mixed = _Worth(
        share * each[cheapest].quality + (1 - share) * baseline.quality,
        min(each[cheapest].overlap, baseline.overlap),
        min(each[cheapest].effective, baseline.effective),
    )
    return [
        control(ROUTER, None, routed, paid),
        control(BASELINE, log.baseline, baseline, usual),
        control(CHEAPEST, cheapest, each[cheapest], float(mean_costs[cheapest])),
        best,
        control(MIX, cheapest, mixed, share * float(mean_costs[cheapest]) + (1 - share) * usual),
    ]


def harms(controls: Sequence[Control], epsilon: float) -> Control | None:
    """The router, where it surely lost more than ε; None: it did not, or nobody can tell."""
    router = next((control for control in controls if control.policy == ROUTER), None)
    return router if router is not None and router.measured and router.low > epsilon else None


def _asks(log: Log, model: int) -> _Worth:
    """Of always asking one model."""
    asked = log.chosen == model
    weights = np.where(asked, 1 / log.propensity, 0.0)
    total = float(weights.sum())
    expected = log.expected[:, model]
    if not total:
        return _Worth(expected, float(np.mean(log.least[:, model] > 0)), 0.0)
    weights *= len(weights) / total
    effective = float(len(weights) ** 2 / np.square(weights).sum())
    quality = expected + weights * (log.score - expected)
    return _Worth(quality, float(np.mean(asked | (log.least[:, model] > 0))), effective)


def _lost(baseline: Doubles, policy: Doubles) -> tuple[float, float]:
    """Share of the baseline's quality that is lost, and its standard error (of a ratio, by its linear part)."""
    good = float(baseline.mean())
    if good <= 0:
        return 0.0, float("inf")
    lost = 1 - float(policy.mean()) / good
    apart = (1 - lost) * baseline - policy
    return lost, float(apart.std() / np.sqrt(len(apart)) / good)


def _matching(paid: float, usual: float, cheapest: float) -> float:
    """Share of questions for the cheapest model at which a random mix costs what routing did."""
    return float(np.clip((usual - paid) / (usual - cheapest), 0, 1)) if usual > cheapest else 0.0
