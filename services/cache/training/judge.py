"""`python -m services.cache.training.judge`: fits the judge of two answers on generated ones, and measures its errors.

Answers are drawn from hand-written phrasings (`answers.json`); two are equal when they say the same of the same things,
whatever the phrasing, order, courtesies and remarks. A third of the groups is held back: the errors are measured on
those alone, and the bound is tested as if the judge erred as often as the upper end of an exact interval says.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asahi_cache.domain.semantic.equivalence import FAVOURABLE, NAMES, Said, features, said
from asahi_cache.evaluate import clopper_pearson
from asahi_cache.wiring import load_model
from services.cache.training.fit import fit

_Matrix = NDArray[np.float64]
_MISSES_FITTED = 0.2
"""Share of differing answers that may be taken for equal, on what is fitted; the threshold follows from it.

A miss costs little, for the bound is tested that much more strictly; a false alarm counts as a wrong answer in full.
"""


class AnswerGenerator:
    """Draws pairs of answers; the same seed, the same pairs."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._data: Mapping[str, Any] = json.loads(
            files(__package__).joinpath("answers.json").read_text(encoding="utf-8")
        )

    def groups(self) -> list[str]:
        """What answers are about."""
        return sorted(self._data["groups"])

    def draw(self, group: str) -> tuple[str, str, bool]:
        """Two answers, and whether they say the same."""
        claims = self._data["groups"][group]
        claim = self._random.choice(claims)
        fill = {slot: self._random.choice(values) for slot, values in self._data["slots"].items()}
        one = self._text(claim, fill)
        if self._random.random() < 0.5:
            return one, self._text(claim, fill), True
        if len(claims) > 1 and self._random.random() < 0.5:
            return one, self._text(claims[1 - claims.index(claim)], fill), False
        return one, self._text(claim, self._other(group, claim[0], fill)), False

    def _other(self, group: str, phrasing: str, fill: Mapping[str, str]) -> dict[str, str]:
        swapped = self._data["swaps"].get(group)
        if swapped and self._random.random() < 0.4:
            first, second = swapped
            return {**fill, first: fill[second], second: fill[first]}
        slots = [slot for slot in fill if "{" + slot + "}" in phrasing]
        slot = self._random.choice(slots)
        return {**fill, slot: self._random.choice([v for v in self._data["slots"][slot] if v != fill[slot]])}

    def _text(self, claim: Sequence[str], fill: Mapping[str, str]) -> str:
        text = self._random.choice(claim)
        for slot, value in fill.items():
            text = text.replace("{" + slot + "}", value)
        sentences = [text[0].upper() + text[1:]]
        for _ in range(self._random.choice((0, 0, 1, 2))):
            sentences.insert(self._random.randrange(len(sentences) + 1), self._random.choice(self._data["fillers"]))
        opening, closing = self._random.choice(self._data["openings"]), self._random.choice(self._data["closings"])
        return f"{opening}{' '.join(sentences)}{closing}"


def main() -> None:
    """Draws, embeds, fits, measures, writes."""
    parser = argparse.ArgumentParser(prog="services.cache.training.judge", description=__doc__)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random = Random(options.seed)
    generator = AnswerGenerator(random)
    groups = generator.groups()
    held = set(random.sample(groups, len(groups) // 3))
    drawn = [(group, *generator.draw(group)) for group in random.choices(groups, k=options.pairs)]
    values = _features([(one, other) for _, one, other, _ in drawn])
    labels = np.array([same for *_, same in drawn], dtype=np.float64)
    held_back = np.array([group in held for group, *_ in drawn])
    intercept, weights = fit(
        values[~held_back], labels[~held_back], np.array([at < FAVOURABLE for at in range(len(NAMES))])
    )
    scores = values @ weights
    wrong = np.sort(scores[~held_back & (labels == 0)])
    threshold = max(-intercept, float(wrong[int(len(wrong) * (1 - _MISSES_FITTED))]))
    equal = scores > threshold
    report = {
        "made_by": f"python -m services.cache.training.judge --pairs {options.pairs} --seed {options.seed}",
        "pairs": len(labels),
        "groups_held_back": sorted(held),
        "misses": _share(equal, held_back & (labels == 0)),
        "false_alarms": _share(~equal, held_back & (labels == 1)),
        "intercept": round(-threshold, 4),
        "weights": {name: round(float(weight), 4) for name, weight in zip(NAMES, weights, strict=True)},
    }
    target = Path(str(files("asahi_cache.domain.semantic").joinpath("equivalence.json")))
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


def _share(erred: NDArray[np.bool_], of: NDArray[np.bool_]) -> dict[str, float]:
    """How many erred, and the most that the share may be with probability 0.95."""
    count, whole = int((erred & of).sum()), int(of.sum())
    _, most = clopper_pearson(count, whole, alpha=0.1)
    return {"of": whole, "erred": count, "share": round(count / whole, 4), "most": round(most, 4)}


def _features(pairs: Sequence[tuple[str, str]]) -> _Matrix:
    model = load_model(threads=1)
    ready: dict[str, Said] = {text: said(text) for pair in pairs for text in pair}
    texts = sorted({sentence for one in ready.values() for sentence in one.sentences}, key=len)
    vectors: dict[str, Any] = {}
    for start in range(0, len(texts), 32):
        batch = texts[start : start + 32]
        vectors.update(zip(batch, model.embed(batch), strict=True))
    rows = []
    for one, other in pairs:
        a, b = ready[one], ready[other]
        left, right = (np.array([vectors[sentence] for sentence in it.sentences]) for it in (a, b))
        rows.append(features(a, b, (left @ right.T).tolist()))
    return np.array(rows, dtype=np.float64)


if __name__ == "__main__":
    main()
