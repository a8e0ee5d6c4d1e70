"""Many faces at once: their proportions, and the crops through which they are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.lab.fields.ingredients import Ingredients

FRAME = 224
"""Side of the crop when motion is computed, px: unit of every displacement that is drawn."""


@dataclass(frozen=True)
class Faces:
    """Proportions of n faces, each `(n,)` float32.

    Lengths are those of `synthetic.subject.Subject`, px of its frames, with the midline at x = 0
    and the eyes at y = 0.
    """

    eye_x: np.ndarray
    eye_width: np.ndarray
    eye_open: np.ndarray
    eye_y: np.ndarray
    brow_y: np.ndarray
    brow_arch: np.ndarray
    nose_y: np.ndarray
    nose_width: np.ndarray
    mouth_y: np.ndarray
    mouth_width: np.ndarray
    upper_lip: np.ndarray
    lower_lip: np.ndarray
    chin: np.ndarray
    crown: np.ndarray
    half_width: np.ndarray


def draw_faces(count: int, ingredients: Ingredients, rng: np.random.Generator) -> Faces:
    """Draw proportions, wider than the corpus's subjects differ.

    Args:
        count: Number of faces.
        ingredients: Looked at is `anatomy`.
        rng: Source of chance.
    """
    spread = 1.0 if ingredients.anatomy else 0.0

    def vary(mean: float, share: float) -> np.ndarray:
        deviation = np.clip(rng.standard_normal(count), -2.2, 2.2)
        return (mean * (1 + spread * share * deviation)).astype(np.float32)

    mouth = vary(114, 0.08)
    return Faces(
        eye_x=vary(61, 0.08),
        eye_width=vary(29, 0.1),
        eye_open=vary(11, 0.2),
        eye_y=np.zeros(count, np.float32),
        brow_y=-vary(32, 0.17),
        brow_arch=vary(5, 0.5),
        nose_y=mouth * vary(0.61, 0.06),
        nose_width=vary(25, 0.15),
        mouth_y=mouth,
        mouth_width=vary(46, 0.13),
        upper_lip=vary(10, 0.25),
        lower_lip=vary(13, 0.2),
        chin=mouth + vary(64, 0.12),
        crown=-vary(162, 0.08),
        half_width=vary(129, 0.08),
    )


@dataclass(frozen=True)
class Crops:
    """The parts of n frames that are cut out and brought to `FRAME` px, each `(n,)` float32.

    Attributes:
        left: Left side, px of `Faces`.
        top: Upper side, px.
        width: Width, px.
        height: Height, px.
        roll: How far the face is tilted, radians, clockwise.
    """

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    roll: np.ndarray

    def scale(self) -> np.ndarray:
        """Return px of the crop for a px of the face, `(n, 2)`, across and down."""
        return FRAME / np.stack([self.width, self.height], axis=-1)

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where cells of the crop lie on the upright face: x and y, each `(n, size, size)`.

        Args:
            size: Cells a side.
        """
        share = (np.arange(size, dtype=np.float32) + 0.5) / size
        x = (self.left[:, None] + share * self.width[:, None])[:, None, :]
        y = (self.top[:, None] + share * self.height[:, None])[:, :, None]
        cos, sin = (f(self.roll)[:, None, None] for f in (np.cos, np.sin))
        return cos * x + sin * y, cos * y - sin * x


def draw_crops(faces: Faces, ingredients: Ingredients, rng: np.random.Generator) -> Crops:
    """Draw how the faces are cut out.

    Among them are the tight crops of published motion images (eyes at a fifth of the height, the
    mouth filling half of the width) and those of this package, from the forehead to the chin, and
    looser ones. A crop may be off by 15% of its side, and the face tilted.

    Args:
        faces: The faces.
        ingredients: Looked at is `crops`; without it all are about this package's own.
        rng: Source of chance.
    """
    count = len(faces.eye_x)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, count).astype(np.float32)

    if not ingredients.crops:
        width, height = 274 * uniform(0.95, 1.05), 335 * uniform(0.95, 1.05)
        mouth, roll = uniform(0.735, 0.775), np.zeros(count, np.float32)
        middle = uniform(0.47, 0.53)
    else:
        size = np.exp(rng.triangular(np.log(0.75), 0.0, np.log(1.45), count)).astype(np.float32)
        width, height = 240 * size * uniform(0.85, 1.15), 296 * size * uniform(0.87, 1.13)
        off = (rng.random(count) < 0.3).astype(np.float32)
        mouth = uniform(0.63, 0.8) + off * uniform(-0.15, 0.15)
        middle = uniform(0.46, 0.54) + off * uniform(-0.15, 0.15)
        roll = np.deg2rad(np.clip(4 * rng.standard_normal(count), -12, 12)).astype(np.float32)
    return Crops(
        left=-middle * width,
        top=faces.mouth_y - mouth * height,
        width=width,
        height=height,
        roll=roll,
    )
