"""Similarity maps of the plane: how a head moved, told apart from what moves on its own."""

from __future__ import annotations

import numpy as np

from casme_tf.errors import UserError

REFITS = 5
TOLERANCE = 3.0
SMALLEST_RESIDUAL = 1e-3  # px

Affine = np.ndarray
"""`(2, 3)` float64: `x, y ↦ A[:, :2] @ (x, y) + A[:, 2]`."""


def fit_similarity(positions: np.ndarray, vectors: np.ndarray) -> Affine:
    """Fit a shift, a turn and a change of scale to motion vectors, robustly.

    The same fit as `layers.head_motion.similarity_motion`, for one frame and without TensorFlow:
    least squares, repeated with a weight that takes their say from parts that move on their own.

    Args:
        positions: `(n, 2)` x and y of n places, px.
        vectors: `(n, 2)` how far each moved, px, right and down.

    Returns:
        The map from where places were to where the head took them.

    Raises:
        UserError: If there are fewer than three places.

    Example:
        >>> places = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
        >>> fit_similarity(places, np.tile([2.0, -1.0], (4, 1))).round(6).tolist()
        [[1.0, -0.0, 2.0], [0.0, 1.0, -1.0]]
    """
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
    centre, mean = weights @ positions, weights @ vectors
    # About their weighted centre the four unknowns do not depend on one another.
    p, v = positions - centre, vectors - mean
    moment = weights @ (p * p).sum(axis=1)
    zoom = weights @ (p * v).sum(axis=1) / moment
    turn = weights @ (p[:, 0] * v[:, 1] - p[:, 1] * v[:, 0]) / moment
    linear = np.array([[1 + zoom, -turn], [turn, 1 + zoom]])
    return np.column_stack([linear, centre + mean - linear @ centre])
