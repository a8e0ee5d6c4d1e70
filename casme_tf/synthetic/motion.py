"""How a clip moves, and its frames: action units, a blink now and then, a drifting head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from casme_tf.labels import BLINK
from casme_tf.synthetic.action_units import Habit, Unit, unit_field
from casme_tf.synthetic.portrait import SCALE, Portrait
from casme_tf.synthetic.subject import FRAME_SIZE, Subject, step


@dataclass(frozen=True)
class Motion:
    """The true motion of one clip."""

    subject: Subject
    habits: dict[int, Habit]
    units: tuple[Unit, ...]
    frames: int
    apex: int
    rest: float
    pose: np.ndarray
    drift: tuple[float, float, float]
    wander: tuple[float, float]
    blink: tuple[float, float]

    def activity(self, frame: int) -> float:
        """Return how far the expression has gone: 0 at the onset, 1 at the apex."""
        if frame <= self.apex:
            return math.sin(0.5 * math.pi * frame / self.apex) ** 2
        fall = math.sin(0.5 * math.pi * (frame - self.apex) / (self.frames - 1 - self.apex)) ** 2
        return 1 - (1 - self.rest) * fall

    @cached_property
    def expression(self) -> np.ndarray:
        """Displacement by all action units at the apex, `(480, 640, 2)` float32, px."""
        field = np.zeros((*FRAME_SIZE, 2), np.float32)
        for unit in self.units:
            field += unit_field(self.subject, unit, self.habits[unit.number], self.pose)
        return field

    def displacement(self, frame: int) -> np.ndarray:
        """Return where each point of the onset frame has moved to."""
        field = self.expression * np.float32(self.activity(frame))
        middle, depth = self.blink
        closing = depth * (
            math.exp(-0.5 * ((frame - middle) / 1.3) ** 2) - math.exp(-0.5 * (middle / 1.3) ** 2)
        )
        if depth:
            field += np.float32(closing) * self._blink_field
        x, y, turn = self._head(frame)
        field[..., 0] += (x - turn * self._from_pivot[1]) * self._head_share
        field[..., 1] += (y + turn * self._from_pivot[0]) * self._head_share
        return field

    def backward_map(self, frame: int) -> np.ndarray:
        """Return which point of the onset frame each pixel of a frame shows."""
        forward = self.displacement(frame)
        grid = np.dstack(_grid())
        points = grid - forward
        for _ in range(4):
            moved = cv2.remap(
                forward, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            points = grid - moved
        return points

    def face_mask(self) -> np.ndarray:
        """Return where the skin of the face is at the onset, `(480, 640)` bool."""
        return self._radius < 0.97

    def _head(self, frame: int) -> tuple[float, float, float]:
        """Return how far the head has gone since the onset: right, down, px; turn, radians."""
        share = frame / (self.frames - 1)
        curve = math.sin(math.pi * share)
        x, y, turn = self.drift
        return x * share + self.wander[0] * curve, y * share + self.wander[1] * curve, turn * share

    @cached_property
    def _blink_field(self) -> np.ndarray:
        return unit_field(self.subject, Unit(BLINK), self.habits[BLINK], self.pose)

    @cached_property
    def _portrait_xy(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = _grid()
        (a, b, c), (d, e, f) = cv2.invertAffineTransform(self.pose)
        return (a * x + b * y + c).astype(np.float32), (d * x + e * y + f).astype(np.float32)

    @cached_property
    def _radius(self) -> np.ndarray:
        return self.subject.radius(*self._portrait_xy)

    @cached_property
    def _head_share(self) -> np.ndarray:
        """How much of the head's own motion a point takes part in: 1 on the face, 0 far away."""
        return step(1.3 - self._radius, 0.2)

    @cached_property
    def _from_pivot(self) -> tuple[np.ndarray, np.ndarray]:
        """Position relative to the point on the neck that the head turns about."""
        x, y = _grid()
        at_x, at_y = self.pose @ np.array([self.subject.x, self.subject.chin - 20, 1.0])
        return x - np.float32(at_x), y - np.float32(at_y)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: FRAME_SIZE[0], : FRAME_SIZE[1]].astype(np.float32)
    return x, y


NOISE = 1.2
"""Standard deviation of the sensor's noise, gray levels."""

FLICKER = 0.004
"""Amplitude of the light's flicker, as a share of the light."""


def render_clip(
    portrait: Portrait, motion: Motion, rng: np.random.Generator, noise: float = NOISE
) -> Iterator[np.ndarray]:
    """Render the frames of a clip."""
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
