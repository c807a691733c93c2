"""`python -m bench.population`: routing over models whose quality is known, which drifts, and of which one gets worse.

Requests come in twelve kinds, told by their form alone; each model answers each kind well with a probability of its
own. Some answers are judged, 0 or 1. What decides, draws, learns and compares is the product's own (`Exploring` and
`Experience`), over a decider that has no catalog to go by: the baseline answers until outcomes say otherwise. Midway
two models change places at a third of all kinds; later one gets worse silently. Loss is of expected quality beside the
baseline always; what is attainable is what knowing every probability would save at a loss of ε. With `--out FILE` each
seed is kept as a line when it is done, and not run again.
"""

import argparse
import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from asahi.router.v1 import router_pb2 as pb
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Prompt, Role
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.clock import ManualClock
from asahi_router.domain.candidates import Candidate
from asahi_router.domain.decision import Decider, Ranking
from asahi_router.domain.examples import Chance, Example, Judged, Pair
from asahi_router.domain.experience import Experience
from asahi_router.domain.exploration import Exploring
from asahi_router.domain.features import read_features
from asahi_router.domain.form import FORM_SIZE, Form
from asahi_router.domain.goal import epsilon_of
from asahi_router.domain.learning.learned import Told
from asahi_router.domain.lessons import Aim
from asahi_router.domain.models import CatalogModel, ServedModel
from asahi_router.domain.signals import Answers

_MODELS = ("baseline", "better", "cheap", "cheaper", "cheapest")
COSTS = np.array([1.0, 0.7, 0.3, 0.15, 0.05])
KINDS = 12
_BLOCK = 200
"""Requests between two times that the router learns from what was judged."""
_KEPT = 20_000
"""Outcomes in memory."""
_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
_MONTH_S = 30 * 86_400
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
    saved_by_tenth: list[float]
    """Of the requests, in turn."""
    lost_by_tenth: list[float]


def qualities(random: np.random.Generator) -> Doubles:
    """(kinds, models): the probability of a good answer. Cheap models are as good at some kinds and worse at others."""
    base = random.uniform(0.75, 0.95, KINDS)
    gaps = np.stack([np.where(random.random(KINDS) < 0.4, 0.0, random.uniform(0.05, 0.4, KINDS)) for _ in _MODELS])
    found = base[:, None] - gaps.T
    found[:, 0] = base
    clipped: Doubles = np.clip(found, 0.05, 0.98)
    return clipped


def attainable(quality: Doubles, kinds: NDArray[np.intp], epsilon: float) -> float:
    """The share of the baseline's cost that is saved at most where the probabilities are known, at a loss of ε."""
    difference, saved, best = quality - quality[:, [0]], 1 - COSTS, 0.0
    for price in np.geomspace(0.001, 3, 120):
        chosen = (difference + price * saved).argmax(axis=1)[kinds]
        lost = -difference[kinds, chosen].mean() / quality[kinds, 0].mean()
        if lost <= epsilon:
            best = max(best, float(saved[chosen].mean()))
    return best


class _Store:
    """Keeps examples for one run, as the database does for a service."""

    def __init__(self) -> None:
        self.said: list[Judged] = []

    async def keep(self, examples: Sequence[Example]) -> None:
        pass

    async def judged(self, since: datetime, most: int, organization_id: str = "") -> list[Judged]:
        begin = bisect_left(self.said, since, key=lambda one: one.judged_at)
        return self.said[begin : begin + most]

    async def signalled(self, since: datetime, most: int, organization_id: str = "") -> list[Example]:
        return []

    async def keep_pairs(self, pairs: Sequence[Pair]) -> None:
        pass

    async def pairs(self, since: datetime, most: int, organization_id: str = "") -> list[Pair]:
        return []

    async def signal(self, organization_id: str, request_id: str, signal: str) -> None:
        pass

    async def answers(self, organization_id: str, since: datetime) -> list[Answers]:
        return []

    async def withdraw(self, organization_id: str, at: datetime) -> None:
        pass

    async def erasures(self) -> Mapping[str, datetime]:
        return {}

    async def forget_unjudged(self, before: datetime) -> None:
        pass


class _Priced:
    """What each model costs, whatever is asked."""

    def expected(self, organization_id: str, models: Sequence[str], asked_bytes: object, told: Told) -> Doubles:
        costs = [COSTS[_MODELS.index(model)] for model in models]
        return np.tile(costs, (len(told.quality), 1))


class _Population:
    """Asks as callers do and answers as models do; what decides, draws, learns and compares is the product."""

    def __init__(self, random: np.random.Generator, exploration: float, epsilon: float) -> None:
        self._clock, self._store = ManualClock(_BEGAN), _Store()
        log = structlog.get_logger()
        self._experience = Experience(self._store, _Priced(), self._clock, log, _KEPT)
        self._decider = _BaselineFirst()
        self._exploring = Exploring(self._decider, random.random, self._experience)
        policy = RoutingPolicy(exploration=exploration, epsilon=epsilon)
        self._task = pb.Task(organization_id="org", policy=policy)
        self._aim = Aim("baseline", epsilon_of(policy))

    def ask(self, form: Form) -> tuple[int, Chance | None]:
        """Who answers a question of that form, and how likely that was."""
        self._decider.form = form
        ranking = self._exploring.decide(self._task, explain=False)
        return _MODELS.index(ranking.decision.model), ranking.chance

    def judge(self, form: Form, answered: int, chance: Chance | None, score: float) -> None:
        """What somebody says of an answer."""
        now, number = self._clock.now(), str(len(self._store.said))
        example = Example("org", number, _MODELS[answered], form, b"", 400, 100, now, chance=chance)
        self._store.said.append(Judged(example, score, now))

    async def pass_time(self, seconds: float) -> bool:
        """Lets the router learn from what was said; whether its log shows harm."""
        self._clock.advance(seconds)
        lesson = self._experience.lesson("org", b"")
        if lesson is not None:
            self._experience.guard(lesson, self._aim)  # as each decision asks for it, which is when it is calibrated
        await self._experience.catch_up()
        return self._experience.harm("org", self._aim) is not None


class _BaselineFirst(Decider):
    """Decides for the baseline, as where no catalog says that another is as good; all others may answer."""

    def __init__(self) -> None:
        self.form: Form = ()
        asked = Message(role=Role.ROLE_USER, parts=[ContentPart(text="What is it?")])
        self._features = read_features(Prompt(chat=ChatRequest(messages=[asked])))
        self._may = tuple(_candidate(name, round(cost * 1e6)) for name, cost in zip(_MODELS, COSTS, strict=True))

    def decide(self, task: pb.Task, *, explain: bool, streamed: bool = False) -> Ranking:
        first, features = self._may[0], replace(self._features, form=self.form)
        decision = pb.Decision(model=first.model, provider=first.provider)
        return Ranking(decision, (first,), features, first, self._may, Chance(first.model))


def _candidate(name: str, cost_nanos: int) -> Candidate:
    model = CatalogModel(name, "made up", 10_000, 1_000, {"chat": 4.0}, "made up", 1.0, 100.0)
    return Candidate(ServedModel(model, "made up", name), 4.0, 1.0, 1.0, 100, cost_nanos, cost_nanos, 1_000, 0, ())


def run(seed: int, requests: int, labels: float, exploration: float, epsilon: float) -> Run:
    """One population, from its first request to its last."""
    return asyncio.run(_run(seed, requests, labels, exploration, epsilon))


async def _run(seed: int, requests: int, labels: float, exploration: float, epsilon: float) -> Run:
    random = np.random.default_rng(seed)
    middles = random.normal(size=(KINDS, FORM_SIZE))
    first = qualities(random)
    drifted = first.copy()
    moved = random.choice(KINDS, KINDS // 3, replace=False)
    drifted[moved, 2], drifted[moved, 3] = first[moved, 3], first[moved, 2]
    worse = drifted.copy()
    worse[:, 2] = np.clip(worse[:, 2] - 0.2, 0.05, 1)
    drift_at, worse_at = requests // 2, requests * 7 // 10
    population = _Population(random, exploration, epsilon)
    lost, good, paid, possible = (np.zeros(requests) for _ in range(4))
    judged_by = np.zeros(requests, dtype=int)
    total, taken_over, harmed = 0, 0, False
    for begin in range(0, requests, _BLOCK):
        truth = worse if begin >= worse_at else drifted if begin >= drift_at else first
        kinds = random.integers(0, KINDS, _BLOCK)
        forms = (middles[kinds] + 0.7 * random.normal(size=(_BLOCK, FORM_SIZE))).astype(np.float32)
        now = slice(begin, begin + _BLOCK)
        judged_by[now] = total
        possible[now] = attainable(truth, kinds, epsilon)
        for number, (kind, form) in enumerate(zip(kinds, forms, strict=True), begin):
            answered, chance = population.ask(form)
            lost[number], good[number] = truth[kind, 0] - truth[kind, answered], truth[kind, 0]
            paid[number] = COSTS[answered]
            if random.random() < labels:
                population.judge(form, answered, chance, float(random.random() < truth[kind, answered]))
                total += 1
        was = harmed
        harmed = await population.pass_time(_MONTH_S * _BLOCK / requests)
        taken_over += harmed and not was
    over = lost - epsilon * good
    return Run(
        seed,
        labels,
        float(lost.sum() / good.sum()),
        float(1 - paid.mean()),
        float(possible.mean()),
        _recovery(over, judged_by, drift_at, worse_at),
        _recovery(over, judged_by, worse_at, requests),
        taken_over,
        [float(part.mean()) for part in np.split(1 - paid, 10)],
        [float(part.sum() / good.mean() / len(part)) for part in np.split(lost, 10)],
    )


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
