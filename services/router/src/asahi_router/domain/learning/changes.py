"""Whether a model's outcomes are worse than they were, and since when: what is older says nothing of it any more.

The likelihood ratio of one change, at the place where it is greatest, against none (generalized likelihood ratio; Lai
and Xing, 2010, and Besson and others, 2022, who bound its false alarms). Outcomes are 0 to 1; those between count as
shares of both, which is less than they say.
"""

import numpy as np

from asahi_router.domain.learning.guard import Doubles

ALARM = 7.5
"""Nats. `tests/test_changes.py` says how often it is a false one."""
_FEWEST = 20
_SHORTEST = 3


def fallen_since(scores: Doubles) -> int:
    """Place from which on `scores`, in order of time, are surely lower than before; 0: they are not."""
    count = len(scores)
    if count < _FEWEST:
        return 0
    split = np.arange(_SHORTEST, count - _SHORTEST + 1)
    sums = scores.cumsum()
    before, after = sums[split - 1] / split, (sums[-1] - sums[split - 1]) / (count - split)
    usual = sums[-1] / count
    evidence = split * _apart(before, usual) + (count - split) * _apart(after, usual)
    evidence[after >= before] = 0.0
    best = int(evidence.argmax())
    return int(split[best]) if evidence[best] > ALARM else 0


def _apart(share: Doubles, usual: float) -> Doubles:
    """Kullback-Leibler divergence of two coins."""
    one, other = np.clip(share, 1e-9, 1 - 1e-9), float(np.clip(usual, 1e-9, 1 - 1e-9))
    apart: Doubles = one * np.log(one / other) + (1 - one) * np.log((1 - one) / (1 - other))
    return apart
