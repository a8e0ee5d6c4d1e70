"""Whether probabilities mean what they say: of clips answered with 0.7, is 0.7 right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["brier_score", "consistency", "coverage", "expected_calibration_error", "reliability"]


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
            the bin below, as for `calibration.reliability`.
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
