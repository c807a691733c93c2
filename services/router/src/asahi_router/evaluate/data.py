"""Measured outcomes of many models on the same prompts, read from a folder: who answered what, how well, at what price.

The folder holds `prompts.parquet`, `outcomes.parquet`, `prices.json` and, where it is a memory, `pools.json`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from asahi_router.domain.form import form_of
from asahi_router.domain.kinds import kind_of

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_PER_MILLION = 1e-6
_BYTES_PER_TOKEN = 4
_MEMORY_SHARE = 0.7
_SAME = {
    "mixtral-8x7b-chat": "Mixtral-8x7B-Instruct-v0.1",
    "open-mixtral-8x7b": "Mixtral-8x7B-Instruct-v0.1",
    "llama-3.1-8b-instruct": "Meta-Llama-3.1-8B-Instruct",
}
"""Names of one model in different sources."""


class WrongData(Exception):
    """The folder cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a folder."""

    ids: list[str]
    sources: NDArray[np.str_]
    questions: list[str]
    """Identity of the question by prompt: the same question is never in memory and queries both."""
    texts: list[str]
    tokens: Floats
    """Of the prompt alone."""
    forms: NDArray[np.float32]
    tools: list[tuple[int, int]]
    """Tools that are sent along, and the bytes of their definitions."""


@dataclass(frozen=True, slots=True)
class Table:
    """What was measured on some prompts: (prompts, models) each, NaN where nothing was."""

    rows: Indices
    """The prompts."""
    models: tuple[str, ...]
    quality: Floats
    output_tokens: Floats
    cost_usd: Floats

    def of(self, models: Sequence[str]) -> "Table":
        """Those models alone, in that order."""
        columns = [self.models.index(model) for model in models]
        return Table(
            self.rows,
            tuple(models),
            self.quality[:, columns],
            self.output_tokens[:, columns],
            self.cost_usd[:, columns],
        )

    def at(self, chosen: NDArray[np.bool_]) -> "Table":
        """Those prompts alone."""
        return Table(
            self.rows[chosen], self.models, self.quality[chosen], self.output_tokens[chosen], self.cost_usd[chosen]
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """Models to choose among, on the prompts of some sources."""

    name: str
    sources: tuple[str, ...]
    models: tuple[str, ...] | None
    """None: all that every one of the sources has."""


@dataclass(frozen=True, slots=True)
class Folder:
    """All of it."""

    path: Path
    prompts: Prompts
    tables: Mapping[str, Table]
    """By source."""
    prices: Mapping[str, tuple[float, float]]
    """Dollars per input and output token by model."""

    def table(self, sources: Sequence[str], models: Sequence[str]) -> Table:
        """What the models were measured on in the sources that have them all."""
        parts = [self.tables[s].of(models) for s in sources if set(models) <= set(self.tables[s].models)]
        if not parts:
            raise WrongData(f"{self.path} has no source among {', '.join(sources)} with {', '.join(models)}")
        return Table(
            np.concatenate([part.rows for part in parts]),
            tuple(models),
            np.concatenate([part.quality for part in parts]),
            np.concatenate([part.output_tokens for part in parts]),
            np.concatenate([part.cost_usd for part in parts]),
        )


def read_folder(path: Path) -> Folder:
    """Reads a folder.

    Raises:
        WrongData: a file is missing, or does not hold what it should.
    """
    try:
        prices = json.loads((path / "prices.json").read_text())
        prompts = _prompts(pq.read_table(path / "prompts.parquet").to_pydict())
        outcomes = pq.read_table(path / "outcomes.parquet").to_pydict()
        per_token = {
            _name(model): (price["input"] * _PER_MILLION, price["output"] * _PER_MILLION)
            for model, price in prices["models"].items()
            if price
        }
        tables = _tables(prompts, outcomes, per_token, prices["output_tokens_default"])
    except (OSError, KeyError, ValueError) as error:
        raise WrongData(f"{path}: {error!r}") from error
    return Folder(path, prompts, tables, per_token)


def read_pools(path: Path) -> list[Pool]:
    """The pools of a file.

    Raises:
        WrongData: it cannot be read.
    """
    try:
        listed = json.loads(path.read_text())
        return [
            Pool(name, tuple(pool["sources"]), tuple(pool["models"]) if pool["models"] else None)
            for name, pool in listed.items()
        ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise WrongData(f"{path}: {error!r}") from error


def in_memory(question: str, seed: int) -> bool:
    """Whether a question belongs to the memory of a split: 70 % do, by its identity alone."""
    return _uniform(f"{seed}:{question}") < _MEMORY_SHARE


def _uniform(text: str) -> float:
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64)


def _prompts(columns: Mapping[str, list[Any]]) -> Prompts:
    texts = columns["prompt"]
    counts = map(_count, columns["n_tools"])
    sizes = (_BYTES_PER_TOKEN * _count(tokens) for tokens in columns["tools_tokens"])
    tools = list(zip(counts, sizes, strict=True))
    forms = [
        form_of(text, kind_of(text, has_tools=count > 0, has_schema=False), tools=count, tools_bytes=size)
        for text, (count, size) in zip(texts, tools, strict=True)
    ]
    return Prompts(
        columns["prompt_id"],
        np.array(columns["source"]),
        columns["norm_hash"],
        texts,
        np.array(columns["n_prompt_tokens"], dtype=float),
        np.array(forms, dtype=np.float32),
        tools,
    )


def _count(value: float | None) -> int:
    return int(value) if value is not None and not isnan(value) else 0


def _tables(
    prompts: Prompts,
    outcomes: Mapping[str, list[Any]],
    prices: Mapping[str, tuple[float, float]],
    default_output: Mapping[str, float],
) -> dict[str, Table]:
    place = {prompt: row for row, prompt in enumerate(prompts.ids)}
    rows = np.array([place[prompt] for prompt in outcomes["prompt_id"]])
    names = np.array([_name(model) for model in outcomes["model"]])
    quality, asked, answered, cost = (
        np.array(outcomes[name], dtype=float) for name in ("quality", "input_tokens", "output_tokens", "cost_usd")
    )
    sources = prompts.sources[rows]
    tables = {}
    for source in np.unique(sources):
        of_source = np.flatnonzero(sources == source)
        models, column = np.unique(names[of_source], return_inverse=True)
        ids, line = np.unique(rows[of_source], return_inverse=True)
        empty = np.full((len(ids), len(models)), np.nan)
        values = {"quality": empty, "asked": empty.copy(), "answered": empty.copy(), "cost": empty.copy()}
        for name, known in (("quality", quality), ("asked", asked), ("answered", answered), ("cost", cost)):
            values[name][line, column] = known[of_source]
        answers = np.where(np.isnan(values["answered"]), default_output.get(str(source), np.nan), values["answered"])
        questions = np.where(np.isnan(values["asked"]), prompts.tokens[ids][:, None], values["asked"])
        rates = np.array([prices.get(str(model), (np.nan, np.nan)) for model in models])
        listed = questions * rates[:, 0] + answers * rates[:, 1]
        costs = np.where(np.isnan(values["cost"]), listed, values["cost"])
        tables[str(source)] = Table(ids, tuple(map(str, models)), values["quality"], answers, costs)
    return tables


def _name(model: str) -> str:
    bare = model.removeprefix("meta-llama_")
    return _SAME.get(bare, bare)
