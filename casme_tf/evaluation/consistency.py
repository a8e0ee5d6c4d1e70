"""What a reliability diagram would show if the probabilities were true: chance alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Consistency:
    """What chance alone makes of true probabilities on so few clips.

    Attributes:
        low: `(bins,)` 2.5% quantile of the share right in each bin; NaN in a bin without clips.
        high: `(bins,)` 97.5% quantile.
        error: Mean expected calibration error.
        error_limit: Its 95% quantile; a larger error speaks against the probabilities.
    """

    low: np.ndarray
    high: np.ndarray
    error: float
    error_limit: float


def consistency(
    confidence: np.ndarray, edges: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> Consistency:
    """Draw answers that are right as often as their confidence says, and measure those.

    Clips are drawn one by one, as if they did not depend on the person; real ones do, so that a
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
