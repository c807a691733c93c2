"""Ridge regressions of many models' outcomes on the same questions, cross-fitted.

A model's regression sees the questions that it answered and no others; models that answered the same ones share a
factorization. What is told of a question of the memory comes from the folds that it is not in: how good the
regressions are is judged by that alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Regressed:
    """What was regressed."""

    weights: Floats
    """(size of the basis, models): of all questions."""
    told: Floats
    """(questions, models): what the other folds tell of each question, answered by the model or not."""


def cross_fitted(seen: Floats, outcomes: Floats, folds: Indices, penalty: float) -> Regressed:
    """Regresses `outcomes` (n, m; NaN: unknown) on `seen` (n, d).

    The first column of `seen` is 1, and not penalized. `folds`: 0 to FOLDS - 1 by question.
    """
    known = ~np.isnan(outcomes)
    weights = np.zeros((seen.shape[1], outcomes.shape[1]), np.float32)
    told = np.zeros(outcomes.shape, np.float32)
    masks, group = np.unique(known, axis=1, return_inverse=True)
    for number in range(masks.shape[1]):
        columns = np.flatnonzero(group == number)
        answered = masks[:, number]
        if answered.any():
            whole = outcomes[:, columns]
            weights[:, columns], told[:, columns] = _of_group(seen, whole, answered, folds, penalty)
    return Regressed(weights, told)


def _of_group(seen: Floats, outcomes: Floats, answered: Flags, folds: Indices, penalty: float) -> tuple[Floats, Floats]:
    size, models = seen.shape[1], outcomes.shape[1]
    squares = np.zeros((FOLDS, size, size))
    products = np.zeros((FOLDS, size, models))
    for fold in range(FOLDS):
        inside = answered & (folds == fold)
        squares[fold] = seen[inside].T @ seen[inside]
        products[fold] = seen[inside].T @ outcomes[inside]
    all_squares, all_products = squares.sum(axis=0), products.sum(axis=0)
    told = np.zeros(outcomes.shape, np.float32)
    for fold in range(FOLDS):
        outside = _solved(all_squares - squares[fold], all_products - products[fold], penalty)
        told[folds == fold] = seen[folds == fold] @ outside
    return _solved(all_squares, all_products, penalty), told


def _solved(squares: NDArray[np.float64], products: NDArray[np.float64], penalty: float) -> Floats:
    diagonal = np.full(len(squares), penalty)
    diagonal[0] = 1e-3
    solved: Floats = np.linalg.solve(squares + np.diag(diagonal), products).astype(np.float32)
    return solved
