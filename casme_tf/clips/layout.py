"""Where things are on a face once it is brought upright and to one size.

All positions here are px of an upright crop of `HEIGHT` × `WIDTH`, in which the eyes, as BlazeFace
marks them, lie `EYES` apart on one level with `MIDDLE` between them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from casme_tf.errors import UserError

REFITS = 5
TOLERANCE = 3.0
SMALLEST_RESIDUAL = 1e-3  # px

Affine = np.ndarray
"""`(2, 3)` float64: `x, y ↦ A[:, :2] @ (x, y) + A[:, 2]`."""


def fit_similarity(positions: np.ndarray, vectors: np.ndarray) -> Affine:
    """Fit a shift, a turn and a change of scale to motion vectors, robustly."""
    if len(positions) < 3:
        raise UserError(f"A similarity needs at least 3 places. Received: {len(positions)}.")
    weights = np.ones(len(positions))
    for _ in range(REFITS):
        found = _fit(positions, vectors, weights)
        off = vectors - displacement(found, positions)
        residual = (off * off).sum(axis=1)
        spread = max(TOLERANCE * float(np.median(residual)), SMALLEST_RESIDUAL**2)
        weights = (spread / (spread + residual)) ** 2
    return _fit(positions, vectors, weights)


def displacement(affine: Affine, positions: np.ndarray) -> np.ndarray:
    """Return how far a map moves places: `(n, 2)` px for places `(n, 2)`."""
    return apply(affine, positions) - positions


def apply(affine: Affine, positions: np.ndarray) -> np.ndarray:
    """Return where a map takes places `(n, 2)`."""
    return positions @ affine[:, :2].T + affine[:, 2]


def after(second: Affine, first: Affine) -> Affine:
    """Return the map that does `first`, then `second`."""
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )


def inverse(affine: Affine) -> Affine:
    """Return the map that undoes a map."""
    back = np.linalg.inv(affine[:, :2])
    return np.column_stack([back, -back @ affine[:, 2]])


def scale(affine: Affine) -> float:
    """Return by how much a similarity enlarges."""
    return float(np.hypot(affine[0, 0], affine[1, 0]))


def _fit(positions: np.ndarray, vectors: np.ndarray, weights: np.ndarray) -> Affine:
    weights = weights / weights.sum()
    center, mean = weights @ positions, weights @ vectors
    # About their weighted center the four unknowns do not depend on one another.
    p, v = positions - center, vectors - mean
    moment = weights @ (p * p).sum(axis=1)
    zoom = weights @ (p * v).sum(axis=1) / moment
    turn = weights @ (p[:, 0] * v[:, 1] - p[:, 1] * v[:, 0]) / moment
    linear = np.array([[1 + zoom, -turn], [turn, 1 + zoom]])
    return np.column_stack([linear, center + mean - linear @ center])


EYES = 96.0
"""Distance of the eyes, px. A face of CASME II, whose eyes are about 115 px apart, is made a little
smaller; what is finer than that is mostly noise."""

HEIGHT, WIDTH = 276, 252
MIDDLE = (126.0, 92.0)

CELL = 0.4
"""Side of one of the ten cells as a share of the eyes' distance: half the width of a mouth, which
is about 0.8 of that distance. BlazeFace marks no lip corners, so it cannot be measured."""

_STEP = 16.0  # px between points of the grid

# Shares of the eyes' distance: half axes of the ellipse that a lid moves in when it blinks, with
# what optical flow spreads around it.
_LID = (0.42, 0.25)
# The same without the latter.
_LID_SKIN = (0.34, 0.20)
_FACE = (1.0, 1.2)  # half axes of the face
_FACE_MIDDLE = 0.45  # below the eyes

_UPPER_EDGE, _LOWER_EDGE = -0.65, 1.45  # of the grid, from the eyes


def upright(keypoints: np.ndarray) -> Affine:
    """Return the map from a frame to the upright crop."""
    left, right = (np.asarray(keypoints[i], np.float64) for i in (0, 1))
    across = (right - left) / EYES
    square = float(across @ across)
    linear = np.array([[across[0], across[1]], [-across[1], across[0]]]) / square
    return np.column_stack([linear, np.array(MIDDLE) - linear @ ((left + right) / 2)])


@lru_cache(maxsize=1)
def skin_points() -> np.ndarray:
    """Return a grid of points on the face, away from where lids move, `(n, 2)` float32."""
    x = np.arange(MIDDLE[0] - EYES, MIDDLE[0] + EYES + 1, _STEP)
    y = np.arange(MIDDLE[1] + _UPPER_EDGE * EYES, MIDDLE[1] + _LOWER_EDGE * EYES, _STEP)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    kept = _in_face(points[:, 0], points[:, 1]) & ~_in_lids(points[:, 0], points[:, 1], _LID)
    points = points[kept].astype(np.float32)
    points.setflags(write=False)
    return points


@lru_cache(maxsize=1)
def face_mask() -> np.ndarray:
    """Return where the face is, `(HEIGHT, WIDTH)` bool."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = _in_face(x, y)
    mask.setflags(write=False)
    return mask


def ten_cells(keypoints: np.ndarray) -> list[np.ndarray]:
    """Return the ten cells in which a face moves most, without what lids move over."""
    nose, mouth = keypoints[2], keypoints[3]
    corner, outer = CELL * EYES, 0.75 * EYES
    brow = MIDDLE[1] - 0.3 * EYES
    places = [
        (mouth[0] - corner, mouth[1]),
        (mouth[0] + corner, mouth[1]),
        (mouth[0], mouth[1] + 0.45 * EYES),
        (mouth[0] - corner, nose[1]),
        (mouth[0] + corner, nose[1]),
        (MIDDLE[0] - outer, MIDDLE[1]),
        (MIDDLE[0] + outer, MIDDLE[1]),
        (MIDDLE[0] - 0.5 * EYES, brow),
        (MIDDLE[0], brow),
        (MIDDLE[0] + 0.5 * EYES, brow),
    ]
    half = CELL * EYES / 2
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    open_skin = ~_in_lids(x, y, _LID_SKIN)
    return [
        (np.abs(x - np.clip(at_x, half, WIDTH - 1 - half)) <= half)
        & (np.abs(y - np.clip(at_y, half, HEIGHT - 1 - half)) <= half)
        & open_skin
        for at_x, at_y in places
    ]


def _in_face(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across = (x - MIDDLE[0]) / (_FACE[0] * EYES)
    along = (y - MIDDLE[1] - _FACE_MIDDLE * EYES) / (_FACE[1] * EYES)
    return across**2 + along**2 < 1


def _in_lids(x: np.ndarray, y: np.ndarray, half_axes: tuple[float, float]) -> np.ndarray:
    inside = np.zeros(np.broadcast(x, y).shape, bool)
    for side in (-0.5, 0.5):
        across = (x - MIDDLE[0] - side * EYES) / (half_axes[0] * EYES)
        along = (y - MIDDLE[1]) / (half_axes[1] * EYES)
        inside |= across**2 + along**2 < 1
    return inside
