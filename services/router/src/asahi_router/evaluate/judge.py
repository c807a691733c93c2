"""All pools and all left-out sources over all splits: figures, intervals, who is harmed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from asahi_router.evaluate.data import Folder, Pool, WrongData, in_memory
from asahi_router.evaluate.statistics import Compared, Floats, Points, compared, holm, joined, points
from asahi_router.evaluate.trial import Trial, part_of, run


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with the embeddings of its prompts."""

    folder: Folder
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated."""

    memory: Source
    queries: Source
    """The same folder as the memory's: it is split by question, once per seed."""
    epsilon: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of a pool, or of a source that its memory had nothing of."""

    name: str
    queries: int
    """Of all splits."""
    fallbacks: tuple[str, ...]
    routed: Compared
    switched: float
    used: dict[str, float]
    """Share of the queries by model, where it answered any."""
    expected_loss: float
    """What the memories had shown, mean of the splits."""
    controls: dict[str, Points]
    within: list[dict[float, Points]]
    """By split: what its memory alone shows of each margin."""
    harmed: bool = False
    """Whether it loses more than ε, at 95 % after Holm's correction over all verdicts."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The whole evaluation."""

    epsilon: float
    pools: list[Verdict]
    left_out: list[Verdict]
    decision_ms: Floats
    predicted: Floats
    measured: Floats


def judge(plan: Plan, pools: Sequence[Pool], progress: Callable[[str], None]) -> Judged:
    """Evaluates; `progress` hears of each pool that is done.

    Raises:
        WrongData: no pool has prompts in both folders.
    """
    epsilon = plan.epsilon
    took: list[float] = []
    predicted, measured = [], []
    verdicts: dict[bool, list[Verdict]] = {False: [], True: []}
    for pool in pools:
        for left_out in (None, *(pool.sources if len(pool.sources) > 1 else ())):
            trials = list(_trials(plan, pool, left_out))
            if not trials:
                continue
            name = f"{pool.name} without {left_out}" if left_out else pool.name
            verdicts[left_out is not None].append(_verdict(name, trials, epsilon))
            progress(name)
            if left_out is None:
                took += [ms for trial in trials for ms in trial.decision_ms]
                predicted += [trial.predicted for trial in trials]
                measured += [trial.measured for trial in trials]
    both = _with_holm([*verdicts[False], *verdicts[True]])
    count = len(verdicts[False])
    if not count:
        raise WrongData("no pool has prompts in both folders")
    return Judged(
        epsilon, both[:count], both[count:], np.array(took), np.concatenate(predicted), np.concatenate(measured)
    )


def _trials(plan: Plan, pool: Pool, left_out: str | None) -> Iterator[Trial]:
    memory, queries = plan.memory, plan.queries
    models = models_of(memory.folder, pool)
    known = [source for source in pool.sources if source != left_out]
    asked = [left_out] if left_out else list(pool.sources)
    if not _has(memory.folder, known, models) or not _has(queries.folder, asked, models):
        return
    before = part_of(memory.folder, memory.embeddings, known, models)
    after = part_of(queries.folder, queries.embeddings, asked, models)
    before, after = before.at(before.whole), after.at(after.whole)
    same = memory.folder.path.resolve() == queries.folder.path.resolve()
    for seed in range(plan.seeds):
        learned, decided = before, after
        if same:
            learned = before.at(np.array([in_memory(question, seed) for question in before.questions]))
            decided = after.at(np.array([not in_memory(question, seed) for question in after.questions]))
        if len(learned.questions) and len(decided.questions):
            yield run(learned, decided, memory.folder.prices, plan.epsilon, np.random.default_rng(seed))


def models_of(folder: Folder, pool: Pool) -> tuple[str, ...]:
    """The models of a pool; where it names none, those that all of its sources have."""
    tables = [folder.tables[source] for source in pool.sources if source in folder.tables]
    common = set.intersection(*(set(table.models) for table in tables)) if tables else set()
    return pool.models or tuple(sorted(common))


def _has(folder: Folder, sources: Sequence[str], models: Sequence[str]) -> bool:
    tables = [folder.tables[source] for source in sources if source in folder.tables]
    return bool(models) and any(set(models) <= set(table.models) for table in tables)


def _verdict(name: str, trials: Sequence[Trial], epsilon: float) -> Verdict:
    random = np.random.default_rng(0)
    used: dict[str, float] = {}
    for trial in trials:
        for model, share in trial.used.items():
            used[model] = used.get(model, 0.0) + share / len(trials)
    return Verdict(
        name,
        sum(len(trial.routed.questions) for trial in trials),
        tuple(sorted({trial.fallback for trial in trials})),
        compared(joined([trial.routed for trial in trials]), epsilon, random),
        float(np.mean([trial.switched for trial in trials])),
        {model: share for model, share in sorted(used.items()) if share},
        float(np.mean([trial.calibration.loss for trial in trials])),
        {policy: points(joined([trial.controls[policy] for trial in trials])) for policy in trials[0].controls},
        [dict(trial.within) for trial in trials],
    )


def _with_holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    harmed = holm([verdict.routed.harm for verdict in verdicts])
    return [replace(verdict, harmed=harm) for verdict, harm in zip(verdicts, harmed, strict=True)]
