"""What a memory of outcomes teaches: the expected quality and length of each model's answer, and how sure that is.

Learned in the background (`learn`: seconds of a core for ten thousand questions), asked on the request path (`tell`).
"""

from dataclasses import dataclass

import numpy as np

from asahi_router.domain.learning.basis import Basis, Floats, basis_of
from asahi_router.domain.learning.regression import FOLDS, Indices, cross_fitted
from asahi_router.domain.learning.smoother import Smoother, smoothed

_PENALTY = 100.0
_LEVERAGE_PENALTY = 3.0
_TOKEN_PENALTY = 3.0
_HALF = np.float32(0.5)
_ROUNDING = 1e-4
_LEAST_SHARE = 0.2
"""Of a model's usual answer that a question is expected to get at least, whatever the regression says."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Questions of a memory, and how models did on them."""

    models: tuple[str, ...]
    forms: Floats
    """(n, FORM_SIZE)."""
    embeddings: Floats | None
    """(n, 384), each of length 1; None: there are none."""
    quality: Floats
    """(n, m), 0 to 1; NaN: not known."""
    output_tokens: Floats
    """(n, m); NaN: not known."""
    questions: Indices
    """(n,): rows with the same number ask the same; they are never on both sides of a fold."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is expected of n questions."""

    quality: Floats
    """(n, m), 0 to 1."""
    error: Floats
    """(n, m): standard error of it."""
    output_tokens: Floats
    """(n, m)."""
    strangeness: Floats
    """(n,): share of the memory's own questions that are less strange to the rest of the memory, 0 to 1."""

    def of(self, models: list[int]) -> "Told":
        """Of the models at those places alone."""
        return Told(self.quality[:, models], self.error[:, models], self.output_tokens[:, models], self.strangeness)


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned. About 6 MB."""

    models: tuple[str, ...]
    answers: Indices
    """(m,): how many outcomes of each there were."""
    basis: Basis
    smoother: Smoother
    """Of quality; what is told is the mean of it and the regression."""
    quality_weights: Floats
    token_weights: Floats
    usual_tokens: Floats
    noise: Floats
    """(m,): standard deviation of an outcome around what is told of it, of the mean over all questions."""
    spread: Floats
    """(d, d): covariance of weights in units of `noise`; its form at a question is the leverage of that question."""
    leverages: Floats
    """Of the memory's questions, each left out, in ascending order."""

    def tell(self, forms: Floats, embeddings: Floats | None) -> Told:
        """What is expected of questions with these forms (n, FORM_SIZE) and embeddings (n, 384)."""
        seen = self.basis.of(forms, embeddings)
        leverage = np.maximum(np.einsum("ij,ij->i", seen @ self.spread, seen), 0)  # rounding, where it is near 0
        quality = _HALF * (seen @ self.quality_weights + self.smoother.of(forms, embeddings))
        return self._told(quality, seen @ self.token_weights, leverage)

    def _told(self, quality: Floats, tokens: Floats, leverage: Floats) -> Told:
        return Told(
            quality,
            np.sqrt(leverage)[:, None] * self.noise,
            np.maximum(tokens, _LEAST_SHARE * self.usual_tokens),
            (np.searchsorted(self.leverages, leverage - _ROUNDING) / len(self.leverages)).astype(np.float32),
        )


@dataclass(frozen=True, slots=True)
class Taught:
    """A memory, and what it taught."""

    measured: Measured
    learned: Learned
    told: Told
    """What each of its questions would have been told by the rest of it."""


def learn(measured: Measured, random: np.random.Generator) -> Taught:
    """Learns from a memory."""
    basis = basis_of(measured.forms, measured.embeddings, random)
    seen = basis.of(measured.forms, measured.embeddings)
    folds = random.permutation(int(measured.questions.max()) + 1)[measured.questions] % FOLDS
    regressed = cross_fitted(seen, measured.quality, folds, _PENALTY)
    smoother, near = smoothed(measured.forms, measured.embeddings, measured.quality, folds, random)
    quality = _HALF * (regressed.told + near)
    tokens = cross_fitted(seen, measured.output_tokens, folds, _TOKEN_PENALTY)
    answers = np.sum(~np.isnan(measured.quality), axis=0)
    noise = np.sqrt(np.nanmean(np.square(measured.quality - quality), axis=0))
    rarer = np.sqrt(len(seen) / np.maximum(answers, 1))
    spread = np.linalg.inv((seen.T @ seen).astype(np.float64) + _LEVERAGE_PENALTY * np.eye(basis.size)).astype(
        np.float32
    )
    inside = np.maximum(np.einsum("ij,ij->i", seen @ spread, seen), 0)
    leverage = inside / (1 - np.minimum(inside, 0.99))  # each left out: Sherman and Morrison
    learned = Learned(
        measured.models,
        answers,
        basis,
        smoother,
        regressed.weights,
        tokens.weights,
        np.nan_to_num(np.nanmean(measured.output_tokens, axis=0)),
        (noise * rarer).astype(np.float32),
        spread,
        np.sort(leverage),
    )
    return Taught(measured, learned, learned._told(quality, tokens.told, leverage))
