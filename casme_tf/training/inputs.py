"""What networks are trained on: motion, features or images, computed once per clip.

Images are changed at random as well, in ways that keep a clip's meaning: one change for both
frames, or for the flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from casme_tf.arrays import Inputs
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray, UVStrain
from casme_tf.models.resnet50 import fold_batch_norm, resnet50_backbone
from casme_tf.progress import progress

__all__ = [
    "Augmentation",
]

_FLOWS, _IMAGES = 8, 16  # a batch


class ClipInputs:
    """Inputs of networks for all clips; each kind is computed at its first use, and kept."""

    def __init__(
        self,
        frames: dict[str, np.ndarray],
        *,
        network_size: int = 224,
        weights: str = "imagenet",
        head_motion: str | None = "median",
        mirrored: bool = True,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        self.frames = frames
        self.network_size = network_size
        self.weights = weights
        self.head_motion = head_motion
        self.mirrored = mirrored
        self.seed = seed
        self.workers = workers

    @property
    def numbers(self) -> Inputs:
        """`clip`: `(n, 1)` number of each clip, for models that look at nothing."""
        count = len(next(iter(self.frames.values())))
        return {"clip": np.arange(count)[:, None]}

    @cached_property
    def uv_strain(self) -> Inputs:
        """`motion`: `(n, 28, 28, 3)` dx, dy in px of the frames, and strain in px per px."""
        if "motion" in self.frames:  # published as such
            return {"motion": self.frames["motion"]}
        layer = UVStrain(head_motion=self.head_motion)
        if "flow" in vars(self):  # another network needed it
            return {"motion": self._in_batches(layer, self.flow, _FLOWS, "strain")}
        # A hundredth of the flow's size: the flow of all clips may not fit into memory.
        of_pair, pair = self._flow_of_pair, (self.frames["onset"], self.frames["apex"])
        return {"motion": self._in_batches(lambda *x: layer(of_pair(*x)), pair, _FLOWS, "motion")}

    @cached_property
    def flow_features(self) -> Inputs:
        """`flow`: `(n, copies, 2048)`: the backbone on each clip's flow, drawn in color."""
        resize = keras.layers.Resizing(self.network_size, self.network_size)
        draw = FlowToColor(whole_numbers=False)

        def image(flow: tf.Tensor) -> tf.Tensor:
            return draw(resize(flow))

        return {"flow": self._features(image, self.flow, mirror_flow, "flow features")}

    @cached_property
    def frame_features(self) -> Inputs:
        """`onset`, `apex`: `(n, copies, 2048)`: the backbone on each frame, as `flow_features`."""
        resize = keras.layers.Resizing(self.network_size, self.network_size)

        def image(frames: tf.Tensor) -> tf.Tensor:
            return resize(tf.cast(frames, tf.float32))

        return {
            name: self._features(image, frames, mirror_frames, f"{name} features")
            for name, frames in self.frames.items()
        }

    @property
    def flow_images(self) -> Inputs:
        """`flow`: `(n, N, N, 2)` flow at the size that a backbone sees, px of the frames."""
        resize = keras.layers.Resizing(self.network_size, self.network_size)
        same = self.network_size == self.flow.shape[1]
        return {"flow": self.flow if same else self._in_batches(resize, self.flow, 64, "resizing")}

    @property
    def frame_images(self) -> Inputs:
        """`onset`, `apex`: `(n, N, N, 3)` float32 frames at the size that a backbone sees."""
        resize = keras.layers.Resizing(self.network_size, self.network_size)
        return {
            name: self._in_batches(
                lambda x: resize(tf.cast(x, tf.float32)), frames, 64, f"resizing {name}"
            )
            for name, frames in self.frames.items()
        }

    def mirror(self, kind: str) -> Callable[[Inputs], Inputs]:
        """Return the function that mirrors inputs of a kind left and right."""
        return swap_copies if kind.endswith("features") else mirror_motion

    @cached_property
    def flow(self) -> np.ndarray:
        """`(n, S, S, 2)` float32 optical flow, px of the frames, dx right, dy down."""
        pair = self.frames["onset"], self.frames["apex"]
        return self._in_batches(self._flow_of_pair, pair, _FLOWS, "optical flow")

    @cached_property
    def _flow_of_pair(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        gray, flow = RGBToGray(), FarnebackFlow()
        # The number of clips is left open: the last batch is smaller.
        frames = tf.TensorSpec((None, *self.frames["onset"].shape[1:]), tf.uint8)

        @tf.function(input_signature=[frames, frames])
        def of_pair(onset: tf.Tensor, apex: tf.Tensor) -> tf.Tensor:
            return flow([gray(onset), gray(apex)])

        return of_pair

    @cached_property
    def backbone(self) -> keras.Model:
        """ResNet50 with its weights, frozen."""
        keras.utils.set_random_seed(self.seed)
        return resnet50_backbone(self.network_size, self.weights, frozen=True)

    @cached_property
    def _traced_backbone(self) -> Callable[[tf.Tensor], tf.Tensor]:
        backbone = fold_batch_norm(self.backbone)
        images = tf.TensorSpec((None, self.network_size, self.network_size, 3), tf.float32)
        return tf.function(lambda x: backbone(x, training=False), input_signature=[images])

    def _features(
        self,
        image: Callable[[tf.Tensor], tf.Tensor],
        arrays: np.ndarray,
        mirror_arrays: Callable[[np.ndarray], np.ndarray],
        title: str,
    ) -> np.ndarray:
        def embed(batch: tf.Tensor) -> tf.Tensor:
            return self._traced_backbone(image(batch))

        features = [self._in_batches(embed, arrays, _IMAGES, title)]
        if self.mirrored:
            features.append(
                self._in_batches(embed, mirror_arrays(arrays), _IMAGES, f"{title}, mirrored")
            )
        return np.stack(features, axis=1)

    def _in_batches(
        self,
        function: Callable[..., tf.Tensor],
        arrays: np.ndarray | tuple[np.ndarray, ...],
        size: int,
        title: str,
    ) -> np.ndarray:
        """Apply a function of tensors to all clips, some at a time."""
        arrays = arrays if isinstance(arrays, tuple) else (arrays,)
        starts = range(0, len(arrays[0]), size)

        def apply(start: int) -> np.ndarray:
            return function(*(tf.constant(a[start : start + size]) for a in arrays)).numpy()

        with ThreadPoolExecutor(self.workers) as pool:
            parts = progress(pool.map(apply, starts), total=len(starts), desc=title, unit="batch")
            return np.concatenate(list(parts))


def mirror_frames(frames: np.ndarray) -> np.ndarray:
    """Mirror frames `(n, H, W, 3)` left and right."""
    return frames[:, :, ::-1]


def mirror_motion(inputs: Inputs) -> Inputs:
    """Mirror flow fields, with or without strain; see `mirror_flow`."""
    return {name: mirror_flow(motion) for name, motion in inputs.items()}


def swap_copies(inputs: Inputs) -> Inputs:
    """Put the features of the mirrored clip in front, where models look."""
    return {name: features[:, ::-1] for name, features in inputs.items()}


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


def mirror_flow(flow: Flow) -> Flow:
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
