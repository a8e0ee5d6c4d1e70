"""Figures of merit from arrays of answers, with their uncertainty over subjects.

Every figure is computed from confusion matrices, so that resampling subjects only adds up the
matrices of the subjects drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from casme_tf.formatting import FEWEST_SUBJECTS

Statistic = Callable[[np.ndarray], np.ndarray]


def confusion(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
    """Count answers by true and predicted class.

    Args:
        y_true: `(n,)` int true classes.
        y_pred: `(n,)` int predicted classes.
        classes: Number of classes.

    Returns:
        `(classes, classes)` int; row: true class, column: predicted class.

    Raises:
        ValueError: If the lengths differ or a class is not from 0 to `classes` - 1.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim != 1:
        raise ValueError(
            "True and predicted classes must be one a clip. "
            f"Received: shapes {y_true.shape} and {y_pred.shape}."
        )
    for values in (y_true, y_pred):
        if not np.isin(values, np.arange(classes)).all():
            odd = np.setdiff1d(values, np.arange(classes))[0]
            raise ValueError(f"A class must be a number from 0 to {classes - 1}. Received: {odd}.")
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (y_true.astype(np.int64), y_pred.astype(np.int64)), 1)
    return matrix


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the share of right answers, from confusion matrices `(..., C, C)`."""
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum((-2, -1))


def class_recall(matrix: np.ndarray) -> np.ndarray:
    """Return recall by class, `(..., C)`; NaN for a class that has no clip."""
    return _ratio(_hits(matrix), matrix.sum(-1))


def class_precision(matrix: np.ndarray) -> np.ndarray:
    """Return precision by class, `(..., C)`; NaN for a class that was never answered."""
    return _ratio(_hits(matrix), matrix.sum(-2))


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """Return F1 by class, `(..., C)`; NaN for a class that neither occurs nor is answered."""
    return _ratio(2 * _hits(matrix), matrix.sum(-1) + matrix.sum(-2))


def weighted_f1(matrix: np.ndarray) -> np.ndarray:
    """Return F1 averaged over classes, each weighted by its number of clips."""
    support = matrix.sum(-1)
    return (np.nan_to_num(class_f1(matrix)) * support).sum(-1) / support.sum(-1)


def weighted_precision(matrix: np.ndarray) -> np.ndarray:
    """Return precision averaged over classes, each weighted by its number of clips.

    A class that was never answered counts as 0.
    """
    support = matrix.sum(-1)
    return (np.nan_to_num(class_precision(matrix)) * support).sum(-1) / support.sum(-1)


def uf1(matrix: np.ndarray) -> np.ndarray:
    """Return the unweighted F1: the plain mean of the classes' F1 over pooled answers.

    A class that neither occurs nor is answered does not count, as in scikit-learn's macro F1.
    Source: See et al., MEGC 2019 (https://doi.org/10.1109/FG.2019.8756611).
    """
    return np.nanmean(class_f1(matrix), axis=-1)


def uar(matrix: np.ndarray) -> np.ndarray:
    """Return the unweighted average recall over the classes that occur (balanced accuracy)."""
    return np.nanmean(class_recall(matrix), axis=-1)


STATISTICS: dict[str, Statistic] = {
    "accuracy": accuracy,
    "weighted_f1": weighted_f1,
    "weighted_precision": weighted_precision,
    "uf1": uf1,
    "uar": uar,
}
"""The figures that are reported, by name; each maps `(..., C, C)` matrices to `(...)` figures."""


def by_subject(
    y_true: np.ndarray, y_pred: np.ndarray, subjects: np.ndarray, classes: int
) -> np.ndarray:
    """Return one confusion matrix a subject, `(subjects, C, C)`, in sorted order of subjects."""
    y_true, y_pred, subjects = map(np.asarray, (y_true, y_pred, subjects))
    return np.stack(
        [
            confusion(y_true[subjects == subject], y_pred[subjects == subject], classes)
            for subject in np.unique(subjects)
        ]
    )


def subject_table(y_true: np.ndarray, y_pred: np.ndarray, subjects: np.ndarray) -> pd.DataFrame:
    """Return how often each subject's clips were answered right.

    Args:
        y_true: `(n,)` true classes.
        y_pred: `(n,)` predicted classes.
        subjects: `(n,)` subject of each clip.

    Returns:
        Columns subject, clips, right and accuracy; one row a subject, in sorted order.

    Example:
        >>> subject_table([0, 1, 1], [0, 0, 1], ["s1", "s1", "s2"])["accuracy"].tolist()
        [0.5, 1.0]
    """
    names, of_clip = np.unique(subjects, return_inverse=True)
    clips = np.bincount(of_clip)
    right = np.bincount(of_clip, np.asarray(y_true) == np.asarray(y_pred)).astype(np.int64)
    return pd.DataFrame(
        {"subject": names, "clips": clips, "right": right, "accuracy": right / clips}
    )


def subject_interval(
    statistic: Statistic,
    matrices: np.ndarray,
    baseline: np.ndarray | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95% percentile interval of a figure when subjects are drawn anew.

    Clips of one person are alike, so people are resampled, not clips.

    Args:
        statistic: One of `STATISTICS`.
        matrices: `(subjects, C, C)` confusion matrices from `by_subject`.
        baseline: `(subjects, C, C)` of another answer to the same clips; if given, the interval
            is that of the difference to it, both on the same draw of subjects.
        resamples: Number of draws. Default 2000.
        seed: Seed of the draws. Default 0.

    Returns:
        `(low, high)`; both NaN with fewer than `FEWEST_SUBJECTS`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    if len(matrices) < FEWEST_SUBJECTS:
        return float("nan"), float("nan")

    def of_subjects(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.moveaxis(drawn, axis, -1)
        figure = statistic(matrices[drawn].sum(-3))
        return figure if baseline is None else figure - statistic(baseline[drawn].sum(-3))

    interval = stats.bootstrap(
        (np.arange(len(matrices)),),
        of_subjects,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _hits(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
