"""`python -m services.cache.tests.repeated_rig [--pairs FILE]`: how much of repeated traffic tier 2 answers, how right.

Requests of `repeated_traffic` go through tier 1 and the shipped tier 2: its model, store, database and judge. The
provider words the answer to a question alike each time. An oracle would serve every question that was answered before
in other words; repeats to the letter are tier 1's and count for nobody. With `--pairs` the clusters of a file of
labelled pairs are asked too. Exit code 1 if false hits pass δ·served + 2√(δ·served). Needs the extra `semantic`.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, LOCAL_MODEL, Embedded
from asahi_cache.domain.semantic.equivalence import text_of
from asahi_cache.domain.semantic.similar import Finding
from asahi_cache.domain.tiers import Query
from asahi_cache.evaluate import clopper_pearson
from asahi_cache.stores.minilm import MiniLm
from asahi_cache.wiring import load_model
from services.cache.tests.repeated_traffic import Asked, clusters, traffic, written
from services.cache.tests.tier_two import ORG, TierTwo, tier_two

_PARTS = 4


class ReadOnce:
    """The service's model, which reads each text once in a run."""

    model = LOCAL_MODEL
    dimensions = LOCAL_DIMENSIONS

    def __init__(self, model: MiniLm) -> None:
        self._model = model
        self._read: dict[str, NDArray[np.float32]] = {}

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Embedder.embed`."""
        for text in texts:
            if text not in self._read:
                self._read[text] = self._model.embed([text])[0]
        vectors: NDArray[np.float32] = np.stack([self._read[text] for text in texts])
        return vectors

    async def read(self, texts: Sequence[str]) -> Embedded:
        """As `Embedder.read`."""
        return self._model.read(texts)


@dataclass(slots=True)
class Part:
    """What became of the requests of a part of the traffic."""

    exact: int = 0
    oracle: int = 0
    """What an oracle serves beside tier 1."""
    right: int = 0
    """Of these, what tier 2 served with the right answer."""
    of_one_form: int = 0
    """Of these, by normal form alone."""
    false_hits: int = 0


async def run(
    requests: Iterable[Asked], delta: float, seed: int, model: MiniLm, length: int
) -> tuple[list[Part], Sequence[float]]:
    """The traffic, in `_PARTS` parts of equal length; and the CPU seconds of each look-up."""
    parts, answered = [Part() for _ in range(_PARTS)], set[int]()
    with TemporaryDirectory(prefix="asahi-repeated-") as folder:
        async with tier_two(Path(folder), Random(seed).random, embedder=ReadOnce(model)) as two:
            for number, asked in enumerate(requests):
                await _ask(two, asked, delta, parts[number * _PARTS // length], answered)
                answered.add(asked.meaning)
    return parts, sorted(two.look_ups_s)


async def _ask(two: TierTwo, asked: Asked, delta: float, part: Part, answered: set[int]) -> None:
    fingerprint = hashlib.sha256(asked.text.encode()).digest()
    if await two.cache.find(Query(ORG, fingerprint)) is not None:
        part.exact += 1
        return
    answer = f"The answer is number {asked.meaning}."
    finding = await two.ask(asked.text, answer, fingerprint=fingerprint, false_hit_bound=delta)
    part.oracle += asked.meaning in answered
    said = _said(finding)
    if said is None:
        return
    right = said == answer
    part.right += right
    part.of_one_form += right and finding.decision is not None and finding.decision.stratum == 0
    part.false_hits += not right


def _said(finding: Finding) -> str | None:
    return None if finding.served is None else text_of(CacheEntry.FromString(finding.served.entry).answer)


def _print_run(name: str, delta: float, seed: int, parts: Sequence[Part], look_ups_s: Sequence[float]) -> bool:
    oracle, right, wrong = (
        sum(count) for count in zip(*((p.oracle, p.right, p.false_hits) for p in parts), strict=True)
    )
    exact, of_one_form = sum(part.exact for part in parts), sum(part.of_one_form for part in parts)
    served = right + wrong
    low, high = clopper_pearson(wrong, served)
    print(
        f"| {name} | {delta:g} | {seed} | {exact} | {oracle} | {right} | {of_one_form} "
        f"| {right / max(oracle, 1):.3f} | {' '.join(f'{part.right / max(part.oracle, 1):.2f}' for part in parts)} "
        f"| {wrong} ({low:.4f}–{high:.4f}) "
        f"| {look_ups_s[len(look_ups_s) // 2] * 1e3:.1f}, {look_ups_s[int(len(look_ups_s) * 0.99)] * 1e3:.1f} |",
        flush=True,
    )
    return bool(wrong <= delta * served + 2 * math.sqrt(delta * served))


def main() -> int:
    """Prints the table; 1 if a bound is broken."""
    parser = argparse.ArgumentParser(prog="services.cache.tests.repeated_rig", description=__doc__)
    parser.add_argument("--pairs", type=Path, help="JSON lines `a`, `b`, `label`, `source`; may be .gz")
    parser.add_argument("--source", default="qqp", help="of the pairs whose clusters are asked")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--delta", type=float, nargs="+", default=[0.02])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    model, kept = load_model(threads=1), True
    print(
        "| traffic | δ | seed | tier 1 | oracle | right | normal form | share | by quarter | false hits (95 %) "
        "| look-up, CPU ms: p50, p99 |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --- | --- | --- |")
    for delta in options.delta:
        for seed in range(options.seeds):
            kinds = {"written": written(Random(seed))}
            if options.pairs:
                kinds[f"clusters of {options.source}"] = clusters(_read(options.pairs, options.source))
            for name, questions in kinds.items():
                requests = traffic(questions, options.requests, options.exponent, Random(1000 + seed))
                parts, look_ups_s = asyncio.run(run(requests, delta, seed, model, options.requests))
                kept &= _print_run(name, delta, seed, parts, look_ups_s)
    return 0 if kept else 1


def _read(path: Path, source: str) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    pairs = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [pair for pair in pairs if pair["source"].partition(":")[0] == source]


if __name__ == "__main__":
    sys.exit(main())
