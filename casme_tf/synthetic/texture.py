"""Textures and soft edges that faces are painted with."""

from __future__ import annotations

import cv2
import numpy as np


def noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 1
) -> np.ndarray:
    """Return smooth noise of several octaves, each half as strong and half as coarse.

    Args:
        rng: Source of chance.
        shape: Height and width, px.
        cell: Size of the coarsest grain, px.
        octaves: How many sizes are added.

    Returns:
        float32 `shape`, mean about 0, standard deviation 1.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grain = max(cell / 2**octave, 1.0)
        small = (int(np.ceil(shape[0] / grain)) + 3, int(np.ceil(shape[1] / grain)) + 3)
        grid = rng.standard_normal(small, np.float32)
        size = (int(small[1] * grain), int(small[0] * grain))
        layer = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
        total += layer * 0.5**octave
    return total / total.std()


def bump(
    x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float
) -> np.ndarray:
    """Return a Gaussian hill of height 1 at `at`, with standard deviations in px."""
    across = np.exp(-0.5 * ((x - at[0]) / width) ** 2)
    along = np.exp(-0.5 * ((y - at[1]) / height) ** 2)
    return across * along


def step(value: np.ndarray, width: float = 1.0) -> np.ndarray:
    """Return a soft step: 0 below `-width`, 1 above `width`, smooth between."""
    t = np.clip(0.5 + 0.5 * value / width, 0, 1)
    return t * t * (3 - 2 * t)


def strokes(
    shape: tuple[int, int], starts: np.ndarray, ends: np.ndarray, thickness: int = 1
) -> np.ndarray:
    """Draw anti-aliased straight hairs.

    Args:
        shape: Height and width, px.
        starts, ends: `(N, 2)` positions, px.
        thickness: px.

    Returns:
        float32 `shape` in 0…1, the cover.
    """
    cover = np.zeros(shape, np.uint8)
    for start, end in zip(np.rint(starts * 16), np.rint(ends * 16), strict=True):
        first, last = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        cv2.line(cover, first, last, 255, thickness, cv2.LINE_AA, 4)
    return cover.astype(np.float32) / 255
