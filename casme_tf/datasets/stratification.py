"""Dealing out people so that the parts are alike in size and in classes.

A person's clips cannot be separated, so equal parts are seldom possible. Both functions draw many
ways of dealing and keep the one with the smallest chi-square distance from equal shares, summed
over the classes and over the number of clips.
"""

from __future__ import annotations

import numpy as np

DRAWS = 128
"""Ways of dealing that are compared."""


def count_table(subjects: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count clips by subject and class.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip.

    Returns:
        `(S,)` subjects in sorted order, and `(S, C)` int clips of each subject and class.
    """
    names, rows = np.unique(subjects, return_inverse=True)
    present, columns = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(present)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return names, table


def balanced_folds(table: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal subjects into equal folds; none stays empty.

    Large subjects are placed first, each where it adds least to the distance from equal shares;
    the draws differ in that order.

    Args:
        table: `(S, C)` clips of each subject and class, from `count_table`.
        folds: Number of folds, from 1 to S.
        rng: Source of the draws.

    Returns:
        `(S,)` int fold of each subject.

    Example:
        >>> table = np.array([[4, 0], [0, 4], [2, 2], [2, 2]])
        >>> folds = balanced_folds(table, 2, np.random.default_rng(0))
        >>> [table[folds == fold].sum(0).tolist() for fold in range(2)]
        [[4, 4], [4, 4]]
    """
    weights, totals = _with_size(table)
    noise = rng.normal(0, 0.5, (DRAWS, len(table)))
    order = np.argsort(-(np.log(weights[:, -1]) + noise), axis=1)  # (draws, S)
    draws = np.arange(DRAWS)
    sums = np.zeros((DRAWS, folds, weights.shape[1]))
    dealt = np.zeros((DRAWS, len(table)), dtype=np.int64)
    for place in order.T:
        fold = np.einsum("dfc,dc->df", sums, weights[place] / totals).argmin(1)
        sums[draws, fold] += weights[place]
        dealt[draws, place] = fold
    best = (sums**2 / totals).sum((1, 2)).argmin()
    return dealt[best]


def validation_subjects(
    table: np.ndarray, rng: np.random.Generator, *, share: float = 0.2
) -> np.ndarray:
    """Choose the subjects that are set apart; the others keep every class.

    Args:
        table: `(S, C)` clips of each subject and class, from `count_table`.
        rng: Source of the draws.
        share: Share of the clips to set apart, as nearly as people allow. Default 0.2.

    Returns:
        `(S,)` bool; all False if whoever is set apart takes a class along.

    Example:
        >>> only_second_has_it = np.array([[4, 0], [4, 3], [4, 0]])
        >>> bool(validation_subjects(only_second_has_it, np.random.default_rng(0))[1])
        False
    """
    weights, totals = _with_size(table)

    def distance(apart: np.ndarray) -> np.ndarray:
        return ((apart - share * totals) ** 2 / totals).sum(-1)

    order = rng.permuted(np.tile(np.arange(len(table)), (DRAWS, 1)), axis=1)
    draws = np.arange(DRAWS)
    sums = np.zeros((DRAWS, weights.shape[1]))
    chosen = np.zeros((DRAWS, len(table)), dtype=bool)
    for place in order.T:
        larger = sums + weights[place]
        better = (larger < totals).all(1) & (distance(larger) < distance(sums))
        sums[better] = larger[better]
        chosen[draws, place] = better
    # With few people nobody is near the share: whoever comes nearest alone is a candidate too.
    sums = np.concatenate([sums, weights])
    chosen = np.concatenate([chosen, np.eye(len(table), dtype=bool)])
    possible = chosen.any(1) & (sums < totals).all(1)
    if not possible.any():
        return np.zeros(len(table), dtype=bool)
    cost = distance(sums) + (sums == 0).sum(1)  # a class that is not there weighs as one unit
    return chosen[np.where(possible, cost, np.inf).argmin()]


def _with_size(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the number of clips as one more column; also return the columns' totals."""
    weights = np.concatenate([table, table.sum(1, keepdims=True)], axis=1).astype(float)
    return weights, weights.sum(0)
