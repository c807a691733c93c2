"""`python -m services.cache.training.fit`: fits the verifier on generated pairs and writes its coefficients.

A logistic regression with a small ridge, by projected gradient steps: weights of evidence against stay at or below 0,
those of evidence for at or above. One in four groups (intents, frames, pairs of opposites) is held back, and the
figures on it are written beside the coefficients.
"""

import argparse
import json
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asahi_cache.domain.semantic.evidence import NAMES, compare
from asahi_cache.domain.semantic.verifier import FAR, FAVOURABLE, question_of
from asahi_cache.wiring import load_model
from services.cache.training.pairs import LabelledPair, PairGenerator

_Matrix = NDArray[np.float64]
_HELD_BACK = 4
_RIDGE = 2e-3


def main() -> None:
    """Draws, embeds, fits, writes."""
    parser = argparse.ArgumentParser(prog="services.cache.training.fit", description=__doc__)
    parser.add_argument("--pairs", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = PairGenerator(Random(options.seed))
    pairs = list({(pair.a, pair.b): pair for pair in (generator.draw() for _ in range(options.pairs))}.values())
    features = _features(pairs)
    labels = np.array([pair.label for pair in pairs], dtype=np.float64)
    groups = sorted({pair.group for pair in pairs})
    held = set(Random(options.seed).sample(groups, len(groups) // _HELD_BACK))
    held_back = np.array([pair.group in held for pair in pairs])
    near = features[:, 0] >= FAR - 0.1
    favourable = np.array([name in FAVOURABLE for name in NAMES])
    intercept, weights = fit(features[~held_back & near], labels[~held_back & near], favourable)
    features, labels, held_back = features[near], labels[near], held_back[near]
    scores = features @ weights + intercept
    report = {
        "made_by": f"python -m services.cache.training.fit --pairs {options.pairs} --seed {options.seed}",
        "pairs": len(pairs),
        "pairs_near_enough": len(labels),
        "held_back": int(held_back.sum()),
        "auc_held_back": round(auc(scores[held_back], labels[held_back]), 4),
        "auc_held_back_cosine": round(auc(features[held_back, 0], labels[held_back]), 4),
        "auc_fitted": round(auc(scores[~held_back], labels[~held_back]), 4),
        "intercept": round(intercept, 4),
        "weights": {name: round(float(weight), 4) for name, weight in zip(NAMES, weights, strict=True)},
    }
    target = Path(str(files("asahi_cache.domain.semantic").joinpath("verifier.json")))
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


def _features(pairs: list[LabelledPair]) -> _Matrix:
    model = load_model(threads=1)
    prompts = sorted({prompt for pair in pairs for prompt in (pair.a, pair.b)}, key=len)
    questions = {prompt: question_of(prompt) for prompt in prompts}
    texts = sorted({question.text for question in questions.values()}, key=len)
    vectors: dict[str, Any] = {}
    for start in range(0, len(texts), 32):
        batch = texts[start : start + 32]
        vectors.update(zip(batch, model.embed(batch), strict=True))
    rows = []
    for pair in pairs:
        a, b = questions[pair.a], questions[pair.b]
        rows.append(compare(a.words, b.words, float(vectors[a.text] @ vectors[b.text])).features)
    return np.array(rows, dtype=np.float64)


def fit(features: _Matrix, labels: _Matrix, favourable: NDArray[np.bool_]) -> tuple[float, _Matrix]:
    """(intercept, weights); of what is favourable they are 0 or more, of the rest 0 or less."""
    scale = features.std(axis=0) + 1e-9
    scaled = np.c_[features / scale, np.ones(len(features))]
    weights = np.zeros(scaled.shape[1])
    step = 4.0 / np.linalg.eigvalsh(scaled.T @ scaled / len(scaled)).max()
    for _ in range(6000):
        gradient = scaled.T @ (1 / (1 + np.exp(-scaled @ weights)) - labels) / len(labels)
        gradient[:-1] += _RIDGE * weights[:-1]
        weights -= step * gradient
        weights[:-1] = np.where(favourable, np.maximum(weights[:-1], 0), np.minimum(weights[:-1], 0))
    return float(weights[-1]), weights[:-1] / scale


def auc(scores: _Matrix, labels: _Matrix) -> float:
    """The area under the ROC curve, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ones = labels.sum()
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))


if __name__ == "__main__":
    main()
