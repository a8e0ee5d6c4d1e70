"""Optical flow to a small image of dx, dy and optical strain, and that image without its units."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.layers.colors import Float32Layer

__all__ = ["NormalizeMotion", "UVStrain"]

REFITS = 5  # after the plain fit; with a third of the field moving on its own, 5 settle
TOLERANCE = 3.0  # times the median squared residual, where a vector's weight falls to a quarter
SMALLEST_RESIDUAL = 1e-3  # px; below it all vectors agree


def median(values: tf.Tensor) -> tf.Tensor:
    """Give the median along the last axis, as `numpy.median` defines it, `(…, 1)` float32."""
    count = values.shape[-1]
    larger = tf.math.top_k(values, k=count // 2 + 1).values  # the larger half, falling
    if count % 2:
        return larger[..., -1:]
    return (larger[..., -2:-1] + larger[..., -1:]) * 0.5


def similarity_motion(vectors: tf.Tensor, positions: np.ndarray) -> tf.Tensor:
    """Fit a translation, a rotation and a change of scale to flow vectors, robustly."""
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
    # About their weighted center the four unknowns do not depend on one another.
    p = positions - tf.reduce_sum(weights * positions, axis=2, keepdims=True)  # (B, 2, n)
    turned = tf.concat([-p[:, 1:], p[:, :1]], axis=1)
    weighted = weights * (vectors - mean)
    moment = _sum(weights * p * p)
    return mean + _sum(weighted * p) / moment * p + _sum(weighted * turned) / moment * turned


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=(1, 2), keepdims=True)


HEAD_MOTIONS = ("median", "similarity", None)


@keras.saving.register_keras_serializable(package="casme_tf")
class UVStrain(Float32Layer):
    """Averages optical flow down, takes the head's motion out, and adds the optical strain.

    In this order: the flow is averaged over the areas of `size` × `size` cells; the head's motion,
    estimated from the cells, is subtracted; the strain is that of the field then left, by central
    differences between cells. Its magnitude is `sqrt(ε_xx² + ε_yy² + ε_xy² + ε_yx²)` with
    `ε = (∇f + ∇fᵀ) / 2`. A magnitude turns noise into a positive value that no later averaging
    takes away, so averaging comes first. Nothing is scaled by the image itself: sign and strength
    of the motion are kept.

    Args:
        size: Side of the output, cells, at least 2. Default 28.
        head_motion: What to subtract: `"median"` (default) the median of dx and that of dy over
            the cells; `"similarity"` a robust fit of translation, rotation and change of scale;
            `None` nothing.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `(B, H, W, 2)` float32, px, dx right, dy down; H and W known, each at least `size`.

    Output shape:
        `(B, size, size, 3)` float32: dx and dy in px of the input, and the strain's magnitude in
        px per px of the input, whatever `size` is.

    Raises:
        ValueError: If an argument is out of range, or the input is not such a flow.

    Example:
        >>> x = np.arange(64, dtype="float32")
        >>> flow = np.zeros((1, 64, 64, 2), "float32")
        >>> flow[..., 0] = 2 + 0.25 * x  # to the right, and stretched by a quarter
        >>> dx, dy, strain = np.moveaxis(UVStrain(size=4)(flow).numpy(), -1, 0)
        >>> dx[0, 0], strain[0, 0]
        (array([-6., -2.,  2.,  6.], dtype=float32), array([0.25, 0.25, 0.25, 0.25], dtype=float32))

    Reference:
        M. Shreve et al., "Macro- and micro-expression spotting in long videos using
        spatio-temporal strain", FG 2011; S.-T. Liong et al., "Shallow Triple Stream
        Three-dimensional CNN (STSTNet) for Micro-expression Recognition", FG 2019.
    """

    def __init__(self, size: int = 28, head_motion: str | None = "median", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(size, int) or size < 2:
            raise ValueError(f"size must be a whole number, at least 2. Received: {size}.")
        if head_motion not in HEAD_MOTIONS:
            raise ValueError(
                f"head_motion must be 'median', 'similarity' or None. Received: {head_motion!r}."
            )
        self.size = size
        self.head_motion = head_motion

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "head_motion": self.head_motion}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) != 4 or input_shape[-1] != 2:
            raise ValueError(
                "UVStrain takes optical flow of shape (B, H, W, 2). "
                f"Received: shape {tuple(input_shape)}."
            )
        if any(side is None or side < self.size for side in input_shape[1:3]):
            raise ValueError(
                "UVStrain needs to know the height and the width of the flow, each at least its "
                f"size of {self.size} px. Received: shape {tuple(input_shape)}."
            )
        return (input_shape[0], self.size, self.size, 3)

    def call(self, flow: Any) -> tf.Tensor:
        self.compute_output_shape(flow.shape)
        if flow.dtype != tf.float32:
            raise ValueError(
                f"UVStrain takes float32 flow. Received: dtype {tf.as_dtype(flow.dtype).name}."
            )
        _, height, width, _ = flow.shape
        down, across = _area_matrix(height, self.size), _area_matrix(width, self.size)
        # Where the centers of the averaged pixels lie: with sides that `size` does not divide,
        # not quite evenly spaced.
        y, x = down @ np.arange(height), across @ np.arange(width)  # px
        field = tf.transpose(flow, [0, 3, 1, 2])  # (B, 2, H, W)
        field = _columns(_rows(field, across), down)  # (B, 2, size, size)
        field -= self._head_motion(field, x, y)
        strain = _strain(field, x, y)  # (B, 1, size, size)
        return tf.transpose(tf.concat([field, strain], axis=1), [0, 2, 3, 1])

    def _head_motion(self, field: tf.Tensor, x: np.ndarray, y: np.ndarray) -> tf.Tensor | float:
        """Estimate the head's motion: `(B, 2, size, size)` or what can be subtracted from it."""
        if self.head_motion is None:
            return 0.0
        vectors = tf.reshape(field, [-1, 2, self.size**2])
        if self.head_motion == "median":
            return median(vectors)[..., None]
        # From the middle, where float32 is finest.
        positions = np.stack(np.meshgrid(x - x.mean(), y - y.mean())).astype(np.float32)
        motion = similarity_motion(vectors, positions.reshape(2, -1))
        return tf.reshape(motion, [-1, 2, self.size, self.size])


def _strain(field: tf.Tensor, x: np.ndarray, y: np.ndarray) -> tf.Tensor:
    """Magnitude of the strain `(B, 1, size, size)` of a field in px at places in px."""
    along_x, along_y = _rows(field, _gradient_matrix(x)), _columns(field, _gradient_matrix(y))
    stretch = tf.square(along_x[:, :1]) + tf.square(along_y[:, 1:])
    shear = along_y[:, :1] + along_x[:, 1:]  # 2 ε_xy
    return tf.sqrt(stretch + 0.5 * tf.square(shear))


def _rows(planes: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    """Apply a matrix to every row of `(B, C, h, w)` planes."""
    return planes @ matrix.T.astype(np.float32)


def _columns(planes: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    """Apply a matrix to every column of `(B, C, h, w)` planes."""
    return tf.transpose(_rows(tf.transpose(planes, [0, 1, 3, 2]), matrix), [0, 1, 3, 2])


def _gradient_matrix(places: np.ndarray) -> np.ndarray:
    """Differentiate along one axis: central differences, one-sided at the ends."""
    return np.asarray(np.gradient(np.eye(len(places)), places, axis=0))


def _area_matrix(size: int, new_size: int) -> np.ndarray:
    """Average one axis over cells of equal length, counting pixels by their share in a cell."""
    edges = np.arange(new_size + 1)[:, None] * (size / new_size)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return overlap.clip(0) / (size / new_size)


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
    matrix = _gradient_matrix(np.arange(field.shape[-1]))
    along_x, along_y = _rows(field, matrix), _columns(field, matrix)
    shear = 0.5 * (along_y[:, :1] + along_x[:, 1:])
    return tf.concat([along_x[:, :1], along_y[:, 1:], shear], axis=1)


def _mean_strain(slopes: tf.Tensor) -> tf.Tensor:
    """Return the mean strain a cell away from the border, `(B, 1, 1, 1)`."""
    inner = tf.square(slopes[:, :, BORDER:-BORDER, BORDER:-BORDER])
    total = inner[:, :1] + inner[:, 1:2] + 2 * inner[:, 2:]
    return tf.reduce_mean(tf.sqrt(total), axis=(1, 2, 3), keepdims=True)
