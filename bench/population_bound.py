"""`python -m bench.population_bound`: what anybody could save in the population of `bench.population`.

Two figures for each share of judged requests, both without drift. *At most*: no policy saves more on the mean at a mean
loss of ε, even if it is told the kinds, each baseline's quality and how gaps are distributed: quality and the time of a
kind have a price (Lagrange), and then each model of each kind is a question of when to stop, which is solved exactly.
*By index*: what a policy reaches that is told all of that, and always asks the model whose stopping problem is worth
most, with that price of quality.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from bench.population import COSTS, KINDS, Doubles, attainable, qualities

_REQUESTS = 50_000 / KINDS
_BASES = np.array([0.775, 0.825, 0.875, 0.925])
"""The baseline's quality at a kind, in four steps."""
_GAPS = np.concatenate([[0.0], np.linspace(0.05, 0.4, 15)])
_LIKELY = np.array([0.4, *[0.04] * 15])
_EPSILON = 0.01
_PRICES = (2.0, 4.0, 6.0, 8.0, 11.0, 15.0, 18.0, 20.0, 22.0, 25.0, 30.0, 40.0)
_OF_TIME = np.linspace(0, 0.9, 10)


def stopping(saves: float, base: float, price: float, outcomes: int) -> Doubles:
    """(outcomes + 1, outcomes + 2): worth of going on with a model after so many outcomes, so many of them good.

    In requests of the baseline's cost; each outcome comes after as many requests. `saves`: what a request saves.
    """
    each, right = _REQUESTS / outcomes, np.clip(base - _GAPS, 0.05, 0.98)
    table = np.zeros((outcomes + 1, outcomes + 2))
    for seen in range(outcomes - 1, -1, -1):
        good = np.arange(seen + 1)[:, None]
        likely = good * np.log(right) + (seen - good) * np.log(1 - right) + np.log(_LIKELY)
        weight = np.exp(likely - likely.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        next_good, gap = weight @ right, weight @ (base - right)
        later = next_good * table[seen + 1, 1 : seen + 2] + (1 - next_good) * table[seen + 1, : seen + 1]
        table[seen, : seen + 1] = np.maximum(0, each * (saves - price * gap) + later)
    return table


def at_most(outcomes: int) -> float:
    """Share of the baseline's cost that no policy exceeds."""
    return min(_dual(price, outcomes) for price in _PRICES)


def _dual(price: float, outcomes: int) -> float:
    by_base = [min(_of_kind(base, price, time, outcomes) for time in _OF_TIME) for base in _BASES]
    return float(np.mean(by_base)) + price * _EPSILON * float(_BASES.mean())


def _of_kind(base: float, price: float, time: float, outcomes: int) -> float:
    worth = sum(stopping(1 - cost - time, base, price, outcomes)[0, 0] for cost in COSTS[1:])
    return float(worth) / _REQUESTS + time


def by_index(outcomes: int, price: float, seeds: int) -> tuple[float, float]:
    """Share of the attainable saving, and share of quality lost, on the mean over populations."""
    tables = [[stopping(1 - cost, base, price, outcomes) for cost in COSTS[1:]] for base in _BASES]
    each, saved, lost = _REQUESTS / outcomes, 0.0, 0.0
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        quality = qualities(random)
        gained, given = 0.0, 0.0
        for kind in quality:
            base = int(np.abs(_BASES - kind[0]).argmin())
            used = _asked(tables[base], kind[1:] + _BASES[base] - kind[0], random)
            gained += each * float(used @ (1 - COSTS[1:]))
            given += each * float(used @ (kind[0] - kind[1:]))
        saved += gained / (_REQUESTS * KINDS) / attainable(quality, np.arange(KINDS), _EPSILON) / seeds
        lost += given / (_REQUESTS * float(quality[:, 0].sum())) / seeds
    return saved, lost


def _asked(tables: list[Doubles], right: Doubles, random: np.random.Generator) -> NDArray[np.int_]:
    """Outcomes of each model until all are left, or time is over."""
    seen, good = np.zeros(len(tables), int), np.zeros(len(tables), int)
    for _ in range(len(tables[0]) - 1):
        worth = [table[s, g] for table, s, g in zip(tables, seen, good, strict=True)]
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        seen[best] += 1
        good[best] += random.random() < right[best]
    return seen


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.population_bound", description=__doc__)
    parser.add_argument("--seeds", type=int, default=24)
    options = parser.parse_args()
    for labels in (0.2, 0.05, 0.01):
        outcomes = round(_REQUESTS * labels)
        if labels < 0.2:  # above, the bound says no more than that everything may be saved
            print(f"{labels:.0%} judged: nobody saves more than {at_most(outcomes):.1%}", flush=True)
        for price in (25.0, 40.0):
            saved, lost = by_index(outcomes, price, options.seeds)
            print(
                f"{labels:.0%} judged, by index at {price:g}: {saved:.0%} of the attainable, {lost:.2%} lost",
                flush=True,
            )


if __name__ == "__main__":
    main()
