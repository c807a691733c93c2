"""A question as the numbers that its outcome is regressed on: its form, its embedding, and how near it is to landmarks.

Landmarks are questions of the memory; nearness to them, by embedding and form together, is what lets a linear model
follow what a wide neighbourhood shows (Nyström features of a Gaussian kernel; Williams and Seeger, 2001).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
DIMENSIONS = 384
_FORM_WEIGHT = 1.5
_NEARNESS = 2.0
_MOST_LANDMARKS = 256
_FARTHEST = 3.0
"""Standard deviations at which a feature of the form is cut off: one odd figure is no reason to extrapolate."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a memory makes of a question. Half a megabyte."""

    middle: Floats
    spread: Floats
    """Of each feature of the form, over the memory."""
    landmarks: Floats
    """(k, form and embedding)."""
    lengths: Floats
    """Their squared lengths."""
    embeds: bool

    @property
    def size(self) -> int:
        """Numbers that a question becomes."""
        return 1 + int(self.landmarks.shape[1]) + len(self.landmarks)

    def of(self, forms: Floats, embeddings: Floats | None) -> Floats:
        """(n, size) float32 of the forms (n, FORM_SIZE) and, where the memory has them, the embeddings (n, 384)."""
        seen = self.placed(forms, embeddings)
        apart = (seen * seen).sum(axis=1)[:, None] + self.lengths - 2 * (seen @ self.landmarks.T)
        near = 0.5 * np.exp(-_NEARNESS * np.maximum(apart, 0))
        return np.concatenate([np.ones((len(seen), 1), np.float32), seen, near], axis=1)

    def placed(self, forms: Floats, embeddings: Floats | None) -> Floats:
        """(n, form and embedding) float32: form and embedding on one scale, as distances are measured."""
        return _seen(forms, embeddings if self.embeds else None, self.middle, self.spread)


def basis_of(forms: Floats, embeddings: Floats | None, random: np.random.Generator) -> Basis:
    """The basis of a memory of these questions; it looks at no outcome."""
    middle, spread = forms.mean(axis=0), forms.std(axis=0) + np.float32(1e-6)
    chosen = random.choice(len(forms), min(_MOST_LANDMARKS, len(forms) // 2), replace=False)
    at = embeddings[chosen] if embeddings is not None else None
    landmarks = _seen(forms[chosen], at, middle, spread)
    return Basis(middle, spread, landmarks, (landmarks * landmarks).sum(axis=1), embeddings is not None)


def _seen(forms: Floats, embeddings: Floats | None, middle: Floats, spread: Floats) -> Floats:
    scaled = np.clip((forms - middle) / spread, -_FARTHEST, _FARTHEST) * (_FORM_WEIGHT / np.sqrt(forms.shape[1]))
    seen: Floats = np.concatenate([scaled, embeddings], axis=1) if embeddings is not None else scaled
    return seen.astype(np.float32)
