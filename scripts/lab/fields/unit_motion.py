"""Motion by action units on many faces at once, each subject in a way of their own."""

from __future__ import annotations

from functools import cache

import numpy as np

from casme_tf.labels import ACTION_UNITS
from casme_tf.synthetic.action_units import PULLS
from casme_tf.synthetic.subject import landmarks_of
from scripts.lab.fields.expressions import Expressions
from scripts.lab.fields.faces import Faces, draw_faces
from scripts.lab.fields.hills import Hills
from scripts.lab.fields.ingredients import Ingredients

_PULLS = [(index, pull) for index, unit in enumerate(ACTION_UNITS) for pull in PULLS[unit]]
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

    Places and directions are those of the stand-in corpus (`action_units.PULLS`). Person by subject
    and unit by unit they differ in reach, direction, place and shape, and in how the parts of a
    unit share its motion.

    Args:
        faces: The faces.
        expressions: What they show.
        strength: `(n,)` largest displacement of each expression, px of `Faces`.
        ingredients: Looked at is `extent`.
        rng: Source of chance.
    """
    face, pull = np.nonzero(expressions.strengths[:, _UNIT])  # sorted by face
    unit = _UNIT[pull]
    marks = _landmarks(faces)[face, pull]  # (rows, 2)
    rows = len(face)
    middle = marks[:, 0] == 0.0

    of_unit = _Chance(rng, (len(strength), len(ACTION_UNITS)), face, unit, on=ingredients.extent)
    of_pull = _Chance(rng, (rows,), np.arange(rows), on=ingredients.extent)
    size = _SIZE[pull] * np.exp(0.22 * of_unit.normal(1) + 0.12 * of_pull.normal(2))
    turn = 0.2 * of_unit.normal() + 0.12 * of_pull.normal()
    place = marks + _SHIFT[pull] + 3.0 * of_unit.normal(2) + 2.0 * of_pull.normal(2)
    part = np.exp(0.3 * of_pull.normal()) / _peaks()[unit]
    power = 2.0 + 0.35 * of_unit.normal()

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
        power=np.repeat(np.clip(power, 1.2, 3.0), 2).astype(np.float32),
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
    """Return the largest displacement by each unit whose pulls have their lengths in `PULLS`."""
    count = len(ACTION_UNITS)
    plain = Ingredients(extent=False, anatomy=False, crops=False)
    rng = np.random.default_rng(0)
    faces = draw_faces(count, plain, rng)
    face, pull = np.nonzero(np.eye(count, dtype=bool)[:, _UNIT])
    marks = _landmarks(faces)[face, pull] + _SHIFT[pull]
    move = _DIRECTION[pull] * np.where(marks[:, :1] == 0, 0.5, 1.0)
    y, x = np.mgrid[-100:200:2, -120:120:2][:, None].astype(np.float32)
    total = np.zeros((count, *x.shape[1:], 2))
    for side in (-1, 1):
        across = (x - side * marks[:, 0, None, None]) / _SIZE[pull, 0, None, None]
        along = (y - marks[:, 1, None, None]) / _SIZE[pull, 1, None, None]
        hill = np.exp(-0.5 * (across**2 + along**2))[..., None] * (move * [side, 1])[:, None, None]
        np.add.at(total, face, hill)
    return np.sqrt((total**2).sum(axis=-1)).max(axis=(1, 2))
