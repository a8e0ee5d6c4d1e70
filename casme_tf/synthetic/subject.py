"""Who is drawn: the shape of a face, its colors and its landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np


def noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 1
) -> np.ndarray:
    """Return smooth noise of several octaves, each half as strong and half as coarse."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grain = max(cell / 2**octave, 1.0)
        small = (int(np.ceil(shape[0] / grain)) + 3, int(np.ceil(shape[1] / grain)) + 3)
        grid = rng.standard_normal(small, np.float32)
        size = (int(small[1] * grain), int(small[0] * grain))
        layer = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
        total += layer * 0.5**octave
    return total / total.std()


def bump(
    x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float
) -> np.ndarray:
    """Return a Gaussian hill of height 1 at `at`, with standard deviations in px."""
    across = np.exp(-0.5 * ((x - at[0]) / width) ** 2)
    along = np.exp(-0.5 * ((y - at[1]) / height) ** 2)
    return across * along


def step(value: np.ndarray, width: float = 1.0) -> np.ndarray:
    """Return a soft step: 0 below `-width`, 1 above `width`, smooth between."""
    t = np.clip(0.5 + 0.5 * value / width, 0, 1)
    return t * t * (3 - 2 * t)


def strokes(
    shape: tuple[int, int], starts: np.ndarray, ends: np.ndarray, thickness: int = 1
) -> np.ndarray:
    """Draw anti-aliased straight hairs."""
    cover = np.zeros(shape, np.uint8)
    for start, end in zip(np.rint(starts * 16), np.rint(ends * 16), strict=True):
        first, last = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        cv2.line(cover, first, last, 255, thickness, cv2.LINE_AA, 4)
    return cover.astype(np.float32) / 255


FRAME_SIZE = (480, 640)
"""Height and width of a frame, px."""

HAIR_STYLES = ("short", "parted", "fringe", "long")


@dataclass(frozen=True)
class Subject:
    """The traits of one drawn subject; lengths in px of a 640×480 frame, colors RGB in 0…1."""

    x: float
    y: float
    half_width: float
    crown: float
    chin: float
    jaw: float
    taper: float
    eye_y: float
    eye_x: float
    eye_width: float
    eye_open: float
    eye_tilt: float
    iris: tuple[float, float, float]
    brow_y: float
    brow_arch: float
    brow_thickness: float
    nose_y: float
    nose_width: float
    nose_height: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lip_red: float
    skin: tuple[float, float, float]
    freckles: int
    stubble: float
    wrinkles: float
    hair: tuple[float, float, float]
    hair_style: str
    hairline: float
    light: tuple[float, float, float]
    ambient: float
    shirt: tuple[float, float, float]
    wall: tuple[float, float, float]

    def landmarks(self) -> dict[str, tuple[float, float]]:
        """Return where the parts of the face are, on the right half of the image."""
        return landmarks_of(self)

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how far out a point lies: 0 in the middle of the face, 1 on its outline."""
        down = (y - self.y) / (self.chin - self.y)
        up = (self.y - y) / (self.y - self.crown)
        below = y > self.y
        reach = np.clip(down, 0, 1)
        width = self.half_width * (1 - self.taper * reach * reach * (3 - 2 * reach))
        across = np.abs(x - self.x) / width
        along = np.where(below, down, up)
        power = np.where(below, np.float32(self.jaw), np.float32(2.2))
        return ((across**power + np.abs(along) ** power) ** (1 / power)).astype(np.float32)


def landmarks_of(face: Any) -> dict[str, Any]:
    """Return where the parts of a face are, or those of many faces at once."""
    corner = face.mouth_width
    return {
        "glabella": (0.0, face.brow_y + 6),
        "inner brow": (face.eye_x - 0.95 * face.eye_width, face.brow_y + 1),
        "mid brow": (face.eye_x, face.brow_y - face.brow_arch),
        "outer brow": (face.eye_x + 1.1 * face.eye_width, face.brow_y - 0.3 * face.brow_arch),
        "forehead": (0.55 * face.eye_x, face.brow_y - 34),
        "upper lid": (face.eye_x, face.eye_y - face.eye_open),
        "lower lid": (face.eye_x, face.eye_y + 0.8 * face.eye_open),
        "outer eye": (face.eye_x + 1.15 * face.eye_width, face.eye_y),
        "cheek": (face.eye_x + 6, 0.45 * face.eye_y + 0.55 * face.nose_y),
        "nose side": (0.8 * face.nose_width, 0.45 * face.eye_y + 0.55 * face.nose_y),
        "nose wing": (face.nose_width, face.nose_y - 4),
        "nasolabial": (0.5 * (face.nose_width + corner) + 8, 0.5 * (face.nose_y + face.mouth_y)),
        "upper lip": (0.0, face.mouth_y - 0.6 * face.upper_lip),
        "side of upper lip": (0.5 * corner, face.mouth_y - face.upper_lip),
        "lip corner": (corner, face.mouth_y),
        "beside lip corner": (corner + 26, face.mouth_y - 2),
        "lower lip": (0.0, face.mouth_y + 0.7 * face.lower_lip),
        "chin boss": (0.0, 0.42 * face.mouth_y + 0.58 * face.chin),
        "chin": (0.0, face.chin - 14),
    }


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw the traits of a subject."""

    def vary(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.normal(), -1.8, 1.8))

    tone = float(rng.beta(1.6, 2.2))
    pale, deep = np.array([0.91, 0.72, 0.61]), np.array([0.50, 0.33, 0.24])
    skin = pale + (deep - pale) * tone + rng.normal(0, 0.012, 3)
    hairs = np.array(
        [[0.06, 0.05, 0.05], [0.12, 0.08, 0.06], [0.24, 0.15, 0.09], [0.42, 0.29, 0.15]]
    )
    hair = hairs[rng.choice(4, p=[0.45, 0.3, 0.17, 0.08] if tone < 0.4 else [0.7, 0.3, 0, 0])]
    irises = np.array(
        [[0.16, 0.09, 0.05], [0.28, 0.17, 0.08], [0.24, 0.30, 0.22], [0.25, 0.36, 0.46]]
    )
    iris = irises[rng.choice(4, p=[0.5, 0.3, 0.1, 0.1] if tone < 0.4 else [0.75, 0.25, 0, 0])]
    face_y, chin = vary(246, 3), vary(416, 5)
    eye_y = vary(238, 4)
    mouth_y = vary(352, 4)
    side = vary(0, 0.45)
    light = np.array([side, vary(-0.45, 0.15), 0.85])
    style = HAIR_STYLES[rng.integers(len(HAIR_STYLES))]
    return Subject(
        x=vary(320, 5),
        y=face_y,
        half_width=vary(129, 6),
        crown=vary(76, 5),
        chin=chin,
        jaw=vary(2.15, 0.16),
        taper=vary(0.17, 0.05),
        eye_y=eye_y,
        eye_x=vary(61, 3),
        eye_width=vary(29, 1.8),
        eye_open=vary(11, 1.3),
        eye_tilt=vary(0.05, 0.045),
        iris=_color(iris + rng.normal(0, 0.015, 3)),
        brow_y=eye_y - vary(32, 2.5),
        brow_arch=vary(5, 1.8),
        brow_thickness=vary(5.2, 1.1),
        nose_y=vary(308, 4),
        nose_width=vary(25, 2.4),
        nose_height=vary(25, 4),
        mouth_y=mouth_y,
        mouth_width=vary(45, 3.6),
        upper_lip=vary(10, 1.6),
        lower_lip=vary(13, 1.8),
        lip_red=vary(0.55, 0.18),
        skin=_color(skin),
        freckles=int(rng.integers(5, 20) if rng.random() < 0.6 else rng.integers(60, 260)),
        stubble=float(rng.uniform(0.15, 0.5)) if style == "short" and rng.random() < 0.6 else 0.0,
        wrinkles=float(rng.uniform(0.15, 1.0)),
        hair=_color(hair * np.exp(rng.normal(0, 0.15))),
        hair_style=style,
        hairline=vary(132, 7),
        light=_unit(light),
        ambient=vary(0.42, 0.06),
        shirt=_color(rng.uniform(0.12, 0.75, 3)),
        wall=_color(rng.uniform(0.35, 0.78) + rng.normal(0, 0.03, 3)),
    )


def _color(rgb: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in np.clip(rgb, 0.02, 0.95))
    return red, green, blue


def _unit(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector / np.linalg.norm(vector))
    return x, y, z
