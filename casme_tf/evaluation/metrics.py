"""Figures of merit from arrays of predictions, with their uncertainty over subjects.

Calibration as well: of clips predicted with a probability of 0.7, are 70% right?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from casme_tf.formatting import FEWEST_SUBJECTS

__all__ = [
    "brier_score",
    "confusion",
    "consistency",
    "coverage",
    "expected_calibration_error",
    "precision_recall",
    "reliability",
    "subject_interval",
    "subject_table",
    "uar",
    "uf1",
    "weighted_precision",
]

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
            unknown = np.setdiff1d(values, np.arange(classes))[0]
            raise ValueError(f"Classes must be from 0 to {classes - 1}. Received: {unknown}.")
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
    """Return the 95% percentile interval of a figure when subjects are resampled.

    Clips of one subject are not independent, so subjects are resampled, not clips.

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


GRID = np.linspace(0.0, 1.0, 41)
"""Recalls at which the band is given."""


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of one class over all thresholds, without interpolation."""

    recall: np.ndarray
    precision: np.ndarray
    average_precision: float
    interval: tuple[float, float]
    band: np.ndarray
    share: float


def precision_recall(
    positive: np.ndarray,
    scores: np.ndarray,
    subjects: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> PrecisionRecall:
    """Compute precision and recall of one class at every threshold of its probability.

    Draws of subjects that have no clip of the class are left out of the intervals.

    Args:
        positive: `(n,)` bool; the clip is of the class.
        scores: `(n,)` probability given to the class.
        subjects: `(n,)` subject of each clip.
        resamples: Draws of subjects. Default 1000.
        seed: Seed of the draws. Default 0.

    Returns:
        The curve.

    Raises:
        ValueError: If the shapes differ, or no clip is of the class.

    Example:
        >>> curve = precision_recall([True, False, True], [0.9, 0.8, 0.7], ["s1", "s1", "s2"])
        >>> curve.recall.tolist(), curve.precision.round(2).tolist()
        ([0.5, 0.5, 1.0], [1.0, 0.5, 0.67])

    Source: Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006
        (https://doi.org/10.1145/1143844.1143874); steps are not interpolated, as they advise.
    """
    positive, scores = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=float)
    names, of_clip = np.unique(np.asarray(subjects), return_inverse=True)
    if not positive.shape == scores.shape == of_clip.shape or positive.ndim != 1:
        raise ValueError(
            "Each clip must have a truth, a score and a subject. Received: shapes "
            f"{positive.shape}, {scores.shape} and {of_clip.shape}."
        )
    if not positive.any():
        raise ValueError("A clip must be of the class. Received: none that is.")
    recall, precision = _curves(positive, scores, np.ones((1, len(scores))))
    interval, band = (float("nan"), float("nan")), np.full((2, len(GRID)), np.nan)
    if len(np.unique(of_clip[positive])) > 1:
        count = len(names)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        weights = drawn[:, of_clip].astype(float)
        weights = weights[weights[:, positive].any(1)]
        recalls, precisions = _curves(positive, scores, weights)
        low, high = np.percentile(_average(recalls, precisions), [2.5, 97.5])
        interval = float(low), float(high)
        band = np.percentile(_at_grid(recalls, precisions), [2.5, 97.5], axis=0)
    return PrecisionRecall(
        recall[0],
        precision[0],
        float(_average(recall, precision)[0]),
        interval,
        band,
        float(positive.mean()),
    )


def _curves(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision, each `(draws, k)`, for weights `(draws, n)` of the clips."""
    order = np.argsort(-scores, kind="stable")
    # Clips of one score pass the threshold together.
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    predicted = np.cumsum(weights[:, order], axis=1)[:, ends]
    hits = np.cumsum((weights * positive)[:, order], axis=1)[:, ends]
    # Before the first clip that was drawn nothing is predicted; no step of recall counts it.
    precision = np.divide(hits, predicted, out=np.ones_like(hits), where=predicted > 0)
    return hits / hits[:, -1:], precision


def _average(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return (np.diff(recall, axis=1, prepend=0) * precision).sum(1)


def _at_grid(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return precision `(draws, len(GRID))` where recall first reaches each value of the grid."""
    rows = np.arange(len(recall))
    found = [(recall > 0) & (recall >= r - 1e-12) for r in GRID]
    columns = [precision[rows, reached.argmax(1)] for reached in found]
    return np.stack(columns, axis=1)


def reliability(y_true: np.ndarray, probabilities: np.ndarray, *, bins: int = 10) -> pd.DataFrame:
    """Group predictions by confidence, and compare it with their accuracy.

    The confidence is the probability of the class answered, the largest one. Bins are of equal
    width; a value on an edge belongs to the bin below.

    Args:
        y_true: `(n,)` int true classes.
        probabilities: `(n, C)` probability of each class; each row sums to 1.
        bins: Number of bins from 0 to 1. Default 10.

    Returns:
        Columns low, high, clips, confidence (mean) and accuracy; one row a bin, NaN in the last
        two where a bin has no clips.

    Raises:
        ValueError: If the probabilities are none, or do not fit the true classes.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017
        (https://proceedings.mlr.press/v70/guo17a.html).
    """
    y_true, probabilities = _checked(y_true, probabilities)
    if bins < 1:
        raise ValueError(f"The number of bins must be at least 1. Received: {bins}.")
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == y_true
    edges = np.linspace(0, 1, bins + 1)
    of_clip = np.searchsorted(edges[1:-1], confidence)
    clips = np.bincount(of_clip, minlength=bins)
    filled = np.where(clips, clips, np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "clips": clips,
            "confidence": np.bincount(of_clip, confidence, bins) / filled,
            "accuracy": np.bincount(of_clip, right, bins) / filled,
        }
    )


def coverage(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    *,
    shares: tuple[float, ...] = (1.0, 0.9, 0.75, 0.5, 0.25),
) -> pd.DataFrame:
    """Compute the accuracy where only the surest predictions are taken.

    Args:
        y_true: `(n,)` int true classes.
        probabilities: `(n, C)` probability of each class.
        shares: Shares of the clips to take, each above 0 and at most 1.

    Returns:
        Columns share, clips, least (the lowest confidence that is taken) and accuracy.

    Raises:
        ValueError: If the probabilities are none, or do not fit the true classes.

    Example:
        >>> coverage([0, 1], [[0.9, 0.1], [0.6, 0.4]], shares=(1.0, 0.5))["accuracy"].tolist()
        [0.5, 1.0]

    Source: El-Yaniv and Wiener, On the foundations of noise-free selective classification, 2010
        (https://www.jmlr.org/papers/v11/el-yaniv10a.html).
    """
    y_true, probabilities = _checked(y_true, probabilities)
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(1) == y_true)[order]
    counts = [max(1, round(share * len(y_true))) for share in shares]
    return pd.DataFrame(
        {
            "share": shares,
            "clips": counts,
            "least": [confidence[order][count - 1] for count in counts],
            "accuracy": [right[:count].mean() for count in counts],
        }
    )


def expected_calibration_error(
    y_true: np.ndarray, probabilities: np.ndarray, *, bins: int = 10
) -> float:
    """Return the mean gap between confidence and accuracy over bins, weighted by their clips.

    With few clips it is above zero even for true probabilities, and it depends on the number of
    bins: say both.

    Args:
        y_true: `(n,)` int true classes.
        probabilities: `(n, C)` probability of each class.
        bins: Number of bins, as for `reliability`. Default 10.

    Returns:
        From 0 (confidence and accuracy agree in each bin) to 1.

    Raises:
        ValueError: If the probabilities are none, or do not fit the true classes.

    Example:
        >>> expected_calibration_error([0, 1], [[0.75, 0.25], [0.75, 0.25]])
        0.25

    Source: As for `reliability`.
    """
    table = reliability(y_true, probabilities, bins=bins)
    gap = (table["confidence"] - table["accuracy"]).abs()
    return float((gap * table["clips"]).sum() / table["clips"].sum())


def brier_score(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean squared distance from the probabilities to the truth.

    Args:
        y_true: `(n,)` int true classes.
        probabilities: `(n, C)` probability of each class.

    Returns:
        From 0 (sure and right) to 2 (sure and wrong): squares are summed over classes. Equal
        probabilities score 1 - 1/C.

    Raises:
        ValueError: If the probabilities are none, or do not fit the true classes.

    Example:
        >>> brier_score([0], [[0.5, 0.5]])
        0.5

    Source: Brier, Monthly Weather Review 78, 1950
        (https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
    """
    y_true, probabilities = _checked(y_true, probabilities)
    truth = np.eye(probabilities.shape[1])[y_true]
    return float(((probabilities - truth) ** 2).sum(1).mean())


def _checked(y_true: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y_true, probabilities = np.asarray(y_true), np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 2 or y_true.shape != probabilities.shape[:1] or not y_true.size:
        raise ValueError(
            "Probabilities must be one row a clip and one column a class. "
            f"Received: {probabilities.shape} for true classes of shape {y_true.shape}."
        )
    # int8 networks answer in steps of 1/256, so that rows need not sum to 1 exactly.
    sums = probabilities.sum(1)
    if not (np.abs(sums - 1) < 0.02).all() or probabilities.min() < 0:
        worst = sums[np.abs(sums - 1).argmax()]
        raise ValueError(
            "Probabilities must not be negative and must sum to 1 over the classes. "
            f"Received: least {probabilities.min():.3g}, a row that sums to {worst:.3g}."
        )
    if not np.isin(y_true, np.arange(probabilities.shape[1])).all():
        raise ValueError(
            f"A class must be a number from 0 to {probabilities.shape[1] - 1}. "
            f"Received: {np.setdiff1d(y_true, np.arange(probabilities.shape[1]))[0]}."
        )
    return y_true, probabilities


@dataclass(frozen=True)
class Consistency:
    """What chance alone makes of true probabilities on so few clips."""

    low: np.ndarray
    high: np.ndarray
    error: float
    error_limit: float


def consistency(
    confidence: np.ndarray, edges: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> Consistency:
    """Draw predictions whose accuracy is their confidence, and measure their calibration error.

    Clips are drawn one by one, as if they did not depend on the subject; real ones do, so that a
    real error a little above the limit proves little.

    Args:
        confidence: `(n,)` probability of the class answered for each clip.
        edges: `(bins + 1,)` edges of the bins, rising from 0 to 1; a value on an edge belongs to
            the bin below, as for `reliability`.
        draws: Number of draws. Default 2000.
        seed: Seed of the draws. Default 0.

    Returns:
        The quantiles and the error that chance makes.

    Raises:
        ValueError: If there are no clips, or a confidence is not from 0 to 1.

    Example:
        >>> consistency(np.full(400, 0.7), np.linspace(0, 1, 11)).error < 0.03
        True

    Source: Bröcker and Smith, Increasing the reliability of reliability diagrams, 2007
        (https://doi.org/10.1175/WAF993.1).
    """
    confidence, edges = np.asarray(confidence, dtype=float), np.asarray(edges, dtype=float)
    if confidence.ndim != 1 or not confidence.size or not _within(confidence):
        raise ValueError(
            f"Confidence must be one number from 0 to 1 a clip. Received: shape {confidence.shape}."
        )
    bins = len(edges) - 1
    of_clip = np.searchsorted(edges[1:-1], confidence)
    member = np.eye(bins)[of_clip]  # (n, bins)
    right = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    rights = right @ member  # (draws, bins)
    errors = np.abs(rights - confidence @ member).sum(1) / len(confidence)
    clips = member.sum(0)
    low, high = np.percentile(rights, [2.5, 97.5], axis=0) / np.where(clips, clips, np.nan)
    return Consistency(low, high, float(errors.mean()), float(np.percentile(errors, 95)))


def _within(confidence: np.ndarray) -> bool:
    return bool(((confidence >= 0) & (confidence <= 1 + 1e-6)).all())
