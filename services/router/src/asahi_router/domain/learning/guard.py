"""When a cheaper model may answer in the baseline's place.

What decides is the *paired* difference of two models on one question. A difference below zero is worth accepting where
it saves much, so the rule is one price: how much quality may be given for what is saved. That price is the only figure
that is tuned, and it is tuned on the memory alone: the highest one at which the loss that the other folds show is at
most ε of the baseline's quality. That loss is the mean of two estimates: what the outcomes of the chosen models were,
which is unbiased and noisy, and what is expected of them after their differences were calibrated against outcomes,
which is the other way round. The highest price that looks good enough is partly a lucky one, the more so the smaller
the memory; so the loss must also be at most ε, with a margin of standard errors, when it is drawn to what memories
usually lose at that price (empirical Bayes; Efron and Morris, 1975). Where only one of the two models' outcomes is
known, as in real traffic, what is made up has a margin of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asahi_router.domain.learning.basis import Floats
from asahi_router.domain.learning.learned import Learned, Measured, Taught, Told

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """What was fixed before any question was decided; docs/routing.md says how."""

    margin: float = 0.5
    """Standard errors by which the loss must be under ε, drawn to what is usual."""
    unknown_margin: float = 1.28
    """The same, of what stands in for outcomes that are not known."""
    strangest: float = 0.95
    """Questions stranger than this share of the memory's own go to the baseline."""
    fewest: int = 100
    """Outcomes of a model, and of the baseline, below which nothing is said of it."""


RULES = Rules()
_AS_DEAR = -0.01
"""Share of the usual cost: a model that is dearer by more than this does not stand in for the baseline."""
_PRICES = np.geomspace(0.002, 2.0, 60)
_USUAL_LOSS = (0.02, 0.05, 0.2, 0.3), (-0.0085, 0.0, 0.06, 0.1)
"""Prices, and the share of the baseline's quality that is lost at each, mean of memories; docs/routing.md has whose."""
_APART = 0.015
"""Standard deviation of that share between memories at one price, what chance adds left out."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the memory says about the guard."""

    price: float
    """Quality that may be given for saving all of the baseline's cost; 0: the guard never leaves the baseline."""
    loss: float
    """Share of the baseline's quality that was lost at that price, by the other folds; negative: gained."""
    error: float
    """Standard error of it."""
    switched: float
    """Share of the questions that left the baseline."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the guard says of one question."""

    model: str
    """That answers."""
    differences: Mapping[str, tuple[float, float]]
    """By model that may be judged: its expected quality less the baseline's, 0 to 1, and the standard error of it."""
    strange: bool
    """Whether the question is too strange to leave the baseline."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides when to leave a baseline, by what was learned of it and of others."""

    learned: Learned
    baseline: str
    usual_cost: float
    """Of the baseline's answers over the memory, in the unit of the costs that are judged."""
    calibration: Calibration
    rules: Rules = RULES

    def judge(self, told: Told, costs: Mapping[str, float]) -> Judged:
        """Whether to leave the baseline, for which model; `told`: of one question.

        `costs`: expected of each model that may answer; the baseline is among them.
        """
        models, fewest = self.learned.models, self.rules.fewest
        at = [place for place, model in enumerate(models) if model in costs and self.learned.answers[place] >= fewest]
        names = [models[place] for place in at]
        if self.baseline not in names:
            return Judged(self.baseline, {}, strange=False)
        baseline = names.index(self.baseline)
        these = told.of(at)
        saved = np.array([[costs[self.baseline] - costs[name] for name in names]]) / self.usual_cost
        value = worth(these, saved, baseline, self.calibration.price, self.rules)
        difference, error = differences(these, baseline)
        return Judged(
            names[int(value[0].argmax())] if self.calibration.price else self.baseline,
            {name: (float(difference[0, n]), float(error[0, n])) for n, name in enumerate(names)},
            bool(told.strangeness[0] > self.rules.strangest),
        )


def guard_of(taught: Taught, costs: Doubles, baseline: str, epsilon: float, rules: Rules = RULES) -> Guard:
    """The guard of a baseline that is among the models; `costs`: (n, m) expected of the memory's questions."""
    learned = taught.learned
    place = learned.models.index(baseline)
    usual = float(costs[:, place].mean())
    saved = (costs[:, [place]] - costs) / usual
    return Guard(learned, baseline, usual, calibrate(taught, saved, place, epsilon, rules), rules)


def differences(told: Told, baseline: int) -> tuple[Floats, Floats]:
    """(n, m): each model's expected quality less the baseline's, and the standard error of it."""
    error: Floats = np.sqrt(np.square(told.error) + np.square(told.error[:, [baseline]]))
    return told.quality - told.quality[:, [baseline]], error


def worth(told: Told, saved: Floats | Doubles, baseline: int, price: float, rules: Rules) -> Doubles:
    """(n, m): what it is worth to leave the baseline for each model; only where more than 0 is it left.

    `saved`: (n, m), share of the baseline's usual cost that each model saves on each question.
    """
    difference, _ = differences(told, baseline)
    value = difference + price * np.asarray(saved, dtype=np.float64)
    value[(saved < _AS_DEAR) | (told.strangeness > rules.strangest)[:, None]] = -np.inf
    value[:, baseline] = 0.0
    return value


@dataclass(frozen=True, slots=True)
class Outlook:
    """What every price would have brought on the questions of a memory, told of each by the other folds."""

    chosen: NDArray[np.int16]
    """(n, prices): the model that answers."""
    brought: Doubles
    """(n, m): what outcomes say of each model's quality less the baseline's."""
    expected: Doubles
    """(n, m): what the regressions say of it, calibrated."""
    made_up: Doubles
    """(m,): variance that an outcome has more than if all were known."""
    good: Floats
    """(n,): quality of the baseline; NaN: not known."""
    baseline: int

    def highest(self, rows: NDArray[np.intp], epsilon: float, rules: Rules) -> Calibration:
        """The highest price at which these questions show no loss above ε; 0: there is none."""
        kept = Calibration(0.0, 0.0, 0.0, 0.0)
        good = float(np.nanmean(self.good[rows]))
        for price, by_price in zip(_PRICES, self.chosen[rows].T, strict=True):
            chosen = by_price.astype(np.intp)
            seen, left = self.brought[rows, chosen], chosen != self.baseline
            loss = -float((seen.mean() + self.expected[rows, chosen].mean()) / 2)
            error = float(seen.std() / np.sqrt(len(rows)))
            made_up = np.sum(self.made_up[chosen[left]] + self.made_up[self.baseline])
            unknown = float(np.sqrt(made_up)) / len(rows)
            trust = 1 / (1 + np.square(error / max(good, 1e-9) / _APART))
            usual = good * float(np.interp(price, *_USUAL_LOSS))
            pooled = trust * loss + (1 - trust) * usual + rules.margin * np.sqrt(trust) * error
            if max(loss, pooled) + rules.unknown_margin * unknown <= epsilon * good:
                kept = Calibration(float(price), loss / good, error / good, float(left.mean()))
        return kept

    def at(self, price: float) -> NDArray[np.intp]:
        """(n,): who answers at one of the prices, or at 0."""
        if not price:
            return np.full(len(self.chosen), self.baseline)
        return self.chosen[:, int(np.abs(_PRICES - price).argmin())].astype(np.intp)


def outlook(taught: Taught, saved: Doubles, baseline: int, rules: Rules = RULES) -> Outlook | None:
    """What every price would bring; None: too little is known of the baseline.

    `saved`: (n, m), share of the baseline's usual cost that each model saves on each question.
    """
    measured, told = taught.measured, taught.told
    answered = np.sum(~np.isnan(measured.quality), axis=0)
    if answered[baseline] < rules.fewest:
        return None
    saved = np.where(answered < rules.fewest, -1.0, saved)
    brought = np.stack([_brought(measured, told, place) for place in range(len(answered))], axis=1)
    brought -= brought[:, [baseline]]
    known = answered / len(saved)
    squares = np.nan_to_num(np.nanmean(np.square(measured.quality - told.quality), axis=0))
    return Outlook(
        np.stack([worth(told, saved, baseline, price, rules).argmax(axis=1) for price in _PRICES], 1).astype(np.int16),
        brought,
        _calibrated(differences(told, baseline)[0], brought),
        squares * (1 / np.maximum(known, 1e-9) - 1),
        measured.quality[:, baseline],
        baseline,
    )


def calibrate(taught: Taught, saved: Doubles, baseline: int, epsilon: float, rules: Rules = RULES) -> Calibration:
    """The highest price at which the memory shows no loss above ε."""
    seen = outlook(taught, saved, baseline, rules)
    if seen is None:
        return Calibration(0.0, 0.0, 0.0, 0.0)
    return seen.highest(np.arange(len(saved)), epsilon, rules)


def _calibrated(difference: Floats, brought: Doubles) -> Doubles:
    """(n, m): expected differences, stretched and moved model by model to fit what outcomes brought (least squares)."""
    middle = difference.mean(axis=0, dtype=np.float64)
    apart = difference - middle
    spread = np.mean(np.square(apart), axis=0)
    stretch = np.mean(apart * (brought - brought.mean(axis=0)), axis=0) / np.maximum(spread, 1e-12)
    fitted: Doubles = brought.mean(axis=0) + stretch * apart
    return fitted


def _brought(measured: Measured, told: Told, model: int) -> Doubles:
    """(n,): quality by that model.

    Where an outcome is not known, what is told stands in for it, and those that are known count for the others (doubly
    robust: Dudík, Langford and Li, 2011).
    """
    expected = told.quality[:, model].astype(np.float64)
    outcome = measured.quality[:, model]
    known: Flags = ~np.isnan(outcome)
    return expected + np.where(known, (outcome - expected) / max(float(known.mean()), 1e-9), 0.0)
