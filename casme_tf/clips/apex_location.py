"""Where a curve of motion is highest, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

WIDTHS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Standard deviations that smoothing chooses from, frames."""

_LONGEST = 8  # a width is at most an eighth of the clip
_LEVEL = 3.0  # frames within so many deviations of the noise below the peak may be the apex
_LEAST_RISE = 0.15  # of a peak above its surroundings, as a share of the curve's range

# Spread of the frames that may be the apex, as a share of the clip: up to the first value the peak
# counts in full, from the second on not at all. Frames strewn over all the clip have 0.29.
_CLEAR, _UNCLEAR = 0.06, 0.15


@dataclass(frozen=True)
class Peak:
    """The highest place of a curve over `T` frames.

    Attributes:
        at: Its position, 0…T−1.
        smooth: `(T,)` float64, the curve with its noise smoothed away.
        noise: Standard deviation of the noise left in `smooth`.
        near: Positions that may as well be the highest, as far as the noise tells.
        clearness: How narrow these are, 0…1; 0 if they are all over the clip.
    """

    at: int
    smooth: np.ndarray
    noise: float
    near: np.ndarray
    clearness: float


def locate_peak(curve: np.ndarray, allowed: np.ndarray | None = None) -> Peak:
    """Find where a curve rises and falls again, or, if it only rises, its highest place.

    The curve is smoothed by a Gaussian, whose width generalised cross-validation chooses: little
    noise is smoothed little. A peak with lower places on both sides goes before a higher end, to
    which a drift may lead.

    Args:
        curve: `(T,)` float, one value a frame.
        allowed: `(T,)` bool, where the peak may be. Default: anywhere.

    Returns:
        The peak.

    Example:
        >>> locate_peak(np.array([0, 1, 3, 7, 9, 7, 4, 2, 1, 10.0]) / 10).at
        4
    """
    curve = np.asarray(curve, np.float64)
    allowed = np.ones(len(curve), bool) if allowed is None else allowed
    smooth, noise = _smooth(curve)
    rise = np.where(allowed, _rise(smooth), 0.0)
    at = int(rise.argmax())
    if rise[at] < max(_LEVEL * noise, _LEAST_RISE * float(np.ptp(smooth))):
        at = int(np.where(allowed, smooth, -np.inf).argmax())
    near = np.flatnonzero(allowed & (smooth >= smooth[at] - _LEVEL * noise))
    spread = float(near.std()) / len(curve)
    clearness = float(np.clip((_UNCLEAR - spread) / (_UNCLEAR - _CLEAR), 0, 1))
    return Peak(at, smooth, noise, near, clearness)


def noise_level(values: np.ndarray) -> float:
    """Return the standard deviation of white noise in a curve `(T,)`, by its second differences.

    A movement of many frames has small ones; the median passes over those that have not.
    """
    if len(values) < 3:
        return 0.0
    second = np.diff(values, 2)
    return float(1.4826 * np.median(np.abs(second - np.median(second))) / np.sqrt(6))


def smoothing(frames: int, width: float) -> np.ndarray:
    """Return the matrix `(frames, frames)` that smooths a curve by a Gaussian, ends held."""
    return gaussian_filter1d(np.eye(frames), width, axis=0, mode="nearest")


def _smooth(curve: np.ndarray) -> tuple[np.ndarray, float]:
    frames = len(curve)
    best, kept = np.inf, np.eye(frames)
    for width in WIDTHS:
        if width > frames / _LONGEST:
            break
        matrix = smoothing(frames, width)
        left = curve - matrix @ curve
        score = float(left @ left) / (1 - np.trace(matrix) / frames) ** 2
        if score < best:
            best, kept = score, matrix
    share = float((kept**2).sum(axis=1).mean())  # of the noise's variance that is left
    return kept @ curve, noise_level(curve) * share**0.5


def _rise(curve: np.ndarray) -> np.ndarray:
    """Return how far each place lies above the higher of the lowest places on both sides."""
    before = np.minimum.accumulate(curve)
    after = np.minimum.accumulate(curve[::-1])[::-1]
    return curve - np.maximum(before, after)
