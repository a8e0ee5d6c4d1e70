"""Where things are on a face once it is brought upright and to one size.

All positions here are px of an upright crop of `HEIGHT` × `WIDTH`, in which the eyes, as BlazeFace
marks them, lie `EYES` apart on one level with `MIDDLE` between them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from casme_tf.clips.similarity import Affine

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
    """Return the map from a frame to the upright crop.

    Args:
        keypoints: `(6, 2)` of a `detector.Face`, px.

    Returns:
        A similarity.

    Example:
        >>> eyes = np.array([[280.0, 230.0], [376.0, 230.0], [0, 0], [0, 0], [0, 0], [0, 0]])
        >>> (upright(eyes) + 0.0).tolist()
        [[1.0, 0.0, -202.0], [0.0, 1.0, -138.0]]
    """
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
    """Return the ten cells in which a face moves most, without what lids move over.

    Two lip corners, the chin, two beside the nose above the lip corners, the outer eyes, and the
    left, centre and right brow; each a square of `CELL`.

    Args:
        keypoints: `(6, 2)` of a `detector.Face` in the upright crop, px.

    Returns:
        Ten masks `(HEIGHT, WIDTH)` bool.

    Source: Van Quang, Chun, Tokuyama, CapsuleNet for Micro-Expression Recognition, FG 2019.
    """
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
