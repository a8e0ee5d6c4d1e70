"""Precision against recall of one class, and how far people leave it open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = np.linspace(0.0, 1.0, 41)
"""Recalls at which the band is given."""


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of one class over all thresholds, without interpolation.

    Attributes:
        recall: `(k,)` rising; one value for each distinct score, from the highest.
        precision: `(k,)` at the same thresholds.
        average_precision: Mean precision over the steps of recall.
        interval: Its 95% percentile interval when subjects are drawn anew; NaN unless two
            subjects have the class.
        band: `(2, len(GRID))` 95% percentile interval of precision at each recall of `GRID`; NaN
            likewise.
        share: Share of the class, which is the precision of answering at random.
    """

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
        people = len(names)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
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
    asked = np.cumsum(weights[:, order], axis=1)[:, ends]
    hits = np.cumsum((weights * positive)[:, order], axis=1)[:, ends]
    # Before the first clip that was drawn nothing is asked; no step of recall counts it.
    precision = np.divide(hits, asked, out=np.ones_like(hits), where=asked > 0)
    return hits / hits[:, -1:], precision


def _average(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return (np.diff(recall, axis=1, prepend=0) * precision).sum(1)


def _at_grid(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return precision `(draws, len(GRID))` where recall first reaches each value of the grid."""
    rows = np.arange(len(recall))
    found = [(recall > 0) & (recall >= r - 1e-12) for r in GRID]
    columns = [precision[rows, reached.argmax(1)] for reached in found]
    return np.stack(columns, axis=1)
