"""The bound on wrong answers: what has been proven about a stream of candidates by audits, at any moment.

An audit is a candidate that the rule would have served and that the provider was asked for all the same, with the
outcome of comparing the two answers. Proof is by e-processes (Robbins' mixtures; Ville's inequality): under "the share
of wrong answers is δ or more" the mixture likelihood ratio against δ is a non-negative supermartingale from 1, so it
ever reaches 1/α with probability at most α, however often it is looked at. A change for the worse is found by the
same ratio the other way round, restarted whenever that helps it (an e-detector).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_BETTER = ((0.0, 0.5), (0.1, 0.2), (0.25, 0.15), (0.5, 0.1), (0.75, 0.05))
"""Shares of δ that the stream may truly have, each with its weight, for the proof that it stays below."""
_WORSE = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Multiples of δ that it may have come to, for the alarm."""
_MOST = 0.95
_KEPT = ("epoch", "audits", "wrong", "proven", "exceeded")
_FIRST_EPOCH = 0.7
_LONGEST_EPOCH = 20
"""Audits without a proof, in units of 1/δ, after which the past is forgotten."""


@dataclass(frozen=True, slots=True)
class BoundSettings:
    """What must be proven and how sure; a value."""

    delta: float
    """Most wrong answers among those served, as a share, above 0 and below 1."""
    alpha: float = 0.05
    """Most probability of serving at all from a stream that is worse than `delta`."""
    alarm: float = 20.0
    """Evidence at which a change for the worse is believed. Larger: fewer false alarms, later true ones."""


@dataclass(slots=True)
class Evidence:
    """Audits of one stream of candidates, and what they prove."""

    settings: BoundSettings
    epoch: int = 1
    """How often the stream has begun anew; each time has a part of α of its own, and the parts sum to α."""
    audits: int = 0
    """In this epoch."""
    wrong: int = 0
    proven: bool = False
    exceeded: bool = False
    """Whether an alarm ended the epoch before, and nothing has been proven since."""
    _better: list[float] = field(default_factory=lambda: [0.0] * len(_BETTER))
    _worse: list[float] = field(default_factory=lambda: [0.0] * len(_WORSE))

    def add(self, *, wrong: bool) -> None:
        """Takes one audit."""
        self.audits += 1
        self.wrong += wrong
        delta = self.settings.delta
        better, worse = _steps(delta, wrong)
        self._better = [one + step for one, step in zip(self._better, better, strict=True)]
        if self.proven:  # before that there is nothing to lose
            self._worse = [max(0.0, one) + step for one, step in zip(self._worse, worse, strict=True)]
            if self.change_evidence >= self.settings.alarm:
                self._begin_anew()
                self.exceeded = True
        elif max(self._better) >= -math.log(self._alpha) and self.proof >= 1 / self._alpha:
            self.proven = True
            self.exceeded = False
            self._worse = [0.0] * len(_WORSE)
        elif self.audits * delta >= _LONGEST_EPOCH:
            self._begin_anew()

    @property
    def refuted(self) -> bool:
        """Whether the stream is worse than δ for all that is known of it."""
        if self.exceeded:
            return True
        delta, audits = self.settings.delta, self.audits
        return self.wrong > delta * audits and _refutes(delta, self.wrong, audits, self.settings.alpha)

    @property
    def proof(self) -> float:
        """The e-value against "δ or more"; it counts from 1/α."""
        return sum(weight * math.exp(min(one, 700.0)) for one, (_, weight) in zip(self._better, _BETTER, strict=True))

    @property
    def change_evidence(self) -> float:
        """The evidence that the stream has become worse than δ."""
        return sum(math.exp(min(one, 700.0)) for one in self._worse) / len(_WORSE)

    def interval(self) -> tuple[float, float]:
        """A confidence sequence for the share of wrong answers in this epoch, valid at every moment at once."""
        return confidence_sequence(self.wrong, self.audits, self.settings.alpha)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, for JSON."""
        kept = {name: getattr(self, name) for name in _KEPT}
        return {**kept, "better": [_or_none(one) for one in self._better], "worse": [_or_none(w) for w in self._worse]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes everything from `state`."""
        for name in _KEPT:
            setattr(self, name, state[name])
        self._better = [-math.inf if one is None else one for one in state["better"]]
        self._worse = [-math.inf if one is None else one for one in state["worse"]]

    @property
    def _alpha(self) -> float:
        if self.epoch == 1:
            return self.settings.alpha * _FIRST_EPOCH
        return self.settings.alpha * (1 - _FIRST_EPOCH) / (self.epoch * (self.epoch - 1))

    def _begin_anew(self) -> None:
        self.epoch += 1
        self.audits = self.wrong = 0
        self.proven = False
        self._better = [0.0] * len(_BETTER)
        self._worse = [0.0] * len(_WORSE)


def _or_none(log_ratio: float) -> float | None:
    """JSON has no −∞."""
    return None if log_ratio == -math.inf else log_ratio


@lru_cache(maxsize=1000)
def _steps(delta: float, wrong: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What one outcome adds to the log-likelihood ratios for the better, and for the worse."""
    better = (_log_ratio(share * delta, delta, wrong=wrong) for share, _ in _BETTER)
    worse = (_log_ratio(max(min(times * delta, _MOST), delta), delta, wrong=wrong) for times in _WORSE)
    return tuple(better), tuple(worse)


def _log_ratio(share: float, against: float, *, wrong: bool) -> float:
    """Log of the likelihood of one outcome under `share` over that under `against`."""
    if wrong:
        return math.log(share / against) if share > 0 else -math.inf
    return math.log1p(-share) - math.log1p(-against)


def confidence_sequence(wrong: int, audits: int, alpha: float) -> tuple[float, float]:
    """(low, high) that hold the true share of a stationary stream at all times with probability 1 − α.

    The shares that the beta-binomial mixture with a Beta(1/2, 1/2) prior does not refute at 1/α.
    """
    if not audits:
        return 0.0, 1.0
    right = audits - wrong

    def refuted(share: float) -> bool:
        return _refutes(share, wrong, audits, alpha)

    centre = min(max(wrong / audits, 1e-12), 1 - 1e-12)
    return _edge(refuted, 0.0, centre) if wrong else 0.0, _edge(refuted, 1.0, centre) if right else 1.0


def _refutes(share: float, wrong: int, audits: int, alpha: float) -> bool:
    """Whether the mixture refutes a share, above 0 and below 1, at 1/α."""
    right = audits - wrong
    marginal = _log_beta(wrong + 0.5, right + 0.5) - _log_beta(0.5, 0.5)
    log_likelihood = (wrong * math.log(share) if wrong else 0.0) + (right * math.log1p(-share) if right else 0.0)
    return marginal - log_likelihood >= math.log(1 / alpha)


def _edge(refuted: Callable[[float], bool], outside: float, inside: float) -> float:
    for _ in range(60):
        middle = (outside + inside) / 2
        if refuted(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
