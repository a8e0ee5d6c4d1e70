"""RGB frames to the gray frames that optical flow is computed on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Float32Layer(keras.layers.Layer):
    """A weightless layer that computes in float32 under every global dtype policy."""

    def __init__(self, **kwargs: Any) -> None:
        policy = keras.dtype_policies.get(kwargs.pop("dtype", None) or "float32")
        if policy.name != "float32":
            raise ValueError(f"{type(self).__name__} computes in float32. Received: {policy.name}.")
        kwargs |= {"dtype": "float32", "trainable": False, "autocast": False}
        super().__init__(**kwargs)


@keras.saving.register_keras_serializable(package="casme_tf")
class RGBToGray(Float32Layer):
    """Converts RGB to gray, bit for bit as `cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)` does on uint8.

    The fixed-point sum `(9798 R + 19235 G + 3735 B + 16384) >> 15` fits in the 24 bits of a
    float32, so it is exact here as well.

    Args:
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `(B, H, W, 3)` uint8, or float32 holding whole numbers; RGB, 0…255.

    Output shape:
        `(B, H, W, 1)` float32, whole numbers, 0…255.

    Raises:
        ValueError: If the input has another rank, number of channels or dtype.

    Example:
        >>> frames = np.full((1, 64, 64, 3), [255, 0, 0], "uint8")
        >>> float(RGBToGray()(frames)[0, 0, 0, 0])
        76.0

    Reference:
        OpenCV 5.0, color conversions, RGB to GRAY for 8-bit images.
    """

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) != 4 or input_shape[-1] != 3:
            raise ValueError(
                "RGBToGray takes RGB frames of shape (B, H, W, 3). "
                f"Received: shape {tuple(input_shape)}."
            )
        return (*input_shape[:-1], 1)

    def call(self, frames: Any) -> tf.Tensor:
        self.compute_output_shape(frames.shape)
        if frames.dtype not in (tf.uint8, tf.float32):
            raise ValueError(
                "RGBToGray takes uint8 frames, or float32 ones holding whole numbers. "
                f"Received: dtype {tf.as_dtype(frames.dtype).name}."
            )
        weights = np.array([9798, 19235, 3735], np.float32).reshape(1, 1, 3, 1) / 32768
        weighted = tf.nn.conv2d(tf.cast(frames, tf.float32), weights, strides=1, padding="VALID")
        return tf.floor(weighted + 0.5)
