"""How a clip moves, and its frames: action units, a blink now and then, a drifting head.

Each action unit is a smooth displacement field, a sum of Gaussian pulls anchored at landmarks of
the subject. The places and directions follow Ekman, Friesen and Hager, "Facial Action Coding
System" (2002).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from casme_tf.labels import BLINK
from casme_tf.synthetic.portrait import SCALE, Portrait
from casme_tf.synthetic.subject import FRAME_SIZE, Subject, bump, step


@dataclass(frozen=True)
class Pull:
    """A Gaussian pull on both halves of the face."""

    at: str
    outward: float
    down: float
    width: float
    height: float
    shift: tuple[float, float] = (0.0, 0.0)


PULLS: dict[int, tuple[Pull, ...]] = {
    # Inner brow raiser.
    1: (Pull("inner brow", 0.05, -1.0, 18, 17), Pull("forehead", 0.0, -0.9, 24, 20)),
    # Outer brow raiser.
    2: (Pull("outer brow", 0.1, -1.0, 24, 18), Pull("mid brow", 0.0, -0.35, 20, 14)),
    # Brow lowerer: down and inward.
    4: (Pull("inner brow", -0.6, 0.85, 22, 17), Pull("mid brow", -0.25, 0.6, 22, 13)),
    # Upper lid raiser.
    5: (Pull("upper lid", 0.0, -1.0, 20, 7.5),),
    # Cheek raiser: the cheek lifts, the skin beside the eye is drawn in.
    6: (Pull("cheek", -0.15, -1.0, 28, 20), Pull("outer eye", -0.55, -0.1, 14, 16)),
    # Lid tightener.
    7: (Pull("lower lid", -0.25, -1.0, 21, 8), Pull("upper lid", 0.0, 0.45, 20, 7)),
    # Nose wrinkler.
    9: (
        Pull("nose side", -0.1, -1.0, 15, 20),
        Pull("inner brow", -0.25, 0.55, 18, 13),
        Pull("side of upper lip", 0.0, -0.35, 18, 12),
    ),
    # Upper lip raiser.
    10: (Pull("side of upper lip", 0.15, -1.0, 20, 13), Pull("nasolabial", 0.25, -0.6, 14, 16)),
    # Lip corner puller: up and outward, with the cheek.
    12: (Pull("lip corner", 0.7, -0.75, 22, 18), Pull("cheek", 0.25, -0.5, 28, 22, (0, 12))),
    # Dimpler: the corner and the cheek beside it are drawn together.
    14: (
        Pull("lip corner", 0.85, 0.0, 14, 13, (-4, 0)),
        Pull("beside lip corner", -1.0, 0.0, 15, 18),
    ),
    # Lip corner depressor.
    15: (Pull("lip corner", 0.15, 1.0, 19, 17, (0, 4)),),
    # Chin raiser: pushes the lower lip up.
    17: (Pull("chin boss", 0.0, -1.0, 30, 18), Pull("lower lip", 0.0, -0.45, 24, 9)),
    # Lip stretcher.
    20: (Pull("lip corner", 1.0, 0.2, 25, 17), Pull("beside lip corner", 0.6, 0.15, 20, 20)),
    # Lip pressor.
    24: (
        Pull("upper lip", 0.0, 0.8, 26, 7.5, (0, -2)),
        Pull("lower lip", 0.0, -0.8, 26, 8, (0, 2)),
        Pull("lip corner", -0.35, 0.0, 14, 12),
    ),
    # Lips part.
    25: (Pull("lower lip", 0.0, 1.0, 26, 9, (0, 3)), Pull("upper lip", 0.0, -0.4, 26, 7)),
    # Jaw drop.
    26: (Pull("chin", 0.0, 1.0, 60, 32), Pull("lower lip", 0.0, 0.4, 30, 14)),
    BLINK: (Pull("upper lid", 0.0, 1.0, 21, 8), Pull("lower lid", 0.0, -0.2, 19, 7)),
}


@dataclass(frozen=True)
class Unit:
    """One action unit of one clip."""

    number: int
    side: str = ""
    strength: float = 1.0

    @property
    def name(self) -> str:
        """The unit as coders write it, such as `L12`."""
        return f"{self.side}{self.number}"


def parse_units(cell: str) -> tuple[Unit, ...]:
    """Read units as coders write them."""
    units = []
    for part in cell.split("+"):
        match = re.fullmatch(r"([LR]?)(\d+)", part)
        if match is None or int(match[2]) not in PULLS:
            raise ValueError(f"A unit must be one of {sorted(PULLS)}. Received: {part!r}.")
        units.append(Unit(int(match[2]), match[1]))
    return tuple(units)


@dataclass(frozen=True)
class Habit:
    """How one subject makes one action unit."""

    gain: float
    balance: float
    turn: float
    shift: tuple[float, float]


def draw_habits(rng: np.random.Generator) -> dict[int, Habit]:
    """Draw how a subject makes each action unit."""
    return {
        number: Habit(
            gain=float(np.exp(np.clip(rng.normal(0, 0.16), -0.35, 0.35))),
            balance=float(np.clip(rng.normal(0, 0.12), -0.25, 0.25)),
            turn=float(np.clip(rng.normal(0, 0.12), -0.3, 0.3)),
            shift=(float(rng.normal(0, 2.0)), float(rng.normal(0, 1.6))),
        )
        for number in PULLS
    }


def unit_field(subject: Subject, unit: Unit, habit: Habit, pose: np.ndarray) -> np.ndarray:
    """Return the displacement by one action unit at its apex."""
    marks = subject.landmarks()
    field = np.zeros((*FRAME_SIZE, 2), np.float32)
    x = np.arange(FRAME_SIZE[1], dtype=np.float32)[None, :]
    y = np.arange(FRAME_SIZE[0], dtype=np.float32)[:, None]
    turn = np.array(
        [[np.cos(habit.turn), -np.sin(habit.turn)], [np.sin(habit.turn), np.cos(habit.turn)]]
    )
    for pull in PULLS[unit.number]:
        away, height = marks[pull.at]
        direction = turn @ np.array([pull.outward, pull.down])
        # The subject's left is on the right of the image.
        for side, sign in (("L", 1), ("R", -1)):
            if unit.side not in ("", side):
                continue
            weight = 1.0 if unit.side else 1.0 + sign * habit.balance
            if away == 0.0 and not unit.side:
                weight *= 0.5
            offset = away + pull.shift[0] + habit.shift[0]
            if away == 0.0:
                # A one-sided pull on the midline acts on its own half.
                offset = 0.5 * pull.width if unit.side else habit.shift[0]
            place = np.array(
                [subject.x + sign * offset, height + pull.shift[1] + habit.shift[1], 1.0]
            )
            at_x, at_y = pose @ place
            hill = bump(x, y, (at_x, at_y), pull.width, pull.height) * np.float32(weight)
            move = pose[:, :2] @ (direction * [sign, 1])
            field += hill[..., None] * move.astype(np.float32)
    peak = float(np.sqrt((field**2).sum(-1).max()))
    return field * np.float32(unit.strength / peak)


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
