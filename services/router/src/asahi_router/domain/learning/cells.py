"""Kinds of question that a memory holds, told apart by where its questions lie: each is a cell of its own.

What is learned of a cell is learned from few outcomes and at once, without a regression: k-means (Lloyd, 1982), with as
many cells as part the questions best (mean silhouette; Rousseeuw, 1987).
"""

from dataclasses import dataclass

import numpy as np

from asahi_router.domain.learning.basis import Basis, Floats
from asahi_router.domain.learning.regression import Indices

_MOST = 16
_LOOKED_AT = 600
"""Questions that the number of cells is chosen by."""
_STARTS, _STEPS = 10, 12


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the cells of a memory are."""

    basis: Basis
    middles: Floats
    """(k, form and embedding)."""

    def of(self, forms: Floats, embeddings: Floats | None) -> Indices:
        """(n,): the cell of each question, 0 to k - 1."""
        return _nearest(self.basis.placed(forms, embeddings), self.middles)


def cells_of(basis: Basis, forms: Floats, embeddings: Floats | None, random: np.random.Generator) -> Cells:
    """The cells of a memory of these questions; it looks at no outcome."""
    looked_at = random.choice(len(forms), min(_LOOKED_AT, len(forms)), replace=False)
    placed = basis.placed(forms[looked_at], embeddings[looked_at] if embeddings is not None else None)
    apart = np.sqrt(_apart(placed, placed))
    best, middles = 0.0, placed.mean(axis=0, keepdims=True)
    for count in range(2, min(_MOST, len(placed) // 10) + 1):
        found = _parted(placed, count, random)
        clear = _silhouette(apart, _nearest(placed, found), count)
        if clear > best:
            best, middles = clear, found
    return Cells(basis, middles)


def _parted(placed: Floats, count: int, random: np.random.Generator) -> Floats:
    """The middles of so many cells, the best of several starts."""
    tries = [_settled(placed, _scattered(placed, count, random)) for _ in range(_STARTS)]
    return min(tries, key=lambda middles: float(_apart(placed, middles).min(axis=1).sum()))


def _scattered(placed: Floats, count: int, random: np.random.Generator) -> Floats:
    """Questions far from each other to start from (k-means++; Arthur and Vassilvitskii, 2007)."""
    chosen = [int(random.integers(len(placed)))]
    while len(chosen) < count:
        far = _apart(placed, placed[chosen]).min(axis=1).astype(np.float64)
        total = far.sum()
        chosen.append(int(random.choice(len(placed), p=far / total)) if total > 0 else chosen[0])
    return placed[chosen]


def _settled(placed: Floats, middles: Floats) -> Floats:
    for _ in range(_STEPS):
        inside = _nearest(placed, middles)[:, None] == np.arange(len(middles))
        sizes = inside.sum(axis=0)
        moved = (inside.T.astype(np.float32) @ placed) / np.maximum(sizes, 1)[:, None]
        middles = np.where(sizes[:, None] > 0, moved, middles).astype(np.float32)
    return middles


def _silhouette(apart: Floats, cell: Indices, count: int) -> float:
    """Mean over the questions of how much nearer their own cell is than the next one, -1 to 1."""
    inside = (cell[:, None] == np.arange(count)).astype(np.float32)
    sizes, rows = inside.sum(axis=0), np.arange(len(cell))
    if np.count_nonzero(sizes) < 2:
        return 0.0
    mean = (apart @ inside) / np.maximum(sizes - inside, 1)
    own = mean[rows, cell].copy()
    mean[rows, cell] = np.inf
    mean[:, sizes == 0] = np.inf
    other = mean.min(axis=1)
    clear = np.where(sizes[cell] > 1, (other - own) / np.maximum(np.maximum(other, own), 1e-9), 0.0)
    return float(clear.mean())


def _nearest(placed: Floats, middles: Floats) -> Indices:
    nearest: Indices = _apart(placed, middles).argmin(axis=1)
    return nearest


def _apart(placed: Floats, others: Floats) -> Floats:
    """(n, k): squared distances."""
    squares: Floats = (placed * placed).sum(axis=1)[:, None] + (others * others).sum(axis=1) - 2 * (placed @ others.T)
    return np.maximum(squares, 0)
