"""One split of one pool: a memory is learned from, and queries are streamed through the code that serves.

Nothing here looks at a query's outcomes before it was decided; only `controls` knows them, where it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from asahi_router.domain.learning.guard import Calibration, Guard, guard_of
from asahi_router.domain.learning.learned import Learned, Measured, Told, learn
from asahi_router.evaluate.data import Folder, Table
from asahi_router.evaluate.nested import nested
from asahi_router.evaluate.statistics import Answered, Floats, Points

Choice = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Part:
    """Prompts with what was measured on them, and with what is known of them before."""

    table: Table
    questions: NDArray[np.str_]
    asked_tokens: Floats
    forms: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def at(self, chosen: NDArray[np.bool_]) -> "Part":
        """Some of them."""
        return Part(
            self.table.at(chosen),
            self.questions[chosen],
            self.asked_tokens[chosen],
            self.forms[chosen],
            self.embeddings[chosen],
        )

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which prompts have everything measured, of every model."""
        known = ~np.isnan(self.table.quality) & ~np.isnan(self.table.cost_usd)
        whole: NDArray[np.bool_] = np.all(known, axis=1)
        return whole


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a split."""

    fallback: str
    calibration: Calibration
    routed: Answered
    switched: float
    """Share of the queries that left the fallback."""
    used: Mapping[str, float]
    """Share of the queries by model that answered."""
    controls: Mapping[str, Answered]
    within: Mapping[float, Points]
    """By margin: what the memory alone shows of it."""
    decision_ms: Sequence[float]
    predicted: Floats
    """(queries × models): expected quality, and what it was, for the reliability curve."""
    measured: Floats


def part_of(folder: Folder, embeddings: NDArray[np.float32], sources: Sequence[str], models: Sequence[str]) -> Part:
    """What a folder has of those models in those sources."""
    table = folder.table(sources, models)
    prompts, rows = folder.prompts, table.rows
    questions = np.array(prompts.questions)[rows]
    return Part(table, questions, prompts.tokens[rows], prompts.forms[rows], embeddings[rows])


def run(
    memory: Part,
    queries: Part,
    prices: Mapping[str, tuple[float, float]],
    epsilon: float,
    random: np.random.Generator,
) -> Trial:
    """Learns from `memory` and decides `queries`. Both have everything measured; `prices` are dollars per token."""
    models = memory.table.models
    rates = np.array([prices[model] for model in models])
    _, numbers = np.unique(memory.questions, return_inverse=True)
    measured = Measured(
        models,
        memory.forms,
        memory.embeddings,
        memory.table.quality.astype(np.float32),
        memory.table.output_tokens.astype(np.float32),
        numbers,
    )
    taught = learn(measured, random)
    fallback = models[int(memory.table.quality.mean(axis=0).argmax())]
    costs = _expected(memory.asked_tokens, taught.told, rates)
    guard = guard_of(taught, costs, fallback, epsilon)
    chosen, took_ms, quality = _stream(guard, taught.learned, queries, rates)
    place = models.index(fallback)
    saved = (costs[:, [place]] - costs) / guard.usual_cost
    return Trial(
        fallback,
        guard.calibration,
        answered(queries, chosen, place),
        float(np.mean(chosen != place)),
        {model: float(np.mean(chosen == number)) for number, model in enumerate(models)},
        controls(memory, queries, chosen, place, epsilon),
        nested(taught, saved, memory.table.cost_usd, place, epsilon=epsilon, random=random),
        took_ms,
        quality.ravel(),
        queries.table.quality.ravel(),
    )


def answered(queries: Part, chosen: Choice, fallback: int) -> Answered:
    """What the chosen models (by prompt) brought."""
    row, table = np.arange(len(chosen)), queries.table
    return Answered(
        queries.questions,
        table.quality[row, chosen],
        table.quality[:, fallback],
        table.cost_usd[row, chosen],
        table.cost_usd[:, fallback],
    )


def controls(memory: Part, queries: Part, routed: Choice, fallback: int, epsilon: float) -> dict[str, Answered]:
    """Policies to compare with; both oracles and the cost-matched mix know the queries' outcomes."""
    quality, cost = memory.table.quality.mean(axis=0), memory.table.cost_usd.mean(axis=0)
    count = len(queries.questions)
    saved, lost = 1 - cost / cost[fallback], 1 - quality / quality[fallback]
    fits = lost <= epsilon
    constant = int(np.where(fits, cost, np.inf).argmin())
    share = np.clip(epsilon / np.maximum(lost, 1e-9), 0, 1)
    share[saved <= 0] = 0
    blind = int((share * saved).argmax())
    true_cost = queries.table.cost_usd
    spent = true_cost[np.arange(count), routed].mean()
    mean_cost = true_cost.mean(axis=0)
    cheaper = mean_cost[blind] < mean_cost[fallback] * (1 - 1e-9)
    matched = (mean_cost[fallback] - spent) / (mean_cost[fallback] - mean_cost[blind]) if cheaper else 0.0
    worse = queries.table.quality < queries.table.quality[:, [fallback]]
    return {
        "cheapest": answered(queries, np.full(count, int(cost.argmin())), fallback),
        "best constant": answered(queries, np.full(count, constant), fallback),
        "blind mix": _mixed(queries, blind, fallback, float(share[blind])),
        "cost-matched mix": _mixed(queries, blind, fallback, float(np.clip(matched, 0, 1))),
        "kNN 50, no guard": answered(queries, _neighbours(memory, queries, fallback, epsilon), fallback),
        "attainable oracle": answered(queries, _attainable(memory, queries, fallback, epsilon), fallback),
        "oracle": answered(queries, np.where(worse, np.inf, true_cost).argmin(axis=1), fallback),
    }


def _expected(asked: Floats, told: Told, rates: Floats) -> Floats:
    costs: Floats = asked[:, None] * rates[:, 0] + told.output_tokens * rates[:, 1]
    return costs


def _stream(guard: Guard, learned: Learned, queries: Part, rates: Floats) -> tuple[Choice, list[float], Floats]:
    """Decides one query after the other, as the service does."""
    models = learned.models
    chosen = np.zeros(len(queries.questions), dtype=np.intp)
    quality = np.zeros((len(chosen), len(models)))
    took_ms = []
    for row in range(len(chosen)):
        begun = perf_counter()
        told = learned.tell(queries.forms[row : row + 1], queries.embeddings[row : row + 1])
        costs = _expected(queries.asked_tokens[row : row + 1], told, rates)[0]
        judged = guard.judge(told, dict(zip(models, costs.tolist(), strict=True)))
        took_ms.append(1000 * (perf_counter() - begun))
        chosen[row] = models.index(judged.model)
        quality[row] = told.quality[0]
    return chosen, took_ms, quality


def _mixed(queries: Part, other: int, fallback: int, share: float) -> Answered:
    """The expected outcome of asking `other` at random for that share of the prompts."""
    table = queries.table
    return Answered(
        queries.questions,
        share * table.quality[:, other] + (1 - share) * table.quality[:, fallback],
        table.quality[:, fallback],
        share * table.cost_usd[:, other] + (1 - share) * table.cost_usd[:, fallback],
        table.cost_usd[:, fallback],
    )


def _neighbours(memory: Part, queries: Part, fallback: int, epsilon: float, count: int = 50) -> Choice:
    """The cheapest model that was as good as the fallback on the nearest prompts of the memory."""
    chosen = np.zeros(len(queries.questions), dtype=np.intp)
    cost = memory.table.cost_usd.mean(axis=0)
    count = min(count, len(memory.questions))
    for start in range(0, len(chosen), 1000):
        near = queries.embeddings[start : start + 1000] @ memory.embeddings.T
        nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        quality = memory.table.quality[nearest].mean(axis=1)
        good = quality >= quality[:, [fallback]] * (1 - epsilon)
        chosen[start : start + 1000] = np.where(good, cost, np.inf).argmin(axis=1)
    return chosen


def _attainable(memory: Part, queries: Part, fallback: int, epsilon: float, count: int = 50) -> Choice:
    """Who answers where each model's mean quality on the nearest other questions is known, of queries and memory alike.

    The cheapest choice, by one price for quality, that loses at most ε of what is then answered: what could be had by
    anybody who knew every neighbourhood, but no answer. A question's own outcomes are not in its neighbourhood.
    """
    near = np.concatenate([queries.embeddings, memory.embeddings])
    quality = np.concatenate([queries.table.quality, memory.table.quality])
    names = np.concatenate([queries.questions, memory.questions])
    count = min(count, len(names) - 1)
    around = np.zeros(queries.table.quality.shape)
    for start in range(0, len(around), 500):
        rows = slice(start, start + 500)
        cosine = queries.embeddings[rows] @ near.T
        cosine[queries.questions[rows, None] == names] = -np.inf
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        around[rows] = quality[nearest].mean(axis=1)
    difference, cost = around - around[:, [fallback]], queries.table.cost_usd
    saved = (cost[:, [fallback]] - cost) / cost[:, fallback].mean()
    row, best = np.arange(len(around)), np.full(len(around), fallback)
    answers = queries.table.quality
    least = (1 - epsilon) * answers[:, fallback].sum()
    for price in np.geomspace(0.001, 4.0, 100):
        chosen = (difference + price * saved).argmax(axis=1)
        if answers[row, chosen].sum() >= least:
            best = chosen
    return best
