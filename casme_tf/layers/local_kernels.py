"""Gaussian kernels between images, region by region."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.layers.colors import Float32Layer

__all__ = ["LocalKernels"]

BLOCK = 4
"""Side of a block, cells; regions are squares of blocks, and begin at every block."""

SCALES = (2, 4)
"""Sides of regions, blocks; one more region is the whole image."""


def blocks_of(images: Any) -> tf.Tensor:
    """Cut images `(B, size, size, C)` into blocks, `(size / 4 · size / 4, B, 16 C)`."""
    size, channels = images.shape[1], images.shape[3]
    cut = tf.nn.space_to_depth(images, BLOCK)
    flat = tf.reshape(cut, [-1, (size // BLOCK) ** 2, BLOCK * BLOCK * channels])
    return tf.transpose(flat, [1, 0, 2])


def local_kernels(images: Any, known: Any) -> tf.Tensor:
    """Compare images with the blocks of known ones.

    Args:
        images: `(B, size, size, C)` float32.
        known: `blocks_of` some images.

    Returns:
        `(B, n)` float32: `mean_r exp(-mean_r |x - c|²)`, where the squared difference is averaged
        over the cells and channels of a region, and its Gaussian over the regions of a size and
        over the sizes.
    """
    side = images.shape[1] // BLOCK
    blocks = blocks_of(images)
    products = tf.matmul(blocks, known, transpose_b=True)  # (blocks, B, n)
    squares = tf.reduce_sum(blocks**2, axis=2)[:, :, None] + tf.reduce_sum(known**2, 2)[:, None]
    distances = tf.transpose(squares - 2 * products, [1, 0, 2]) / blocks.shape[2]
    distances = tf.reshape(distances, [-1, side, side, known.shape[1]])
    scales = sorted({scale for scale in SCALES if scale < side} | {side})
    regions = [tf.nn.avg_pool2d(distances, scale, 1, "VALID") for scale in scales]
    kernels = [tf.reduce_mean(tf.exp(-tf.maximum(x, 0.0)), axis=[1, 2]) for x in regions]
    return tf.add_n(kernels) / len(scales)


@keras.saving.register_keras_serializable(package="casme_tf")
class LocalKernels(Float32Layer):
    """Compares images with known ones, region by region, and adds up what those stand for.

    What moves in one part of the face counts whatever another part does: the kernel is the mean of
    Gaussian kernels of regions of 8 × 8 and 16 × 16 cells, every 4 cells, and of the whole. The
    output is the kernel with each of `count` known images, times their coefficients.

    Args:
        count: Number of known images.
        outputs: Numbers that each of them stands for.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `(B, size, size, C)` float32; size a multiple of 4, at least 8.

    Output shape:
        `(B, outputs)` float32.

    Example:
        >>> images = np.stack([np.zeros((8, 8, 3)), np.ones((8, 8, 3))]).astype("float32")
        >>> layer = LocalKernels(2, 1)
        >>> _ = layer(images)
        >>> layer.know(images, [[1.0], [0.0]])
        >>> np.allclose(layer(images), [[1.0], [np.exp(-1)]])  # the second is at a distance of 1
        True
    """

    def __init__(self, count: int, outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        self.outputs = outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "outputs": self.outputs}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        size, channels = input_shape[1], input_shape[3]
        if size is None or channels is None or size % BLOCK or size < 2 * BLOCK:
            raise ValueError(
                "LocalKernels takes images of a side that is a multiple of 4, at least 8. "
                f"Received: shape {tuple(input_shape)}."
            )
        shapes = {
            "blocks": ((size // BLOCK) ** 2, self.count, BLOCK * BLOCK * channels),
            "coefficients": (self.count, self.outputs),
        }
        self.blocks, self.coefficients = (
            self.add_weight(name=name, shape=shape, trainable=False)
            for name, shape in shapes.items()
        )

    def know(self, images: np.ndarray, coefficients: np.ndarray) -> None:
        """Take known images `(count, size, size, C)` and their coefficients `(count, outputs)`."""
        blocks = blocks_of(tf.constant(images, tf.float32)).numpy()
        self.set_weights([blocks, np.asarray(coefficients, np.float32)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.outputs)

    def call(self, images: Any) -> tf.Tensor:
        known = tf.convert_to_tensor(self.blocks)
        return local_kernels(images, known) @ tf.convert_to_tensor(self.coefficients)
