"""The head's own motion in a flow field, told from the motion of parts of the face."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

REFITS = 5  # after the plain fit; with a third of the field moving on its own, 5 settle
TOLERANCE = 3.0  # times the median squared residual, where a vector's weight falls to a quarter
SMALLEST_RESIDUAL = 1e-3  # px; below it all vectors agree


def median(values: tf.Tensor) -> tf.Tensor:
    """Give the median along the last axis, as `numpy.median` defines it.

    Args:
        values: `(…, n)` float32, n known.

    Returns:
        `(…, 1)` float32; for even n the mean of the two values in the middle.
    """
    count = values.shape[-1]
    larger = tf.math.top_k(values, k=count // 2 + 1).values  # the larger half, falling
    if count % 2:
        return larger[..., -1:]
    return (larger[..., -2:-1] + larger[..., -1:]) * 0.5


def similarity_motion(vectors: tf.Tensor, positions: np.ndarray) -> tf.Tensor:
    """Fit a translation, a rotation and a change of scale to flow vectors, robustly.

    Least squares, repeated with the weight `1 / (1 + r² / s²)²` for a vector that is r px off,
    where s² is a multiple of the median of r². Parts that move on their own lose their say.

    Args:
        vectors: `(B, 2, n)` float32, dx and dy of n places, px.
        positions: `(2, n)` float32, x and y of these places, px.

    Returns:
        `(B, 2, n)` float32: the fitted motion at these places, px.

    Reference:
        M. J. Black and P. Anandan, "The Robust Estimation of Multiple Motions", CVIU 63(1), 1996;
        the weight is that of Geman and McClure's error norm.
    """
    weights = tf.ones_like(vectors[:, :1])  # (B, 1, n)
    for _ in range(REFITS):
        off = vectors - _fit(vectors, positions, weights)
        residual = tf.reduce_sum(off * off, axis=1, keepdims=True)  # (B, 1, n), px²
        spread = tf.maximum(TOLERANCE * median(residual), SMALLEST_RESIDUAL**2)
        weights = tf.square(spread / (spread + residual))
    return _fit(vectors, positions, weights)


def _fit(vectors: tf.Tensor, positions: np.ndarray, weights: tf.Tensor) -> tf.Tensor:
    """Fit `mean + zoom · p + turn · (p turned by 90°)` by weighted least squares."""
    weights /= tf.reduce_sum(weights, axis=2, keepdims=True)
    mean = tf.reduce_sum(weights * vectors, axis=2, keepdims=True)  # (B, 2, 1)
    # About their weighted centre the four unknowns do not depend on one another.
    p = positions - tf.reduce_sum(weights * positions, axis=2, keepdims=True)  # (B, 2, n)
    turned = tf.concat([-p[:, 1:], p[:, :1]], axis=1)
    weighted = weights * (vectors - mean)
    moment = _sum(weights * p * p)
    return mean + _sum(weighted * p) / moment * p + _sum(weighted * turned) / moment * turned


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=(1, 2), keepdims=True)
