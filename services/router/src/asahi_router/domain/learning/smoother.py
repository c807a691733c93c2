"""What outcomes on similar questions were, smoothly: each of the memory's outcomes counts the more the nearer it is.

A kernel mean over what outcomes there are (Nadaraya and Watson, 1964) follows the memory where it is dense and says the
usual where it is not; a regression does it the other way round, and the mean of both is better than either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from asahi_router.domain.learning.basis import Floats
from asahi_router.domain.learning.regression import FOLDS, Indices

_FORM_WEIGHT = 0.6
_FARTHEST = 3.0
_AXES = 96
_MOST = 4_096
"""Questions that are looked at for each decision: 1.6 MB of them, a tenth of a millisecond."""
_SHARPNESS = 16.0
_USUAL = 1.0
"""Outcomes, as near as the nearest question, that the model's mean over all counts as."""
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Smoother:
    """A memory as a kernel mean. 2 MB."""

    middle: Floats
    spread: Floats
    """Of each feature of the form, over the memory."""
    axes: Floats
    """(form and embedding, a): the directions in which questions differ most; angles are those of all of them."""
    places: Floats
    """(k, a): the questions."""
    outcomes: Floats
    """(k, 2 m): the models' outcomes, 0 where none is known, then whether each is known, 0 or 1."""
    usual: Floats
    """(m,): mean outcome."""
    embeds: bool

    def of(self, forms: Floats, embeddings: Floats | None) -> Floats:
        """(n, m): expected outcomes of questions with these forms (n, FORM_SIZE) and embeddings (n, 384)."""
        seen = _unit(forms, embeddings if self.embeds else None, self.middle, self.spread) @ self.axes
        return _mean(seen, self.places, self.outcomes, self.usual)


def smoothed(
    forms: Floats, embeddings: Floats | None, outcomes: Floats, folds: Indices, random: np.random.Generator
) -> tuple[Smoother, Floats]:
    """A smoother of a memory's outcomes (n, m; NaN: unknown), and (n, m) what the other folds tell of its questions."""
    middle, spread = forms.mean(axis=0), forms.std(axis=0) + np.float32(1e-6)
    axes = _axes(_units(forms, embeddings, middle, spread))
    places = np.concatenate([unit @ axes for unit in _units(forms, embeddings, middle, spread)])
    known = ~np.isnan(outcomes)
    both = np.concatenate([np.nan_to_num(outcomes), known], axis=1).astype(np.float32)
    usual = _usual(both)
    told = np.empty_like(outcomes)
    for fold in range(FOLDS):
        inside, others = np.flatnonzero(folds == fold), _some(np.flatnonzero(folds != fold), random)
        told[inside] = _mean(places[inside], places[others], both[others], _usual(both[folds != fold]))
    kept = _some(np.arange(len(places)), random)
    return Smoother(middle, spread, axes, places[kept], both[kept], usual, embeddings is not None), told


def _units(forms: Floats, embeddings: Floats | None, middle: Floats, spread: Floats) -> Iterator[Floats]:
    """The questions as unit vectors, a few at a time: all of them would take as much memory as everything else."""
    for start in range(0, len(forms), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        yield _unit(forms[rows], embeddings[rows] if embeddings is not None else None, middle, spread)


def _axes(units: Iterable[Floats]) -> Floats:
    squares = sum((unit.T @ unit).astype(np.float64) for unit in units)
    axes: Floats = np.linalg.eigh(squares)[1][:, -_AXES:].astype(np.float32)
    return axes


def _some(rows: Indices, random: np.random.Generator) -> Indices:
    return rows if len(rows) <= _MOST else random.choice(rows, _MOST, replace=False)


def _usual(both: Floats) -> Floats:
    count = both.shape[1] // 2
    usual: Floats = both[:, :count].sum(axis=0) / np.maximum(both[:, count:].sum(axis=0), 1)
    return usual


def _mean(seen: Floats, places: Floats, both: Floats, usual: Floats) -> Floats:
    count = len(usual)
    told = np.empty((len(seen), count), np.float32)
    for start in range(0, len(seen), _AT_ONCE):
        cosine = seen[start : start + _AT_ONCE] @ places.T
        cosine -= cosine.max(axis=1, keepdims=True)
        sums = np.exp(_SHARPNESS * cosine) @ both
        told[start : start + _AT_ONCE] = (sums[:, :count] + _USUAL * usual) / (sums[:, count:] + _USUAL)
    return told


def _unit(forms: Floats, embeddings: Floats | None, middle: Floats, spread: Floats) -> Floats:
    scaled = np.clip((forms - middle) / spread, -_FARTHEST, _FARTHEST) * (_FORM_WEIGHT / np.sqrt(forms.shape[1]))
    seen = np.concatenate([scaled, embeddings], axis=1) if embeddings is not None else scaled
    unit: Floats = (seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    return unit
