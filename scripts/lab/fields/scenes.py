"""What happens between two frames: an expression or none, with everything else that moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casme_tf.labels import ACTION_UNITS, BLINK
from casme_tf.synthetic.subject import step
from scripts.lab.fields.expressions import draw_expressions
from scripts.lab.fields.faces import Crops, Faces, draw_crops, draw_faces
from scripts.lab.fields.hills import render
from scripts.lab.fields.ingredients import Ingredients
from scripts.lab.fields.other_motion import (
    OTHER_KINDS,
    head_field,
    lid_hills,
    other_field,
    smooth_noise,
)
from scripts.lab.fields.unit_motion import unit_hills

NOTHING_SHARE = 0.25
"""Share of scenes without an expression."""

STRENGTHS = (0.5, 5.0)
"""Largest displacement of an expression, px of `Faces`, evenly spread in its logarithm."""

LIDS_SHARE = 0.6
"""Share of expressions during which lids or eyes move too."""

DRAG_SHARE = 0.6
"""Share of expressions that drag skin elsewhere along."""

# Of scenes without an expression: a still face, lids alone, the head alone, motion of no face.
_NOTHING = np.cumsum([0.2, 0.25, 0.2, 0.35])
_STILL, _LIDS, _HEAD, _OTHER = range(4)


@dataclass(frozen=True)
class Scenes:
    """n scenes and what is true of them.

    Attributes:
        faces: The faces.
        crops: How they are cut out.
        field: `(n, size, size, 2)` float32 true motion, px of a crop of `FRAME` px.
        emotions: `(n,)` int, indices of `DRAWN_EMOTIONS`, −1 for no expression.
        strengths: `(n, units)` float32, about the largest displacement by each of `ACTION_UNITS`,
            px of the crop; 0 where it does not act.
        quiet: `(n,)` bool, where the face is still.
    """

    faces: Faces
    crops: Crops
    field: np.ndarray
    emotions: np.ndarray
    strengths: np.ndarray
    quiet: np.ndarray


def draw_scenes(
    count: int, size: int, ingredients: Ingredients, rng: np.random.Generator
) -> Scenes:
    """Draw scenes.

    Args:
        count: Number of scenes.
        size: Cells a side of the fields.
        ingredients: What varies.
        rng: Source of chance.

    Example:
        >>> draw_scenes(3, 28, Ingredients(), np.random.default_rng(0)).field.shape
        (3, 28, 28, 2)
    """
    faces = draw_faces(count, ingredients, rng)
    crops = draw_crops(faces, ingredients, rng)
    expressions = draw_expressions(count, ingredients, rng)
    strength = _log_uniform(rng, *STRENGTHS, count)
    expression = render(unit_hills(faces, expressions, strength, ingredients, rng), crops, size)
    kind = np.searchsorted(_NOTHING, rng.random(count) * _NOTHING[-1])
    nothing = (rng.random(count) < NOTHING_SHARE) & ingredients.nothing
    field = np.where(nothing[:, None, None, None], np.float32(0), expression)

    others = np.flatnonzero(nothing & (kind == _OTHER))
    other = other_field(
        rng.integers(len(OTHER_KINDS), size=len(others)), expression[others], size, rng
    )
    field[others] = other * strength[others, None, None, None].astype(np.float32)

    lids = (nothing & (kind == _LIDS)) | ((rng.random(count) < LIDS_SHARE) & ~nothing)
    blink, gaze = _draw_lids(count, rng)
    blink, gaze = (np.where(lids & ingredients.lids, part.T, 0).T for part in (blink, gaze))
    field += render(lid_hills(faces, blink, gaze, rng), crops, size)

    dragged = strength * rng.uniform(0.03, 0.3, count) * (rng.random(count) < DRAG_SHARE)
    patch = step(smooth_noise(count, size, rng, finest=4) - 0.3, 0.6)
    patch = patch * smooth_noise(count, size, rng, channels=2, finest=4)
    dragged = np.where(nothing, 0, dragged) * ingredients.drag
    field += dragged[:, None, None, None].astype(np.float32) * patch

    amount = _log_uniform(rng, 0.02, 2.0, count) * (rng.random(count) < 0.85)
    amount = np.where(nothing & (kind == _HEAD), _log_uniform(rng, 0.3, 5.0, count), amount)
    field += head_field(faces, crops, size, amount * ingredients.head, rng)

    scale = np.sqrt(crops.scale().prod(axis=1))
    strengths = expressions.strengths * (np.where(nothing, 0, strength) * scale)[:, None]
    strengths[:, ACTION_UNITS.index(BLINK)] = np.clip(blink, 0, None) * scale
    return Scenes(
        faces,
        crops,
        field.astype(np.float32),
        np.where(nothing, -1, expressions.emotions),
        strengths.astype(np.float32),
        nothing & (kind == _STILL),
    )


def _draw_lids(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw how far lids close `(n,)` and eyes turn `(n, 2)`, px; at least one of them."""
    blinks = rng.random(count) < 0.7
    turns = (rng.random(count) < 0.4) | ~blinks
    blink = _log_uniform(rng, 0.7, 5.0, count) * np.where(rng.random(count) < 0.75, 1, -0.6)
    gaze = rng.standard_normal((count, 2)) * [2.0, 0.8]
    return blink * blinks, gaze * turns[:, None]


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), count))
