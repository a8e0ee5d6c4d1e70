"""Motion of a face relative to its head and to its own strength, whatever its unit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.layers.rgb_to_gray import Float32Layer
from casme_tf.layers.uv_strain import median, similarity_motion

BORDER = 2
"""Cells at each side that do not count for the strength: optical flow invents motion there."""

LARGEST = 8.0
"""Displacements beyond so many times the mean are cut."""

TYPICAL_STRAIN = 0.01
"""Mean strain that has the level 0, px per px: that of a micro-expression."""

_TINY = 1e-9


@keras.saving.register_keras_serializable(package="casme_tf")
class NormalizeMotion(Float32Layer):
    """Removes the head's motion, divides by the remaining strength, and outputs that strength.

    Neither the unit of the displacements nor the camera's distance matters afterwards: dx and dy
    may be in px of any frame. The head's motion (shift, turn, change of scale) is fitted robustly,
    so it makes no difference whether some of it was taken out before. The strain is computed
    again from the remaining motion. A still face would then look like a moving one, so a last
    channel holds the absolute strength: the mean strain, which has no unit. The number of px per
    cell that it needs follows from the strain in the input.

    Args:
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `(B, n, n, 3)` float32, n known and at least 8: dx and dy in px of the frame, and the
        strain's magnitude in px per px, as from `UVStrain`.

    Output shape:
        `(B, n, n, 6)` float32: dx and dy relative to the mean displacement, at most `LARGEST`;
        stretch along x, stretch along y and shear, a cell; and the level, the same in all cells:
        the logarithm to base 10 of the mean strain relative to `TYPICAL_STRAIN`, from −3 to 2.

    Raises:
        ValueError: If the input is not such a motion.

    Example:
        >>> motion = np.random.default_rng(0).uniform(size=(1, 28, 28, 3)).astype("float32")
        >>> same = NormalizeMotion()(motion)
        >>> other_unit = NormalizeMotion()(motion * [100, 100, 1])
        >>> bool(np.allclose(same, other_unit, atol=1e-4))
        True
    """

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) != 4 or input_shape[-1] != 3 or input_shape[1] != input_shape[2]:
            raise ValueError(
                "NormalizeMotion takes motion of shape (B, n, n, 3). "
                f"Received: shape {tuple(input_shape)}."
            )
        if input_shape[1] is None or input_shape[1] < 8:
            raise ValueError(
                "NormalizeMotion needs to know the side of the motion, at least 8 cells. "
                f"Received: shape {tuple(input_shape)}."
            )
        return (*input_shape[:-1], 6)

    def call(self, motion: Any) -> tf.Tensor:
        self.compute_output_shape(motion.shape)
        size = motion.shape[1]
        field = tf.transpose(motion[..., :2], [0, 3, 1, 2])  # (B, 2, n, n)
        given_slopes = _slopes(field)
        vectors = tf.reshape(field, [-1, 2, size * size])
        vectors -= median(vectors)
        # The robust fit has a smallest residual of its own, so the unit goes before it.
        unit = tf.reduce_mean(tf.abs(vectors), axis=(1, 2), keepdims=True) + _TINY
        vectors /= unit
        place = np.arange(size, dtype=np.float32) - (size - 1) / 2
        positions = np.stack(np.meshgrid(place, place)).reshape(2, -1).astype(np.float32)
        vectors -= similarity_motion(vectors, positions)
        field = tf.reshape(vectors, [-1, 2, size, size])
        inner = field[:, :, BORDER:-BORDER, BORDER:-BORDER]
        strength = tf.reduce_mean(tf.abs(inner), axis=(1, 2, 3), keepdims=True)
        field = tf.clip_by_value(field / (strength + 1e-6), -LARGEST, LARGEST)
        slopes = _slopes(field)
        # px of the frame a cell: strain a cell, as given in dx and dy, over the strain as given.
        per_cell = _mean_strain(given_slopes)
        given = tf.reduce_mean(
            motion[:, BORDER:-BORDER, BORDER:-BORDER, 2], axis=(1, 2), keepdims=True
        )[:, None]
        strain = _mean_strain(slopes) * strength * unit[..., None] * given / (per_cell + _TINY)
        level = tf.math.log(strain / TYPICAL_STRAIN + 1e-12) * np.float32(1 / np.log(10))
        level = tf.clip_by_value(level, -3.0, 2.0) * tf.ones_like(field[:, :1])
        return tf.transpose(tf.concat([field, slopes, level], axis=1), [0, 2, 3, 1])


def _slopes(field: tf.Tensor) -> tf.Tensor:
    """Return stretch along x, stretch along y and shear a cell, `(B, 3, n, n)`."""
    size = field.shape[-1]
    matrix = np.asarray(np.gradient(np.eye(size), axis=0), np.float32)
    along_x = field @ matrix.T
    along_y = tf.linalg.matrix_transpose(tf.linalg.matrix_transpose(field) @ matrix.T)
    shear = 0.5 * (along_y[:, :1] + along_x[:, 1:])
    return tf.concat([along_x[:, :1], along_y[:, 1:], shear], axis=1)


def _mean_strain(slopes: tf.Tensor) -> tf.Tensor:
    """Return the mean strain a cell away from the border, `(B, 1, 1, 1)`."""
    inner = tf.square(slopes[:, :, BORDER:-BORDER, BORDER:-BORDER])
    total = inner[:, :1] + inner[:, 1:2] + 2 * inner[:, 2:]
    return tf.reduce_mean(tf.sqrt(total), axis=(1, 2, 3), keepdims=True)
