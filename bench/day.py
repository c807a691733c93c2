"""`python -m bench.day --data DIR`: what a gateway's day costs with cache, routing, prompt caching and cascade.

DIR holds measured outcomes in the form that `asahi_router.evaluate` reads. Several organisations, each with a pool's
models, ask questions of it over 24 hours, in the shares that `day_traffic` states; what answers is what was recorded,
what decides is the product's own code (`day_gateway`). Questions are split 70/30: the larger part was asked yesterday
and is learned from, the day's come from the other. Saved and lost are against the pool's best model at every request
with no cache but its provider's own. Each technique is switched off alone and left on alone; shares of repeats vary.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
from threadpoolctl import threadpool_limits

from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, LOCAL_MODEL, Embedded, Embedder
from asahi_cache.stores.minilm import MiniLm
from asahi_cache.wiring import load_model
from asahi_edge.domain.similarity import MOST_CHARACTERS
from asahi_router.evaluate.data import Folder, Pool, WrongData, in_memory, read_folder, read_pools
from asahi_router.evaluate.embedding import Vectors, embedded
from asahi_router.evaluate.judge import models_of
from asahi_router.evaluate.statistics import Answered, Compared, Estimate, compared
from asahi_router.evaluate.trial import Part, part_of
from bench.day_gateway import Entry, Gateway, Organisation, Technique, lessons_of
from bench.day_traffic import Day, Kind, Question, Request, Shares, TooFew
from services.cache.tests.tier_two import tier_two

POOLS = ("mixed/gpt4+mixtral", "mixed/frontier5", "mmlu_pro/all9", "llmrouter9/all9")
"""Eight of the sources, each once; of the other two one has a single price, the other a best model that is cheapest."""
REPEATED = (0.1, 0.3)
_AIM, _FIRST_STEP, _MOST_LOST = 0.65, 0.5, 0.01
_ALL = frozenset(Technique)
_SINGLE = (Kind.QUESTION, Kind.STRUCTURED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run."""

    folder: Folder
    pools: Sequence[Pool]
    embedder: Embedder
    requests: int
    """Of each organisation's day."""
    seeds: int
    epsilon: float = 0.01
    longest: int = MOST_CHARACTERS


class Kept:
    """The service's model, which has read the folder's questions before."""

    model = LOCAL_MODEL
    dimensions = LOCAL_DIMENSIONS

    def __init__(self, model: MiniLm, texts: Sequence[str], vectors: Vectors) -> None:
        self._model = model
        self._read = dict(zip(texts, vectors, strict=True))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed`."""
        for text in texts:
            if text not in self._read:
                self._read[text] = self._model.embed([text])[0]
        return np.stack([self._read[text] for text in texts])

    async def read(self, texts: Sequence[str]) -> Embedded:
        """As `Embedder.read`."""
        return self._model.read(texts)


@dataclass(slots=True)
class Days:
    """The days of all organisations and seeds, by what was switched on; entries in the same order each time."""

    by_on: dict[frozenset[Technique], list[Entry]] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)
    """What entries belong together, by entry: drawn together when intervals are computed."""
    pools: list[str] = field(default_factory=list)
    """Whose they are."""


Progress = Callable[[str], None]


async def days(plan: Plan, shares: Shares, wanted: Sequence[frozenset[Technique]], progress: Progress) -> Days:
    """The same days once for each of `wanted`.

    Raises:
        WrongData: a pool has no questions.
        TooFew: there are too few of them.
    """
    made = Days({on: [] for on in wanted})
    for seed in range(plan.seeds):
        for pool in plan.pools:
            organisation, part, requests = await _taught(plan, pool, shares, seed)
            for on in wanted:
                entries = await _day(plan, organisation, part, requests, on)
                made.by_on[on] += entries
            made.pools += [pool.name] * len(entries)
            made.sessions += [f"{pool.name} {_session(entry, seed)}" for entry in entries]
            progress(f"{pool.name}, seed {seed}: {len(entries)} questions, {len(wanted)} times")
    return made


def _session(entry: Entry, seed: int) -> str:
    """A single question is the same in every seed."""
    return entry.session if entry.kind in _SINGLE else f"{seed} {entry.session}"


async def _taught(plan: Plan, pool: Pool, shares: Shares, seed: int) -> tuple[Organisation, Part, list[Request]]:
    """An organisation that has learned from yesterday, its measured questions of today, and what it asks."""
    folder = plan.folder
    models = models_of(folder, pool)
    if not models:
        raise WrongData(f"{folder.path} has no models of the pool {pool.name}")
    whole = part_of(folder, np.zeros((len(folder.prompts.ids), 1), np.float32), pool.sources, models)
    whole = whole.at(whole.whole)
    known = np.array([in_memory(question, seed) for question in whole.questions])
    before, today = whole.at(known), whole.at(~known)
    if not len(before.questions) or not len(today.questions):
        raise WrongData(f"{folder.path} has no questions of the pool {pool.name}")
    baseline = int(before.table.quality.mean(axis=0).argmax())
    organisation = Organisation(
        models, models[baseline], {model: folder.prices[model] for model in models}, plan.epsilon, plan.longest
    )
    asked = _day_of(folder, before, baseline, seed).requests(Shares(shares.kinds, 0.0, 0.0))
    with TemporaryDirectory(prefix="asahi-day-") as kept:
        async with tier_two(Path(kept), embedder=plan.embedder) as two:
            yesterday = Gateway(organisation, before, frozenset(), two)
            await yesterday.day(asked)
    lessons = lessons_of(yesterday.seen, before, organisation, seed)
    requests = _day_of(folder, today, baseline, seed).requests(shares, plan.requests)
    return replace(organisation, lessons=lessons), today, requests


def _day_of(folder: Folder, part: Part, baseline: int, seed: int) -> Day:
    prompts, rows = folder.prompts, part.table.rows
    questions = [
        Question(place, prompts.texts[row], prompts.questions[row], *prompts.tools[row])
        for place, row in enumerate(rows.tolist())
    ]
    tokens = part.table.output_tokens[:, baseline]
    return Day(questions, lambda row: int(tokens[row]), Random(seed))


async def _day(
    plan: Plan, organisation: Organisation, part: Part, requests: Sequence[Request], on: frozenset[Technique]
) -> list[Entry]:
    with TemporaryDirectory(prefix="asahi-day-") as kept:
        async with tier_two(Path(kept), Random(0).random, embedder=plan.embedder) as two:
            return await Gateway(organisation, part, on, two).day(requests)


def told(made: Days, epsilon: float) -> list[str]:
    """The tables of days with everything on, each technique off alone and on alone."""
    every = made.by_on[_ALL]
    lines = ["| switched on | saved % | lost % | less saved without it, points | answered by the cache |"]
    lines += ["| --- | --: | --: | --: | --: |"]
    for name, on in _named():
        entries = made.by_on[on]
        seen = _compared(made, entries, epsilon)
        missed = ""
        if len(on) == len(Technique) - 1:
            dearer = [other.cost - one.cost for one, other in zip(every, entries, strict=True)]
            missed = _interval(_compared(made, every, epsilon, dearer).saved, 1)
        hits = sum(entry.cost == 0 for entry in entries) / len(entries)
        lines.append(f"| {name} | {_interval(seen.saved, 1)} | {_interval(seen.lost, 2)} | {missed} | {hits:.1%} |")
    lines += ["", "| with everything on, saved by | % of the baseline's cost |", "| --- | --: |"]
    for technique in Technique:
        parts = [entry.saved.get(technique, 0.0) for entry in every]
        lines.append(f"| {technique} | {_interval(_compared(made, every, epsilon, parts).saved, 1)} |")
    kinds = [str(entry.kind) for entry in every]
    for heading, groups in (("models of the organization", made.pools), ("kind of request", kinds)):
        lines += [
            "",
            f"| {heading} | questions | share of cost | saved % | lost % |",
            "| --- | --: | --: | --: | --: |",
        ]
        for group in dict.fromkeys(groups):
            lines.append(_group(made, every, [one == group for one in groups], group, epsilon))
    wrong = sum(entry.wrong_hit for entry in every)
    return [*lines, "", f"Wrong cache hits: {wrong} of {sum(entry.cost == 0 for entry in every)}."]


def _group(made: Days, entries: Sequence[Entry], inside: Sequence[bool], name: str, epsilon: float) -> str:
    some = [entry for entry, is_inside in zip(entries, inside, strict=True) if is_inside]
    sessions = [session for session, is_inside in zip(made.sessions, inside, strict=True) if is_inside]
    seen = _compared(Days({}, sessions), some, epsilon)
    share = sum(entry.baseline_cost for entry in some) / sum(entry.baseline_cost for entry in entries)
    return f"| {name} | {len(some)} | {share:.0%} | {_interval(seen.saved, 1)} | {_interval(seen.lost, 2)} |"


def _named() -> list[tuple[str, frozenset[Technique]]]:
    return [
        ("everything", _ALL),
        *((f"without {technique}", _ALL - {technique}) for technique in Technique),
        *((f"{technique} alone", frozenset({technique})) for technique in Technique),
    ]


def _compared(made: Days, entries: Sequence[Entry], epsilon: float, saved: Sequence[float] | None = None) -> Compared:
    """Against the baseline; `saved`: dollars by entry, if not all that they saved."""
    before = np.array([entry.baseline_cost for entry in entries])
    cost = np.array([entry.cost for entry in entries]) if saved is None else before - np.array(saved)
    answered = Answered(
        np.array(made.sessions),
        np.array([entry.quality for entry in entries]),
        np.array([entry.baseline_quality for entry in entries]),
        cost,
        before,
    )
    return compared(answered, epsilon, np.random.default_rng(0))


def _interval(seen: Estimate, digits: int) -> str:
    low, high = (100 * value for value in (seen.low, seen.high))
    return f"{100 * seen.point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def verdict(seen: Compared) -> str:
    """What was aimed at, and what was reached."""
    saved, lost = seen.saved.point, seen.lost.point
    reached = "aim" if saved >= _AIM else "first step" if saved >= _FIRST_STEP else "neither"
    kept = "kept" if lost <= _MOST_LOST else "**missed**"
    return (
        f"Saved {saved:.1%} (first step {_FIRST_STEP:.0%}, aim {_AIM:.0%}: {reached} reached) at {lost:.2%} lost "
        f"(at most {_MOST_LOST:.0%}: {kept})."
    )


async def _run(plan: Plan, *, vary: bool) -> int:
    made = await days(plan, Shares(), [on for _, on in _named()], _progress)
    print("\n".join(told(made, plan.epsilon)))
    seen = _compared(made, made.by_on[_ALL], plan.epsilon)
    if vary:
        by_share: dict[float, Compared] = {Shares().repeated: seen}
        for repeated in REPEATED:
            other = await days(plan, Shares(repeated=repeated), [_ALL], _progress)
            by_share[repeated] = _compared(other, other.by_on[_ALL], plan.epsilon)
        print("\n" + "\n".join(_by_repeats(by_share)))
    print(f"\n{verdict(seen)}")
    return 0 if seen.saved.point >= _FIRST_STEP and seen.lost.point <= _MOST_LOST else 1


def _by_repeats(by_share: Mapping[float, Compared]) -> list[str]:
    lines = ["| single questions repeated to the letter | saved % | lost % |", "| --: | --: | --: |"]
    for share, seen in sorted(by_share.items()):
        lines.append(f"| {share:.0%} | {_interval(seen.saved, 1)} | {_interval(seen.lost, 2)} |")
    return lines


def _progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> int:
    """Runs the days and prints the tables; 1 where the first step is missed or the data cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m bench.day", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of measured outcomes, with its pools.json")
    parser.add_argument("--pool", action="append", help=f"an organisation's models; several (else {', '.join(POOLS)})")
    parser.add_argument("--requests", type=int, default=700, help="of each organisation's day")
    parser.add_argument("--seeds", type=int, default=3, help="splits of the folder, each with a day")
    parser.add_argument("--epsilon", type=float, default=0.01, help="quality that the policies let be lost (0.01)")
    parser.add_argument("--similar-characters", type=int, default=MOST_CHARACTERS, help="as the edge's setting")
    parser.add_argument(
        "--kept", type=Path, default=Path(gettempdir()) / "asahi-embeddings", help="where embeddings are kept"
    )
    parser.add_argument("--one-share", action="store_true", help="do not vary the share of repeats")
    options = parser.parse_args()
    threadpool_limits(1, "blas")
    try:
        by_name = {pool.name: pool for pool in read_pools(options.data / "pools.json")}
        names = options.pool or POOLS
        missing = [name for name in names if name not in by_name]
        if missing:
            raise WrongData(f"{options.data}/pools.json has no pool {', '.join(missing)}; name others with --pool")
        folder = read_folder(options.data)
        texts = folder.prompts.texts
        plan = Plan(
            folder,
            [by_name[name] for name in names],
            Kept(load_model(threads=1), texts, embedded(texts, options.kept)),
            options.requests,
            options.seeds,
            options.epsilon,
            options.similar_characters,
        )
        return asyncio.run(_run(plan, vary=not options.one_share))
    except (WrongData, TooFew) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
