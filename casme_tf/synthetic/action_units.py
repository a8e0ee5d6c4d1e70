"""Action units as smooth displacement fields, where the Facial Action Coding System puts them.

Each unit is a sum of Gaussian pulls, anchored at landmarks of the subject. The places and
directions follow Ekman, Friesen and Hager, "Facial Action Coding System" (2002).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from casme_tf.labels import BLINK
from casme_tf.synthetic.subject import FRAME_SIZE, Subject, bump


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
