"""Frames to gray for optical flow, and flow to a color image that an ImageNet backbone can read."""

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


HUES = 180  # an 8-bit hue of OpenCV counts in steps of two degrees

# OpenCV's arc tangent in degrees, an odd polynomial on [0, 1].
ARC_TANGENT = np.rad2deg(
    [0.9997878412794807, -0.3258083974640975, 0.1555786518463281, -0.04432655554792128]
).astype(np.float32)


@keras.saving.register_keras_serializable(package="casme_tf")
class FlowToColor(Float32Layer):
    """Codes optical flow as color: direction is the hue, speed is the brightness.

    Hue is `angle · 180 / π / 2`, saturation 255, value the magnitude scaled to 0…255; then HSV
    becomes RGB. With `whole_numbers` hue, value and colors are cut to whole numbers on the way,
    all of it as OpenCV does on 8 bits.

    Args:
        max_magnitude: The magnitude in px that is drawn at full brightness; larger ones are drawn
            the same. `None` (default) scales each image by its own smallest and largest magnitude,
            as `cv2.normalize(…, cv2.NORM_MINMAX)` does: that erases how strong the motion was.
        whole_numbers: Cut to 8 bits (default). If false, a color changes as little as the flow
            does, where a cut turns a difference in the last bit into a whole step of hue.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `(B, H, W, 2)` float32, px, dx right, dy down.

    Output shape:
        `(B, H, W, 3)` float32, RGB, 0…255. An image of constant magnitude is black
        unless `max_magnitude` is given.

    Raises:
        ValueError: If `max_magnitude` is not positive, or the input is not such a flow.

    Example:
        >>> right = np.zeros((1, 64, 64, 2), "float32")
        >>> right[..., 0] = 1.5
        >>> FlowToColor(max_magnitude=3.0)(right)[0, 0, 0].numpy()
        array([127.,   0.,   0.], dtype=float32)

    Reference:
        OpenCV 5.0: `cartToPolar`, `normalize`, `cvtColor` with `COLOR_HSV2RGB`.
    """

    def __init__(
        self, max_magnitude: float | None = None, whole_numbers: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if max_magnitude is not None and not 0 < max_magnitude < float("inf"):
            raise ValueError(
                "max_magnitude must be a positive number of px, or None. "
                f"Received: {max_magnitude}."
            )
        self.max_magnitude = max_magnitude
        self.whole_numbers = bool(whole_numbers)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_magnitude": self.max_magnitude,
            "whole_numbers": self.whole_numbers,
        }

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) != 4 or input_shape[-1] != 2:
            raise ValueError(
                "FlowToColor takes optical flow of shape (B, H, W, 2). "
                f"Received: shape {tuple(input_shape)}."
            )
        return (*input_shape[:-1], 3)

    def call(self, flow: Any) -> tf.Tensor:
        self.compute_output_shape(flow.shape)
        if flow.dtype != tf.float32:
            raise ValueError(
                f"FlowToColor takes float32 flow. Received: dtype {tf.as_dtype(flow.dtype).name}."
            )
        dx, dy = flow[..., 0], flow[..., 1]  # (B, H, W)
        hue = _angle(dx, dy) * np.float32(0.5)
        value = self._brightness(tf.sqrt(dx * dx + dy * dy))
        if not self.whole_numbers:
            return value[..., None] * _mix(hue)
        hue, value = tf.floor(hue), tf.floor(value)
        mixture = tf.gather(_pure_colors(), tf.cast(hue, tf.int32))  # (B, H, W, 3), 0…1
        # In this order, because cutting makes the last bit of a product visible.
        return tf.floor((value * np.float32(1 / 255))[..., None] * mixture * np.float32(255))

    def _brightness(self, magnitude: tf.Tensor) -> tf.Tensor:
        if self.max_magnitude is not None:
            return tf.minimum(magnitude * np.float32(255 / self.max_magnitude), np.float32(255))
        smallest = tf.reduce_min(magnitude, axis=(1, 2), keepdims=True)
        span = tf.reduce_max(magnitude, axis=(1, 2), keepdims=True) - smallest
        # cv2.normalize takes a span up to the float64 epsilon for none.
        scale = tf.where(span > np.finfo(np.float64).eps, 255 / tf.maximum(span, 1e-30), 0.0)
        return (magnitude - smallest) * scale


def _angle(dx: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Direction of the vector in degrees, 0…360, clockwise from the right as y points down."""
    across, down = tf.abs(dx), tf.abs(dy)
    longer, shorter = tf.maximum(across, down), tf.minimum(across, down)
    ratio = shorter / (longer + np.float32(np.finfo(np.float64).eps))
    square = ratio * ratio
    first, third, fifth, seventh = ARC_TANGENT
    angle = (((seventh * square + fifth) * square + third) * square + first) * ratio
    angle = tf.where(across < down, 90 - angle, angle)
    angle = tf.where(dx < 0, 180 - angle, angle)
    return tf.where(dy < 0, 360 - angle, angle)


def _mix(hue: tf.Tensor) -> tf.Tensor:
    """Shares of red, green and blue, `(…, 3)`, of any fully saturated hue from 0 to `HUES`."""
    position = hue[..., None] * np.float32(6 / HUES)  # (…, 1), 0…6
    distance = tf.abs(position - np.array([3, 2, 4], np.float32))  # (…, 3)
    shares = tf.clip_by_value(distance * np.array([1, -1, -1], np.float32), -2, 2)
    return tf.clip_by_value(shares + np.array([-1, 2, 2], np.float32), 0, 1)


def _pure_colors() -> np.ndarray:
    """Shares of red, green and blue, `(HUES + 1, 3)`, of a fully saturated 8-bit hue."""
    position = np.arange(HUES + 1, dtype=np.float32) * np.float32(6 / HUES)
    sector = np.floor(position).astype(int) % 6
    rising = position - np.floor(position)
    falling = 1 - rising
    # OpenCV gets the rising share as 1 - (1 - rising), and its rounding is kept.
    one, none, rising = np.ones_like(rising), np.zeros_like(rising), 1 - falling
    red = np.choose(sector, [one, falling, none, none, rising, one])
    green = np.choose(sector, [rising, one, one, falling, none, none])
    blue = np.choose(sector, [none, none, rising, one, one, falling])
    return np.stack([red, green, blue], axis=-1)
