"""Which margin the memories alone advise: chosen and judged within them, by questions on either side of a line.

A price that is the highest to fit is partly a lucky one. How much of that luck a margin takes back is seen where the
price is chosen on some questions of a memory and judged on its others; no query of any split is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asahi_router.domain.learning.guard import RULES, outlook
from asahi_router.domain.learning.learned import Taught
from asahi_router.evaluate.statistics import Floats, Points

MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CHOOSING = 0.8
_TIMES = 10
_SAFETY = 0.6
"""Share of ε that the mean loss may take: what is not seen here is how far a new day is from the memory."""


def nested(
    taught: Taught, saved: Floats, cost: Floats, baseline: int, *, epsilon: float, random: np.random.Generator
) -> dict[float, Points]:
    """By margin: what the prices chosen with it saved and lost on questions that they were not chosen on.

    `saved` (n, m): expected shares of the baseline's usual cost; `cost` (n, m): what answers did cost.
    """
    seen = outlook(taught, saved, baseline)
    if seen is None:
        return {margin: Points(0.0, 0.0) for margin in MARGINS}
    questions = taught.measured.questions
    brought: dict[float, list[NDArray[np.float64]]] = {margin: [] for margin in MARGINS}
    for _ in range(_TIMES):
        choosing = (random.random(int(questions.max()) + 1) < _CHOOSING)[questions]
        rows, others = np.flatnonzero(choosing), np.flatnonzero(~choosing)
        for margin in MARGINS:
            price = seen.highest(rows, epsilon, replace(RULES, margin=margin)).price
            chosen = seen.at(price)[others]
            lost = -seen.brought[others, chosen].sum() / np.nansum(seen.good[others])
            saving = 1 - cost[others, chosen].sum() / cost[others, baseline].sum()
            brought[margin].append(np.array([saving, lost]))
    return {margin: Points(*map(float, np.mean(parts, axis=0))) for margin, parts in brought.items()}


def mean_points(of_pools: Sequence[Mapping[float, Points]]) -> dict[float, Points]:
    """The mean over pools, by margin."""
    return {
        margin: Points(
            float(np.mean([pool[margin].saved for pool in of_pools])),
            float(np.mean([pool[margin].lost for pool in of_pools])),
        )
        for margin in MARGINS
    }


def advised(means: Mapping[float, Points], epsilon: float) -> float:
    """The smallest margin that keeps the mean loss to six tenths of ε; the largest where none does."""
    return next((margin for margin in MARGINS if means[margin].lost <= _SAFETY * epsilon), MARGINS[-1])
