"""Figures with intervals: what a policy saved and lost against the fallback, over questions drawn anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DRAWS = 2_000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, with its 95 % interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A policy against the fallback."""

    saved: Estimate
    """Share of the fallback's cost."""
    lost: Estimate
    """Share of the fallback's quality; negative: gained."""
    harm: float
    """P value of "it loses no more than ε": small where it does."""


@dataclass(frozen=True, slots=True)
class Points:
    """What a policy saved and lost, as shares of the fallback's cost and quality."""

    saved: float
    lost: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What a policy's choices brought, prompt by prompt, beside what the fallback would have."""

    questions: NDArray[np.str_]
    quality: Floats
    fallback_quality: Floats
    cost: Floats
    fallback_cost: Floats


def joined(parts: Sequence[Answered]) -> Answered:
    """All of them together."""
    return Answered(
        np.concatenate([part.questions for part in parts]),
        np.concatenate([part.quality for part in parts]),
        np.concatenate([part.fallback_quality for part in parts]),
        np.concatenate([part.cost for part in parts]),
        np.concatenate([part.fallback_cost for part in parts]),
    )


def compared(answered: Answered, epsilon: float, random: np.random.Generator) -> Compared:
    """The figures; whole questions are drawn anew, with all their prompts in all splits (cluster bootstrap)."""
    _, question = np.unique(answered.questions, return_inverse=True)
    count = int(question.max()) + 1
    columns = (answered.quality, answered.fallback_quality, answered.cost, answered.fallback_cost)
    sums = np.stack([np.bincount(question, column, count) for column in columns], axis=1)
    draws = np.stack([np.bincount(random.integers(0, count, count), minlength=count) @ sums for _ in range(_DRAWS)])
    lost, saved = _shares(draws)
    lost_point, saved_point = _shares(sums.sum(axis=0, keepdims=True))
    harm = float((1 + np.sum(lost <= epsilon)) / (1 + _DRAWS))
    return Compared(_estimate(saved_point[0], saved), _estimate(lost_point[0], lost), harm)


def points(answered: Answered) -> Points:
    """The figures without intervals."""
    sums = (answered.quality, answered.fallback_quality, answered.cost, answered.fallback_cost)
    lost, saved = _shares(np.array([[column.sum() for column in sums]]))
    return Points(float(saved[0]), float(lost[0]))


def holm(p_values: Sequence[float], level: float = 1 - _LEVEL) -> list[bool]:
    """Which hypotheses are rejected at `level` over all of them (Holm 1979)."""
    order = np.argsort(p_values)
    rejected = [False] * len(p_values)
    for rank, place in enumerate(order):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def _shares(sums: Floats) -> tuple[Floats, Floats]:
    return 1 - sums[:, 0] / sums[:, 1], 1 - sums[:, 2] / sums[:, 3]


def _estimate(point: float, draws: Floats) -> Estimate:
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Estimate(float(point), float(low), float(high))
