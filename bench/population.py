"""`python -m bench.population`: routing over models whose quality is known, which drifts, and of which one gets worse.

Requests come in twelve kinds, told by their form alone; each model answers each kind well with a probability of its
own. Some answers are judged, 0 or 1. What decides is the product's own: `learn`, `guard_of`, `worth` (many questions at
once), and what its log of decisions says of it (`compare`, `harms`), after which the baseline takes over. A share of
requests is drawn, as the policy's `exploration` has it. Midway two models change places at a third of all kinds; later
one gets worse silently. Loss is of expected quality beside the baseline always; what is attainable is what knowing
every probability would save at a loss of ε. With `--out FILE` each seed is kept as a line when it is done, and not run
again.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from asahi_router.domain.form import FORM_SIZE
from asahi_router.domain.learning.controls import Log, compare, harms
from asahi_router.domain.learning.guard import Guard, guard_of, worth
from asahi_router.domain.learning.learned import Measured, Taught, learn

_MODELS = ("baseline", "better", "cheap", "cheaper", "cheapest")
_COSTS = np.array([1.0, 0.7, 0.3, 0.15, 0.05])
_KINDS = 12
_BLOCK = 500
_FEWEST, _GROWTH, _KEPT = 200, 1.1, 20_000
"""As `domain.experience` learns, and as many outcomes as it keeps by default."""
_WINDOW = 2_000
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one seed."""

    seed: int
    labels: float
    """Share of requests that were judged."""
    lost: float
    """Share of the baseline's quality."""
    saved: float
    """Share of the baseline's cost."""
    attainable: float
    """The same, by what knows every probability."""
    recovery: int | None
    """Labels from the drift until a window of requests lost no more than ε; None: it never did."""
    recovery_of_worse: int | None
    """The same from when one model got worse."""
    taken_over: int
    """Times that the log showed harm."""


def qualities(random: np.random.Generator) -> Doubles:
    """(kinds, models): the probability of a good answer. Cheap models are as good at some kinds and worse at others."""
    base = random.uniform(0.75, 0.95, _KINDS)
    gaps = np.stack([np.where(random.random(_KINDS) < 0.4, 0.0, random.uniform(0.05, 0.4, _KINDS)) for _ in _MODELS])
    found = base[:, None] - gaps.T
    found[:, 0] = base
    clipped: Doubles = np.clip(found, 0.05, 0.98)
    return clipped


def attainable(quality: Doubles, kinds: NDArray[np.intp], epsilon: float) -> float:
    """The share of the baseline's cost that is saved at most where the probabilities are known, at a loss of ε."""
    difference, saved, best = quality - quality[:, [0]], 1 - _COSTS, 0.0
    for price in np.geomspace(0.001, 3, 120):
        chosen = (difference + price * saved).argmax(axis=1)[kinds]
        lost = -difference[kinds, chosen].mean() / quality[kinds, 0].mean()
        if lost <= epsilon:
            best = max(best, float(saved[chosen].mean()))
    return best


def run(seed: int, requests: int, labels: float, exploration: float, epsilon: float) -> Run:
    """One population, from its first request to its last."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(_KINDS, FORM_SIZE))
    first = qualities(random)
    drifted = first.copy()
    moved = random.choice(_KINDS, _KINDS // 3, replace=False)
    drifted[moved, 2], drifted[moved, 3] = first[moved, 3], first[moved, 2]
    worse = drifted.copy()
    worse[:, 2] = np.clip(worse[:, 2] - 0.2, 0.05, 1)
    drift_at, worse_at = requests // 2, requests * 7 // 10
    forms: list[NDArray[np.float32]] = []
    kept: list[tuple[int, float, float, float]] = []  # who answered, its score, the propensities
    guard: Guard | None = None
    taken_over, learned_at, harmed = 0, 0, False
    lost, good, paid, possible = (np.zeros(requests) for _ in range(4))
    judged_by = np.zeros(requests, dtype=int)
    for begin in range(0, requests, _BLOCK):
        truth = worse if begin >= worse_at else drifted if begin >= drift_at else first
        kinds = random.integers(0, _KINDS, _BLOCK)
        form = (middles[kinds] + 0.7 * random.normal(size=(_BLOCK, FORM_SIZE))).astype(np.float32)
        decided = np.zeros(_BLOCK, dtype=int)
        if guard is not None and not harmed and guard.calibration.price:
            places = [_MODELS.index(model) for model in guard.learned.models]
            told, at = guard.learned.tell(form, None), guard.learned.models.index("baseline")
            few = guard.learned.answers < guard.rules.fewest
            saved = np.where(few, -1.0, (1 - _COSTS)[places])[None, :].repeat(_BLOCK, axis=0)
            decided = np.array(places)[worth(told, saved, at, guard.calibration.price, guard.rules).argmax(axis=1)]
        each = exploration / len(_MODELS)
        drawn = random.random(_BLOCK) < exploration
        chosen = np.where(drawn, random.integers(0, len(_MODELS), _BLOCK), decided)
        now = slice(begin, begin + _BLOCK)
        lost[now], good[now] = truth[kinds, 0] - truth[kinds, chosen], truth[kinds, 0]
        paid[now] = _COSTS[chosen]
        possible[now] = attainable(truth, kinds, epsilon)
        told_of = np.flatnonzero(random.random(_BLOCK) < labels)
        scores = random.random(len(told_of)) < truth[kinds[told_of], chosen[told_of]]
        propensity = np.where(chosen == decided, 1 - exploration + each, each)
        forms.extend(form[told_of])
        rows = zip(chosen[told_of].tolist(), scores.tolist(), propensity[told_of].tolist(), strict=True)
        kept.extend((who, float(score), chance, each) for who, score, chance in rows)
        forms, kept = forms[-_KEPT:], kept[-_KEPT:]
        judged_by[now] = int(judged_by[begin - 1] if begin else 0) + len(told_of)
        total = int(judged_by[begin])
        if total >= _FEWEST and total >= _GROWTH * learned_at:
            learned_at = total
            guard, harmed = _taught(np.array(forms), kept, epsilon)
            taken_over += harmed
    return Run(
        seed,
        labels,
        float(lost.sum() / good.sum()),
        float(1 - paid.mean()),
        float(possible.mean()),
        _recovery(lost - epsilon * good, judged_by, drift_at, worse_at),
        _recovery(lost - epsilon * good, judged_by, worse_at, requests),
        taken_over,
    )


def _taught(
    forms: NDArray[np.float32], kept: list[tuple[int, float, float, float]], epsilon: float
) -> tuple[Guard | None, bool]:
    """The guard of what was judged, and whether the log says that routing lost too much."""
    who = np.array([row[0] for row in kept])
    present = np.unique(who)
    models = tuple(_MODELS[place] for place in present)
    if "baseline" not in models:
        return None, False
    quality = np.full((len(who), len(models)), np.nan, np.float32)
    row, column = np.arange(len(who)), np.searchsorted(present, who)
    quality[row, column] = [one[1] for one in kept]
    tokens = np.where(np.isnan(quality), np.nan, 100).astype(np.float32)
    measured = Measured(models, forms, None, quality, tokens, row)
    taught: Taught = learn(measured, np.random.default_rng(len(who)))
    costs = _COSTS[present][None, :].repeat(len(who), axis=0)
    log = Log(
        models, models.index("baseline"), column, quality[row, column].astype(np.float64),
        np.array([one[2] for one in kept]), np.array([one[3] for one in kept]),
        taught.told.quality.astype(np.float64), costs,
    )  # fmt: skip
    return guard_of(taught, costs, "baseline", epsilon), harms(compare(log, epsilon), epsilon) is not None


def _recovery(over: Doubles, judged_by: NDArray[np.int_], since: int, until: int) -> int | None:
    """Labels from `since` on until a window of requests lost no more than ε; `over`: loss of each request beyond it."""
    for at in range(since, until - _WINDOW + 1, _BLOCK):
        if over[at : at + _WINDOW].sum() <= 0:
            return int(judged_by[at] - judged_by[since])
    return None


def report(runs: list[Run], epsilon: float) -> str:
    """For people."""
    count, share = len(runs), np.mean([one.saved for one in runs])
    lost, saved = np.array([one.lost for one in runs]), np.array([one.saved / one.attainable for one in runs])
    held = (lost <= epsilon).mean()
    found = [
        f"{held:.0%} of {count} seeds lost ≤ {epsilon:.1%} (mean {lost.mean():.2%}, most {lost.max():.2%})",
        f"saved {share:.1%}, {saved.mean():.0%} of what is attainable (least {saved.min():.0%})",
    ]
    for name, values in (
        ("the drift", [r.recovery for r in runs]),
        ("one got worse", [r.recovery_of_worse for r in runs]),
    ):
        known = [value for value in values if value is not None]
        median = np.median(known) if known else float("nan")
        found.append(f"after {name} {len(known)} recovered, median after {median:.0f} labels")
    return "; ".join(found)


def main() -> None:
    """Run, keep and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.population", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--labels", type=float, action="append", help="share of requests that are judged; several")
    parser.add_argument("--exploration", type=float, default=0.1)
    parser.add_argument("--epsilon", type=float, default=0.01)
    parser.add_argument("--out", type=Path, help="keeps each seed, and goes on where it was ended")
    options = parser.parse_args()
    threadpool_limits(1, "blas")
    done: dict[tuple[float, int], Run] = {}
    if options.out is not None and options.out.exists():
        for line in options.out.read_text().splitlines():
            kept = Run(**json.loads(line))
            done[kept.labels, kept.seed] = kept
    for labels in options.labels or (0.2, 0.05, 0.01):
        for seed in range(options.seeds):
            if (labels, seed) in done:
                continue
            begun = time.perf_counter()
            one = done[labels, seed] = run(seed, options.requests, labels, options.exploration, options.epsilon)
            print(f"{one} in {time.perf_counter() - begun:.0f} s", flush=True)
            if options.out is not None:
                with options.out.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
        runs = [done[labels, seed] for seed in range(options.seeds)]
        print(f"{labels:.0%} judged: {report(runs, options.epsilon)}", flush=True)


if __name__ == "__main__":
    main()
