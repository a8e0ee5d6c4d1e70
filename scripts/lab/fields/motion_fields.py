"""Drawn fields of motion, as `UVStrain` gives them of a pair of frames, with what is true of them.

Nothing is rendered: displacement, crop and the faults of optical flow are drawn on the 28 × 28
cells themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from casme_tf.datasets.motion_images import strain
from scripts.lab.fields.flow_faults import estimate
from scripts.lab.fields.ingredients import Ingredients
from scripts.lab.fields.scenes import Scenes, draw_scenes

SIZE = 28
"""Side of a field, cells."""

NOISE = (0.008, 0.25)
"""Root mean square of the noise of optical flow, px, evenly spread in its logarithm."""


@dataclass(frozen=True)
class MotionFields:
    """n fields of motion.

    Attributes:
        motion: `(n, 28, 28, 3)` float32: dx, dy in px of a crop of 224 px, the head's motion left
            in, and the magnitude of the strain in px per px.
        emotions: `(n,)` int, indices of `DRAWN_EMOTIONS`, −1 for no expression.
        strengths: `(n, units)` float32 true largest displacement by each of `UNITS`, px; 0 where
            it does not act.
    """

    motion: np.ndarray
    emotions: np.ndarray
    strengths: np.ndarray

    def __len__(self) -> int:
        return len(self.motion)

    def take(self, indices: np.ndarray) -> MotionFields:
        """Return some of the fields."""
        return MotionFields(*(values[indices] for values in vars(self).values()))

    @classmethod
    def join(cls, parts: Sequence[MotionFields]) -> MotionFields:
        """Put fields one after another."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def draw_fields(
    count: int, rng: np.random.Generator, ingredients: Ingredients | None = None
) -> MotionFields:
    """Draw fields of motion.

    Args:
        count: Number of fields.
        rng: Source of chance.
        ingredients: What varies. Default: everything.

    Example:
        >>> draw_fields(3, np.random.default_rng(0)).motion.shape
        (3, 28, 28, 3)
    """
    ingredients = ingredients or Ingredients()
    scenes = draw_scenes(count, SIZE, ingredients, rng)
    noise = NOISE[0] * (NOISE[1] / NOISE[0]) ** rng.random(count)
    # Between frames that are the same but for rounding there is hardly any.
    noise *= np.where(scenes.quiet, 10 ** rng.uniform(-3, 0.3, count), 1)
    flow = estimate(scenes.field, scenes.faces, scenes.crops, noise, ingredients, rng)
    return label(flow, scenes)


def label(flow: np.ndarray, scenes: Scenes) -> MotionFields:
    """Put a flow `(n, 28, 28, 2)`, px, and the truth about it together."""
    motion = np.concatenate([flow, strain(flow)], axis=-1)
    return MotionFields(motion, scenes.emotions, scenes.strengths)
