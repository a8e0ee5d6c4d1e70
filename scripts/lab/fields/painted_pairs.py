"""Real optical flow between painted skins, for the fingerprints that no drawing has.

Skins are plain paintings, not the stand-in corpus's portraits: textures where a face has them,
moved by a drawn field, with a camera's noise and JPEG's. They cost an eighth of portraits, and
training shares no picture with the corpus that it is measured on.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from casme_tf.synthetic.subject import noise, step
from scripts.lab.fields.faces import FRAME, Crops, Faces
from scripts.lab.fields.ingredients import Ingredients
from scripts.lab.fields.motion_fields import SIZE, MotionFields, label
from scripts.lab.fields.scenes import Scenes, draw_scenes

_FINE = FRAME // 2
"""Cells a side of the true fields; they are smooth, and enlarged to the frame."""
_AT_ONCE = 32
_PAINTED = 2  # stream of chance
_FARNEBACK = (0.5, 3, 19, 5, 7, 1.2, 0)


def painted_fields(
    count: int, seed: int, ingredients: Ingredients | None = None
) -> Iterator[MotionFields]:
    """Paint pairs of frames and compute their flow and strain.

    Args:
        count: Number of fields.
        seed: Decides everything left to chance.
        ingredients: What varies in the true motion. Default: everything.

    Yields:
        Fields, some at a time, `count` in all.
    """
    ingredients = ingredients or Ingredients()
    starts = range(0, count, _AT_ONCE)

    def part(start: int) -> MotionFields:
        rng = np.random.default_rng([seed, _PAINTED, start])
        scenes = draw_scenes(min(_AT_ONCE, count - start), _FINE, ingredients, rng)
        return label(_flows(scenes, rng), scenes)

    with ThreadPoolExecutor() as pool:  # OpenCV lets go of the interpreter
        yield from pool.map(part, starts)


def paint_pair(
    scenes: Scenes, index: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint onset and apex of one scene, each `(224, 224)` uint8, gray."""
    skin = _paint_skin(scenes.faces, scenes.crops, index, rng)
    field = cv2.resize(scenes.field[index], (FRAME, FRAME), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:FRAME, :FRAME].astype(np.float32)
    grid = np.dstack([x, y])
    points = grid - field
    for _ in range(3):
        moved = cv2.remap(field, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        points = grid - moved
    # Both are sampled between pixels, so that neither is sharper than the other.
    offset = rng.uniform(0.25, 0.75, 2).astype(np.float32)
    level = float(np.exp(rng.uniform(np.log(0.2), np.log(3.0))))
    quality = int(rng.integers(75, 101))
    coarse = float(rng.uniform(0.5, 1.0)) if rng.random() < 0.4 else 1.0
    onset, apex = (
        _photograph(
            cv2.remap(skin, at + offset, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
            rng,
            noise=level,
            quality=quality,
            coarse=coarse,
        )
        for at in (grid, points)
    )
    same = scenes.quiet[index] and rng.random() < 0.3
    return onset, onset if same else apex


def _photograph(
    picture: np.ndarray, rng: np.random.Generator, *, noise: float, quality: int, coarse: float
) -> np.ndarray:
    """Return a picture as a camera and JPEG leave it, `(224, 224)` uint8.

    Args:
        picture: `(224, 224)` float32, gray levels.
        rng: Source of chance for noise and light.
        noise: Standard deviation of the sensor's noise, gray levels.
        quality: Of JPEG.
        coarse: Px of the sensor for a px of the crop, at most 1; the crop was enlarged from them.
    """
    small = cv2.resize(picture, None, fx=coarse, fy=coarse, interpolation=cv2.INTER_AREA)
    small = small + noise * rng.standard_normal(small.shape, np.float32)
    frame = cv2.resize(small, picture.shape, interpolation=cv2.INTER_LINEAR)
    frame = np.clip(np.rint(frame * (1 + 0.01 * rng.standard_normal())), 0, 255).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE))


def _flows(scenes: Scenes, rng: np.random.Generator) -> np.ndarray:
    """Return the flow of every scene, averaged to `(n, 28, 28, 2)`, px."""
    flows = []
    for index in range(len(scenes.field)):
        onset, apex = paint_pair(scenes, index, rng)
        flow = cv2.calcOpticalFlowFarneback(onset, apex, None, *_FARNEBACK)
        flows.append(flow.reshape(SIZE, FRAME // SIZE, SIZE, FRAME // SIZE, 2).mean(axis=(1, 3)))
    return np.stack(flows)


def _paint_skin(faces: Faces, crops: Crops, index: int, rng: np.random.Generator) -> np.ndarray:
    """Paint a face with texture where faces have it, `(224, 224)` float32, gray levels."""
    face = {name: float(values[index]) for name, values in vars(faces).items()}
    one = Crops(**{name: values[index : index + 1] for name, values in vars(crops).items()})
    x, y = (part[0] for part in one.grid(FRAME))
    away = np.abs(x)
    up = 0.5 * (face["chin"] - face["crown"])
    middle = 0.5 * (face["chin"] + face["crown"])
    radius = np.sqrt((x / face["half_width"]) ** 2 + ((y - middle) / up) ** 2)

    def grain(low: float, high: float, octaves: int = 1) -> np.ndarray:
        return noise(rng, x.shape, float(np.exp(rng.uniform(np.log(low), np.log(high)))), octaves)

    def spot(at_x: float, at_y: float, width: float, height: float) -> np.ndarray:
        return np.exp(-0.5 * (((away - at_x) / width) ** 2 + ((y - at_y) / height) ** 2))

    skin = rng.uniform(70, 200) * (1 + 0.25 * rng.normal() * x / face["half_width"] / 2)
    skin = skin * np.clip(1.15 - 0.35 * radius**2, 0.3, None)
    rough = np.exp(rng.uniform(np.log(0.006), np.log(0.05)))
    skin *= 1 + rough * grain(2, 8, 2) + rng.uniform(0, 0.06) * grain(15, 60, 2)
    if rng.random() < 0.25:  # a beard
        skin *= 1 - rng.uniform(0.1, 0.5) * step(y - face["nose_y"] - 12, 14) * (
            0.6 + 0.4 * grain(2, 4)
        )
    cheeks = np.exp(
        -0.5 * ((away - 0.6 * face["mouth_width"] - 12 - 0.3 * (y - face["nose_y"])) / 4) ** 2
    )
    skin *= 1 - rng.uniform(0, 0.15) * cheeks * spot(45, face["nose_y"] + 18, 40, 25)
    brow = spot(face["eye_x"], face["brow_y"], 0.9 * face["eye_width"], rng.uniform(3.5, 7))
    skin *= 1 - np.clip(brow * (0.6 + 0.35 * grain(2, 5)), 0, 1) * rng.uniform(0.2, 0.85)
    opening = spot(face["eye_x"], 0, 0.75 * face["eye_width"], 0.6 * face["eye_open"])
    skin += opening * rng.uniform(0, 60)
    iris = np.hypot(away - face["eye_x"] - rng.normal(), y) / (0.38 * face["eye_width"])
    skin *= 1 - rng.uniform(0.5, 0.95) * step(1 - iris, 0.25) * np.clip(1.6 * opening, 0, 1)
    lid = np.exp(
        -0.5 * ((y + face["eye_open"] * (1 - ((away - face["eye_x"]) / 32) ** 2)) / 1.8) ** 2
    )
    skin *= 1 - rng.uniform(0.2, 0.8) * lid * spot(face["eye_x"], 0, 18, 20)
    skin *= 1 - rng.uniform(0.2, 0.8) * spot(0.5 * face["nose_width"], face["nose_y"], 6, 3)
    lips = spot(0, face["mouth_y"], 0.6 * face["mouth_width"], 9)
    skin *= 1 - lips * (rng.uniform(0, 0.3) + 0.05 * grain(2, 6))
    seam = np.exp(-0.5 * ((y - face["mouth_y"]) / rng.uniform(1.2, 2.5)) ** 2)
    skin *= 1 - rng.uniform(0.2, 0.8) * seam * step(face["mouth_width"] - away, 6)
    if rng.random() < 0.12:  # glasses
        ring = np.hypot((away - face["eye_x"]) / 36, (y - 4) / 26)
        skin *= 1 - 0.8 * np.exp(-0.5 * ((ring - 1) / 0.06) ** 2)
    behind = rng.uniform(20, 220) * (1 + rng.uniform(0, 0.3) * grain(3, 60, 3))
    hair = rng.uniform(10, 110) * (1 + rng.uniform(0.05, 0.5) * grain(2, 6, 2))
    outside = step(radius - 1, 0.05)
    covered = step(rng.uniform(-135, -70) + 10 * grain(20, 60) - y, 8) * step(1.3 - radius, 0.1)
    rim = step(1.22 - radius, 0.06) * (y < rng.uniform(-20, 120))
    picture = skin + (behind - skin) * outside
    picture += (hair - picture) * np.maximum(covered, outside * rim)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.6, 1.1))
