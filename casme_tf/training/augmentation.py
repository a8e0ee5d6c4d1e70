"""Random changes to a clip that keep its meaning: one change for both frames, or for the flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

__all__ = ["Augmentation"]

Flow = TypeVar("Flow", np.ndarray, tf.Tensor)


@dataclass(frozen=True)
class Augmentation:
    """Ranges that changes are drawn from, uniformly, once a clip and epoch.

    Attributes:
        mirror: Mirror left and right in half of the cases.
        shift: Largest shift, as a share of the side.
        rotation: Largest rotation, degrees.
        scale: Largest relative change of size.
        brightness: Largest relative change of brightness, common to both frames.
    """

    mirror: bool = True
    shift: float = 0.05
    rotation: float = 5.0
    scale: float = 0.05
    brightness: float = 0.1

    def draw(self, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw the linear maps and shifts of `count` clips, `(B, 2, 3)` float32."""
        draws = tf.random.stateless_uniform([count, 5], seed, -1.0, 1.0)
        angle = draws[:, 0] * self.rotation * math.pi / 180
        size = 1 + draws[:, 1] * self.scale
        flip = tf.where((draws[:, 2] < 0) & self.mirror, -1.0, 1.0)
        cos, sin = size * tf.cos(angle), size * tf.sin(angle)
        shift = draws[:, 3:] * self.shift
        rows = [cos * flip, -sin, shift[:, 0], sin * flip, cos, shift[:, 1]]
        return tf.reshape(tf.stack(rows, axis=1), [-1, 2, 3])


def augment_pair(
    pair: dict[str, tf.Tensor], augmentation: Augmentation, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Change both frames of each clip in the same way."""
    count = tf.shape(pair["onset"])[0]
    maps = augmentation.draw(count, seed)
    gain = 1 + augmentation.brightness * tf.random.stateless_uniform(
        [count, 1, 1, 1], seed + 1, -1.0, 1.0
    )
    return {name: tf.clip_by_value(move(x, maps) * gain, 0, 255) for name, x in pair.items()}


def augment_flow(flow: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Change a flow field as it would have changed had the frames been changed."""
    maps = augmentation.draw(tf.shape(flow)[0], seed)
    moved = move(flow, maps)
    vectors = tf.einsum("bij,bhwj->bhwi", maps[:, :, :2], moved[..., :2])
    return tf.concat([vectors, moved[..., 2:]], axis=-1)


def vary(arrays: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Change clips at random within the default ranges: pairs as frames, others as flow."""
    if arrays.keys() == {"onset", "apex"}:
        return augment_pair(arrays, Augmentation(), seed)
    return {name: augment_flow(flow, Augmentation(), seed) for name, flow in arrays.items()}


def mirror(flow: Flow) -> Flow:
    """Mirror a flow field left and right, as if both frames had been mirrored."""
    if len(flow.shape) < 3 or flow.shape[-1] not in (2, 3):
        raise ValueError(
            "flow must have the shape (…, H, W, 2), or (…, H, W, 3) with strain. "
            f"Received: shape {tuple(flow.shape)}."
        )
    return flow[..., ::-1, :] * np.array([-1, 1, 1][: flow.shape[-1]], np.float32)


def move(images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Move images by affine maps, bilinearly; the border is repeated where nothing is known."""
    side = tf.cast(tf.shape(images)[1], tf.float32)
    center = (side - 1) / 2
    inverse = tf.linalg.inv(maps[:, :, :2])
    # The operator takes the place each output pixel comes from, in pixels from the corner.
    shift = maps[:, :, 2] * side + center
    offset = center - tf.linalg.matvec(inverse, shift)
    transforms = tf.concat(
        [inverse[:, 0], offset[:, :1], inverse[:, 1], offset[:, 1:], tf.zeros_like(offset)], axis=1
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
