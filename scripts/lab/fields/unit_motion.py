"""Motion by action units on many faces at once, each subject in a way of their own."""

from __future__ import annotations

from functools import cache

import numpy as np

from casme_tf.labels import ACTION_UNITS
from casme_tf.synthetic.motion import PULLS, Pull
from casme_tf.synthetic.subject import landmarks_of
from scripts.lab.fields.expressions import Expressions
from scripts.lab.fields.faces import Faces, draw_faces
from scripts.lab.fields.hills import Hills
from scripts.lab.fields.ingredients import Ingredients

REAL_PULLS: dict[int, tuple[Pull, ...]] = {
    # The forehead rises with the brows; its top, above, comes down and gathers.
    1: (
        Pull("inner brow", 0.05, -1.0, 26, 22),
        Pull("forehead", 0.0, -0.9, 34, 22),
        Pull("upper lid", 0.0, -0.5, 22, 10),
        Pull("forehead", -0.7, 0.6, 36, 18, (6, -26)),
    ),
    2: (
        Pull("outer brow", 0.25, -1.0, 28, 22),
        Pull("mid brow", 0.1, -0.8, 28, 20),
        Pull("upper lid", 0.0, -0.5, 24, 12),
        Pull("forehead", -0.9, 0.6, 36, 18, (14, -26)),
    ),
    4: (Pull("inner brow", -0.6, 0.85, 26, 20), Pull("mid brow", -0.4, 0.7, 28, 18)),
    5: (Pull("upper lid", 0.1, -1.0, 24, 12),),
    # The ring around the eye: its outer part comes in, the brow comes down with it.
    6: (
        Pull("cheek", -0.15, -0.8, 28, 20),
        Pull("outer eye", -0.7, 0.0, 18, 18),
        Pull("outer brow", -0.25, 0.8, 26, 16),
        Pull("mid brow", -0.1, 0.6, 24, 14),
    ),
    # Gathers at the outer eye.
    7: (
        Pull("lower lid", -0.6, -0.8, 26, 20, (12, 12)),
        Pull("outer eye", -0.9, 0.0, 18, 20),
        Pull("mid brow", -0.35, 0.7, 26, 14, (8, 10)),
        Pull("upper lid", 0.0, 0.45, 20, 9),
    ),
    # Takes the brows along, down and in.
    9: (
        Pull("inner brow", -0.6, 0.9, 28, 20),
        Pull("mid brow", -0.6, 0.7, 30, 20),
        Pull("nose side", -0.1, -0.9, 18, 20),
        Pull("cheek", -0.2, -0.8, 26, 22),
        Pull("side of upper lip", 0.0, -0.4, 18, 12),
    ),
    10: (
        Pull("side of upper lip", 0.15, -1.0, 26, 16),
        Pull("nasolabial", 0.3, -0.9, 20, 20),
        Pull("cheek", 0.1, -0.5, 26, 20),
    ),
    # A band from the chin's side along the cheek to the face's edge.
    12: (
        Pull("lip corner", 0.55, -0.9, 22, 20),
        Pull("beside lip corner", 0.6, -0.9, 24, 24, (6, -34)),
        Pull("cheek", 0.75, -0.65, 24, 22, (30, 16)),
        Pull("lower lip", 0.5, -0.7, 24, 16, (22, 6)),
        Pull("cheek", 0.7, -0.2, 26, 22, (26, 26)),
    ),
    # Lifts and spreads the corner and the cheek, much like 12.
    14: (
        Pull("lip corner", 0.6, -0.6, 20, 16),
        Pull("beside lip corner", 0.9, -0.6, 24, 20, (5, -18)),
    ),
    15: (
        Pull("lip corner", 0.3, 1.0, 20, 22),
        Pull("beside lip corner", 0.4, 0.7, 18, 20, (0, -20)),
    ),
    # Drags the chin.
    20: (
        Pull("chin boss", 0.0, 1.0, 36, 26),
        Pull("lip corner", 0.8, 0.5, 24, 18),
        Pull("lower lip", 0.0, 0.7, 30, 14),
    ),
    25: (Pull("lower lip", 0.0, 1.0, 28, 16, (0, 8)), Pull("upper lip", 0.0, -0.3, 26, 8)),
}
"""Another form of units, which the published motion of real clips shows where `PULLS`, after the
descriptions of the Facial Action Coding System, is too narrow or wrong."""

REAL_SHARE = 0.7
"""Share of faces that make a unit in the form of `REAL_PULLS`, if it has one there."""

_PULLS = [(index, pull) for index, unit in enumerate(ACTION_UNITS) for pull in PULLS[unit]]
_DESCRIBED = len(_PULLS)
_PULLS += [
    (index, pull)
    for index, unit in enumerate(ACTION_UNITS)
    for pull in REAL_PULLS.get(unit, PULLS[unit])
]
_REAL = np.arange(len(_PULLS)) >= _DESCRIBED
_UNIT = np.array([index for index, _ in _PULLS])
_DIRECTION = np.array([(pull.outward, pull.down) for _, pull in _PULLS], np.float32)
_SIZE = np.array([(pull.width, pull.height) for _, pull in _PULLS], np.float32)
_SHIFT = np.array([pull.shift for _, pull in _PULLS], np.float32)


def unit_hills(
    faces: Faces,
    expressions: Expressions,
    strength: np.ndarray,
    ingredients: Ingredients,
    rng: np.random.Generator,
) -> Hills:
    """Return the hills of everything that the faces' action units move.

    Places and directions are those of `REAL_PULLS` or of the stand-in corpus (`motion.PULLS`).
    Subject by subject and unit by unit they differ in reach, direction, place and shape, and in how
    the parts of a unit share its motion.

    Args:
        faces: The faces.
        expressions: What they show.
        strength: `(n,)` largest displacement of each expression, px of `Faces`.
        ingredients: Looked at are `real` and `extent`.
        rng: Source of chance.
    """
    real = (rng.random((len(strength), len(ACTION_UNITS))) < REAL_SHARE) & ingredients.real
    acts = (expressions.strengths[:, _UNIT] > 0) & (real[:, _UNIT] == _REAL)
    face, pull = np.nonzero(acts)  # sorted by face
    unit = _UNIT[pull]
    marks = _landmarks(faces)[face, pull]  # (rows, 2)
    rows = len(face)
    middle = marks[:, 0] == 0.0

    of_unit = _Chance(rng, (len(strength), len(ACTION_UNITS)), face, unit, on=ingredients.extent)
    of_pull = _Chance(rng, (rows,), np.arange(rows), on=ingredients.extent)
    size = _SIZE[pull] * np.exp(0.29 * of_unit.normal(1) + 0.12 * of_pull.normal(2))
    turn = 0.2 * of_unit.normal() + 0.12 * of_pull.normal()
    place = marks + _SHIFT[pull] + 3.0 * of_unit.normal(2) + 2.0 * of_pull.normal(2)
    part = np.exp(0.3 * of_pull.normal()) / _peaks()[_REAL[pull].astype(int), unit]
    power = 2.0 * np.exp(0.25 * ingredients.extent + 0.35 * of_unit.normal())

    cos, sin = np.cos(turn), np.sin(turn)
    outward = cos * _DIRECTION[pull, 0] - sin * _DIRECTION[pull, 1]
    down = sin * _DIRECTION[pull, 0] + cos * _DIRECTION[pull, 1]
    length = strength[face] * expressions.strengths[face, unit] * part
    sides = expressions.sides[face, unit]
    # On the midline both sides pull at one place, and one side alone in the middle of its half.
    alone = sides.min(axis=1) == 0
    away = np.where(middle, np.where(alone, 0.5 * size[:, 0], place[:, 0]), place[:, 0])
    length = np.where(middle & ~alone, 0.5 * length, length)

    def both(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.stack([left, right], axis=1).reshape(-1).astype(np.float32)

    return Hills(
        face=np.repeat(face, 2),
        x=both(-away, away),
        y=np.repeat(place[:, 1], 2).astype(np.float32),
        move_x=both(-outward * length * sides[:, 0], outward * length * sides[:, 1]),
        move_y=both(down * length * sides[:, 0], down * length * sides[:, 1]),
        width=np.repeat(size[:, 0], 2).astype(np.float32),
        height=np.repeat(size[:, 1], 2).astype(np.float32),
        power=np.repeat(np.clip(power, 1.2, 6.0), 2).astype(np.float32),
    )


class _Chance:
    """Normal deviates that are the same for all rows of one unit of one face; 0 if switched off."""

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, ...], *index: np.ndarray, on: bool
    ) -> None:
        self._rng, self._shape, self._index, self._on = rng, shape, index, on

    def normal(self, columns: int | None = None) -> np.ndarray:
        """Return one deviate a row, or a row of them; beyond 2.5 deviations they are cut off."""
        more = () if columns is None else (columns,)
        drawn = np.clip(self._rng.standard_normal((*self._shape, *more), np.float32), -2.5, 2.5)
        return drawn[self._index] if self._on else np.zeros_like(drawn[self._index])


def _landmarks(faces: Faces) -> np.ndarray:
    """Return the anchor of each pull on each face, `(n, pulls, 2)`: away from the midline, y."""
    marks = landmarks_of(faces)
    count = len(faces.eye_x)
    return np.stack(
        [
            np.stack([np.broadcast_to(part, count) for part in marks[pull.at]], axis=-1)
            for _, pull in _PULLS
        ],
        axis=1,
    ).astype(np.float32)


@cache
def _peaks() -> np.ndarray:
    """Return the largest displacement by each unit as described and as real, `(2, units)`."""
    count = len(ACTION_UNITS)
    plain = Ingredients(extent=False, anatomy=False, crops=False)
    rng = np.random.default_rng(0)
    faces = draw_faces(count, plain, rng)
    pull = np.arange(len(_PULLS))
    marks = _landmarks(faces)[_UNIT, pull] + _SHIFT
    move = _DIRECTION * np.where(marks[:, :1] == 0, 0.5, 1.0)
    y, x = np.mgrid[-100:200:2, -120:120:2][:, None].astype(np.float32)
    total = np.zeros((2, count, *x.shape[1:], 2))
    for side in (-1, 1):
        across = (x - side * marks[:, 0, None, None]) / _SIZE[pull, 0, None, None]
        along = (y - marks[:, 1, None, None]) / _SIZE[pull, 1, None, None]
        hill = np.exp(-0.5 * (across**2 + along**2))[..., None] * (move * [side, 1])[:, None, None]
        np.add.at(total, (_REAL.astype(int), _UNIT), hill)
    return np.sqrt((total**2).sum(axis=-1)).max(axis=(2, 3))
