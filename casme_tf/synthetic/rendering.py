"""From a portrait and a motion to the frames of a clip."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from casme_tf.synthetic.motion import Motion
from casme_tf.synthetic.person import FRAME_SIZE
from casme_tf.synthetic.portrait import SCALE, Portrait

NOISE = 1.2
"""Standard deviation of the sensor's noise, grey levels."""

FLICKER = 0.004
"""Amplitude of the light's flicker, as a share of the light."""


def render_clip(
    portrait: Portrait, motion: Motion, rng: np.random.Generator, noise: float = NOISE
) -> Iterator[np.ndarray]:
    """Render the frames of a clip.

    Args:
        portrait: The person, with a neutral face.
        motion: How the person moves.
        rng: Source of chance for the light and the sensor's noise.
        noise: Standard deviation of the sensor's noise, grey levels. Default: `NOISE`.

    Yields:
        `(480, 640, 3)` uint8, RGB, one frame after another.
    """
    to_portrait = cv2.invertAffineTransform(motion.pose) * SCALE
    to_portrait[:, 2] += 0.5 * SCALE - 0.5
    exposure = 1 + 0.03 * rng.uniform(-1, 1)
    phase, period = rng.uniform(0, 2 * math.pi), rng.uniform(3, 9)
    # Each frame takes another stretch of one long noise: fresh normals would cost a third of all.
    values = FRAME_SIZE[0] * FRAME_SIZE[1] * 3
    grain = np.float32(noise) * rng.standard_normal(3 * values, np.float32)
    for frame in range(motion.frames):
        points = cv2.transform(motion.backward_map(frame), to_portrait)
        layer = cv2.remap(
            portrait.layer, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        picture = portrait.wall * (1 - layer[..., 3:])
        picture += layer[..., :3]
        flicker = FLICKER * (math.sin(phase + 2 * math.pi * frame / period) + 0.5 * rng.normal())
        picture *= np.float32(exposure * (1 + flicker))
        start = rng.integers(2 * values)
        picture += grain[start : start + values].reshape(picture.shape)
        yield cv2.add(picture, 0, dtype=cv2.CV_8U)  # Rounds, and clips to 0…255.
