"""`python -m asahi_cache.evaluate --pairs FILE`: pairs of prompts as live traffic, through the shipped decision.

Each pair is a stored prompt and a request for which it is the nearest neighbour; audits learn the pair's label. Every
source is an organisation of its own. Needs the extra `semantic`.
"""

import argparse
import gzip
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from asahi_cache.domain.semantic.decision import Ledger, Record, Verdict
from asahi_cache.domain.semantic.verifier import Judgement, question_of, shipped_verifier
from asahi_cache.evaluate_picture import Panel, curve, draw
from asahi_cache.wiring import load_model

_BASELINES = (0.85, 0.92)
_BATCH = 32


@dataclass(frozen=True, slots=True)
class _Judged:
    source: str
    right: bool
    judgement: Judgement
    decision_ms: float


def main() -> None:
    """Prints a table, or with `--json` the figures."""
    parser = argparse.ArgumentParser(prog="asahi_cache.evaluate", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="JSON lines `a`, `b`, `label`, `source`; may be .gz")
    parser.add_argument("--delta", type=float, default=0.01, help="the bound on wrong answers among those served")
    parser.add_argument("--seeds", type=int, default=1, help="random orders; served and false hits are their means")
    parser.add_argument("--most", type=int, default=0, help="most pairs of a source, drawn at random; 0: all")
    parser.add_argument("--picture", type=Path, help="where to draw share served against share wrong, as SVG")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    judged = _judge(_read(options.pairs, options.most))
    sources = sorted({one.source for one in judged})
    of_sources = {
        source: _figures([one for one in judged if one.source == source], options.delta, options.seeds)
        for source in sources
    }
    figures = {
        "sources": of_sources,
        "decision_ms": _quantiles([one.decision_ms for one in judged]),
    }
    if options.picture:
        draw([_panel(source, judged, of_sources[source], options.delta) for source in sources], options.picture)
    if options.json:
        json.dump(figures, sys.stdout)
        print()
    else:
        _print_table(figures)


def _read(path: Path, most: int) -> list[dict[str, Any]]:
    """The pairs; sources such as `crafted:number` count as `crafted`."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    pairs = [json.loads(line) for line in text.splitlines() if line.strip()]
    Random(0).shuffle(pairs)
    kept: dict[str, list[dict[str, Any]]] = {}
    for pair in pairs:
        pair["source"] = pair["source"].partition(":")[0]
        of_source = kept.setdefault(pair["source"], [])
        if not most or len(of_source) < most:
            of_source.append(pair)
    return [pair for of_source in kept.values() for pair in of_source]


def _judge(pairs: Sequence[dict[str, Any]]) -> list[_Judged]:
    model, verifier = load_model(threads=1), shipped_verifier()
    texts = sorted({question_of(pair[side]).text for pair in pairs for side in ("a", "b")}, key=len)
    vectors: dict[str, Any] = {}
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        vectors.update(zip(batch, model.embed(batch), strict=True))
    judged = []
    for pair in pairs:
        stored = question_of(pair["a"])
        began = time.perf_counter()
        asked = question_of(pair["b"])
        cosine = float(vectors[asked.text] @ vectors[stored.text])
        judgement = verifier.judge(asked, stored, cosine)
        elapsed_ms = (time.perf_counter() - began) * 1000
        judged.append(_Judged(pair["source"], bool(pair["label"]), judgement, elapsed_ms))
    return judged


def _figures(judged: Sequence[_Judged], delta: float, seeds: int) -> dict[str, Any]:
    runs = [_stream(judged, delta, seed) for seed in range(seeds)]
    return {
        "n": len(judged),
        "auc": _auc(judged, lambda judgement: judgement.probability),
        **_hits(mean(served for served, _ in runs), mean(wrong for _, wrong in runs)),
        "baselines": {f"cosine_{least}": _baseline(judged, least) for least in _BASELINES},
    }


def _panel(source: str, judged: Sequence[_Judged], figures: dict[str, Any], delta: float) -> Panel:
    of_source = [one for one in judged if one.source == source]
    rules = {f"Asahi, bound {delta:g}": figures} | figures["baselines"]
    return Panel(
        f"{source}: {len(of_source)} pairs",
        [
            curve("Asahi's probability, every cut", [(one.judgement.probability, one.right) for one in of_source]),
            curve("cosine, every cut", [(one.judgement.cosine, one.right) for one in of_source]),
        ],
        [
            (name.replace("_", " "), rule["served"] / len(of_source), rule["false_hit_share"]["point"] or 0.0)
            for name, rule in rules.items()
        ],
    )


def _stream(judged: Sequence[_Judged], delta: float, seed: int) -> tuple[int, int]:
    """(served, false hits) of the pairs in a random order."""
    random = Random(seed)
    ledger, order = Ledger(delta, random.random), list(judged)
    random.shuffle(order)
    served = wrong = 0
    for one in order:
        record = Record()
        decision = ledger.decide(one.judgement, record)
        if decision.verdict is Verdict.SERVE:
            served += 1
            wrong += not one.right
        elif decision.verdict is Verdict.AUDIT:
            ledger.add_audit(decision.stratum, record, wrong=not one.right)
    return served, wrong


def _baseline(judged: Sequence[_Judged], least: float) -> dict[str, Any]:
    served = [one for one in judged if one.judgement.cosine >= least]
    hits = _hits(len(served), sum(not one.right for one in served))
    return {"auc": _auc(judged, lambda judgement: judgement.cosine), **hits}


def _hits(served: float, wrong: float) -> dict[str, Any]:
    low, high = clopper_pearson(round(wrong), round(served))
    share = {"point": wrong / served if served else None, "low": low, "high": high}
    return {"served": served, "false_hits": wrong, "false_hit_share": share}


def clopper_pearson(wrong: int, of: int, alpha: float = 0.05) -> tuple[float, float]:
    """The exact binomial interval for a share; (0, 1) of nothing."""
    if not of:
        return 0.0, 1.0
    low = _solve(lambda share: 1 - _at_most(wrong - 1, of, share) <= alpha / 2) if wrong else 0.0
    high = _solve(lambda share: _at_most(wrong, of, share) > alpha / 2) if wrong < of else 1.0
    return low, high


def _at_most(wrong: int, of: int, share: float) -> float:
    """The probability of at most `wrong` among `of`."""
    whole = math.lgamma(of + 1)
    odds = (math.log(share), math.log1p(-share))
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * odds[0] + (of - k) * odds[1])
        for k in range(wrong + 1)
    )


def _solve(below: Callable[[float], bool]) -> float:
    """The share up to which `below` holds."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _auc(judged: Sequence[_Judged], score: Callable[[Judgement], float]) -> float | None:
    """The area under the ROC curve, ties counted half; None where all labels are equal."""
    ordered = sorted((score(one.judgement), one.right) for one in judged)
    ranks = right = at = 0.0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[int(end)][0] == ordered[int(at)][0]:
            end += 1
        tied = sum(label for _, label in ordered[int(at) : int(end)])
        ranks += tied * (at + end + 1) / 2
        right += tied
        at = end
    others = len(ordered) - right
    return (ranks - right * (right + 1) / 2) / (right * others) if right and others else None


def _quantiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times) or [0.0]
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)]}


def _print_table(figures: dict[str, Any]) -> None:
    print("| source | rule | pairs | AUC | served | false hits | share of them, 95 % |")
    print("| --- | --- | --: | --: | --: | --: | --- |")
    for source, ours in figures["sources"].items():
        for rule, row in (("Asahi", ours), *ours["baselines"].items()):
            share, auc = row["false_hit_share"], row["auc"]
            point = "–" if share["point"] is None else f"{share['point']:.3f} ({share['low']:.3f}–{share['high']:.3f})"
            print(
                f"| {source} | {rule} | {ours['n']} | {'–' if auc is None else f'{auc:.3f}'} | {row['served']:g} "
                f"| {row['false_hits']:g} | {point} |"
            )
    print(f"\nA decision: p50 {figures['decision_ms']['p50']:.2f} ms, p99 {figures['decision_ms']['p99']:.2f} ms.")


if __name__ == "__main__":
    main()
