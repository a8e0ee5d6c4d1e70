"""The fixed numbers of Farneback's flow: pyramid levels, filters as matrices, border weights.

Everything here is NumPy, computed in float64 (except where OpenCV rounds to float32 on the way)
and known as soon as the size of the frames is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_LEVEL = 32  # px; coarser levels are left out
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)


@dataclass(frozen=True)
class Level:
    """One scale of the pyramid: its share of the frame's size, and its own size in px."""

    scale: float
    height: int
    width: int


def pyramid(height: int, width: int, pyr_scale: float, levels: int) -> tuple[Level, ...]:
    """List the levels for frames of `height` × `width` px, coarsest first.

    Args:
        height: Frame height, px.
        width: Frame width, px.
        pyr_scale: Size of a level relative to the next finer one.
        levels: How many levels to add to the full-size one, if none gets too small.

    Returns:
        At least one level; the last one has the size of the frame.

    Example:
        >>> [level.width for level in pyramid(224, 224, pyr_scale=0.5, levels=3)]
        [56, 112, 224]
    """
    found = [Level(1.0, height, width)]
    scale = 1.0
    for _ in range(levels):
        scale *= pyr_scale
        if min(height, width) * scale < SMALLEST_LEVEL:
            break
        # round() and OpenCV's cvRound both round half to even.
        found.append(Level(scale, round(height * scale), round(width * scale)))
    return tuple(reversed(found))


def blur_kernel(scale: float) -> np.ndarray:
    """Make the Gaussian that a frame is blurred with before it is shrunk.

    Args:
        scale: The level's scale.

    Returns:
        An odd number of weights, float32; three for the full-size level.
    """
    sigma = (1 / scale - 1) / 2
    radius = max(round(sigma * 5) | 1, 3) // 2
    offsets = np.arange(-radius, radius + 1)
    # Without a sigma OpenCV takes its fixed kernel of three taps.
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma > 0 else np.array([1.0, 2.0, 1.0])
    return (kernel / kernel.sum()).astype(np.float32)


def level_matrix(size: int, level_size: int, scale: float) -> np.ndarray:
    """Blur and shrink one axis of the frame to that of a level.

    Args:
        size: Length of the frame's axis, px.
        level_size: Length of the level's axis, px.
        scale: The level's scale, which sets the blur.

    Returns:
        `(level_size, size)` float64, to be multiplied from the left.
    """
    kernel = blur_kernel(scale)
    radius = len(kernel) // 2
    rows = np.arange(size)
    blur = np.zeros((size, size))
    for offset, weight in enumerate(kernel, start=-radius):
        reflected = np.abs(rows + offset)  # the edge pixel is the mirror
        reflected = np.where(reflected >= size, 2 * (size - 1) - reflected, reflected)
        np.add.at(blur, (rows, reflected), weight)
    return resize_matrix(size, level_size) @ blur


def padded_level_matrix(size: int, level_size: int, scale: float, margin: int) -> np.ndarray:
    """Blur and shrink one axis of the frame, then replicate its ends `margin` times.

    Args:
        size: Length of the frame's axis, px.
        level_size: Length of the level's axis, px.
        scale: The level's scale, which sets the blur.
        margin: How many copies of each end to add, px.

    Returns:
        `(level_size + 2 margin, size)` float32, to be multiplied from the left.
    """
    rows = np.arange(-margin, level_size + margin).clip(0, level_size - 1)
    return level_matrix(size, level_size, scale)[rows].astype(np.float32)


def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Resize one axis bilinearly, with pixel centres at halves and no antialiasing.

    Args:
        size: Length of the axis, px.
        new_size: Length wanted, px.

    Returns:
        `(new_size, size)` float64, to be multiplied from the left.
    """
    rows = np.arange(new_size)
    position = ((rows + 0.5) * (size / new_size) - 0.5).astype(np.float32).clip(0, size - 1)
    left = np.floor(position).astype(int).clip(max=size - 2)
    right_weight = position - left
    matrix = np.zeros((new_size, size))
    matrix[rows, left] = 1 - right_weight
    matrix[rows, left + 1] = right_weight
    return matrix


@dataclass(frozen=True)
class PolynomialFilters:
    """Filters along one axis, `(2 poly_n + 1,)` float64, whose products fit a quadratic.

    The fit `c + x·r_x + y·r_y + x²·r_xx + y²·r_yy + xy·r_xy` around a pixel is linear in the
    pixels and separates: a filter down the columns, then one along the rows.
    """

    smooth: np.ndarray
    slope: np.ndarray
    curve: np.ndarray
    slope_gain: float
    cross_gain: float


def polynomial_filters(poly_n: int, poly_sigma: float) -> PolynomialFilters:
    """Make the filters of the polynomial expansion.

    Args:
        poly_n: Radius of the neighbourhood, px.
        poly_sigma: Standard deviation of its Gaussian weights, px.

    Returns:
        The filters and the gains of the linear and the mixed term.
    """
    x = np.arange(-poly_n, poly_n + 1)
    weights = np.exp(-(x**2) / (2 * poly_sigma**2)).astype(np.float32).astype(np.float64)
    smooth = (weights / weights.sum()).astype(np.float32).astype(np.float64)
    slope = (x * smooth).astype(np.float32).astype(np.float64)
    square = (x**2 * smooth).astype(np.float32).astype(np.float64)

    # The normal equations of the fit, for the terms 1, x, y, x², y², xy.
    terms = np.stack(np.broadcast_arrays(1, x, x[:, None], x**2, x[:, None] ** 2, np.outer(x, x)))
    gram = np.einsum("iyx,jyx,y,x->ij", terms, terms, smooth, smooth)
    gram[0, 0] = smooth.sum() ** 2
    inverse = np.linalg.inv(gram)
    return PolynomialFilters(
        smooth=smooth,
        slope=slope,
        curve=inverse[0, 3] * smooth + inverse[3, 3] * square,
        slope_gain=float(inverse[1, 1]),
        cross_gain=float(inverse[5, 5]),
    )


def border_weights(height: int, width: int) -> np.ndarray:
    """Weigh the pixels near the edge down, where the fit leans on replicated ones.

    Args:
        height: Level height, px.
        width: Level width, px.

    Returns:
        `(height, width)` float32, 1 in the interior.
    """

    def ramp(size: int) -> np.ndarray:
        weights = np.ones(size, np.float32)
        weights[: len(BORDER_WEIGHTS)] *= BORDER_WEIGHTS
        weights[-len(BORDER_WEIGHTS) :] *= BORDER_WEIGHTS[::-1]
        return weights

    return np.outer(ramp(height), ramp(width))
