"""Which action units go with which emotion, from the literature, for fields without a corpus.

This table shares no frequency with the stand-in corpus's own (`synthetic.emotions`): sets of an
emotion are equally likely here, emotions of a class too, and so are classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casme_tf.labels import ACTION_UNITS, EMOTIONS, FOUR
from scripts.lab.fields.ingredients import Ingredients

SETS: dict[str, tuple[str, ...]] = {
    "anger": (
        "4+5+7+24", "4+7", "4+5+7", "4+5+7+17+24", "4+7+24", "4+7+17", "4+5", "17+24", "4",
    ),
    "contempt": ("14", "12+14", "10", "10+14"),
    "disgust": (
        "9+10+17", "9", "10", "4+9", "4+7+9", "9+17", "10+17", "4+10", "4+7+10", "9+25", "4+7",
    ),
    "fear": (
        "1+2+4+5+20+25", "1+2+4", "1+2+4+5", "1+4+20", "1+4+20+25", "4+20", "5+20", "20", "1+4",
        "20+25", "20+26",
    ),
    "happiness": ("6+12", "12", "12+25", "6+12+25", "6+7+12"),
    "others": (
        "14", "17", "24", "20", "4", "4+7", "7", "1", "2", "1+2", "25", "26", "14+17", "14+24",
        "17+24", "4+14", "4+24", "12+14", "5", "15",
    ),
    "repression": ("15+17", "15", "17", "12+15", "12+17", "14+17", "14+15", "12+24", "15+24"),
    "sadness": ("1+4+15", "1", "15", "1+4", "1+15", "4+15", "15+17", "6+15", "1+4+15+17"),
    "surprise": (
        "1+2+5+26", "1+2", "1+2+5", "1+2+25", "1+2+26", "2",
    ),
}  # fmt: skip
"""Sets of action units by emotion; the first is the full one.

Anger to surprise after the prototypes and variants of Ekman, Friesen and Hager, "FACS
Investigator's Guide" (2002), the consistent and frequent units of Du, Tao and Martinez, "Compound
facial expressions of emotion" (PNAS 111(15), 2014), and the sets that Davison, Merghani and Yap,
"Objective Classes for Micro-Facial Expression Recognition" (J. Imaging 4(10), 2018), take for one
emotion each. Repression is a smile or a sulk held back, after Ekman and Friesen, "Felt, false, and
miserable smiles" (J. Nonverbal Behavior 6, 1982). "Others" are what Ekman, "About brows" (1979),
calls conversational signals, and single movements that belong to no emotion or to several. Units
that the corpus's faces cannot make (11, 16, 22, 23, 27) are left out.
"""

ALONG: dict[str, dict[int, float]] = {
    "anger": {10: 0.15, 25: 0.1},
    "contempt": {},
    "disgust": {4: 0.2, 7: 0.15, 25: 0.1},
    "fear": {25: 0.2, 26: 0.1},
    "happiness": {25: 0.2, 7: 0.1, 10: 0.05},
    "others": {},
    "repression": {24: 0.1},
    "sadness": {6: 0.15, 17: 0.2},
    "surprise": {25: 0.15, 5: 0.15},
}
"""Chance of further units of each emotion."""

DRAWN_EMOTIONS = tuple(SETS)
"""The emotions that are drawn, in the order of `Expressions.emotions`."""

STRAY = 0.1
"""Chance of one more unit that has nothing to do with the emotion."""

ONE_SIDED = {"contempt": 0.7, "others": 0.25}
"""Chance that the left or the right side moves alone; of other emotions 0.1."""


def class_of(emotion: str) -> str:
    """Return the class of a drawn emotion in the scheme `four`; anger and contempt are negative."""
    known = FOUR.class_of(emotion) if emotion in EMOTIONS else None
    return known or "negative"


@dataclass(frozen=True)
class Expressions:
    """What n faces show.

    Attributes:
        emotions: `(n,)` int, indices of `DRAWN_EMOTIONS`, −1 for no expression.
        strengths: `(n, units)` float32, of each of `ACTION_UNITS` relative to the whole expression;
            0 where a unit does not act.
        sides: `(n, units, 2)` float32, share of the strength on the left and on the right side of
            the image.
    """

    emotions: np.ndarray
    strengths: np.ndarray
    sides: np.ndarray


def draw_expressions(count: int, ingredients: Ingredients, rng: np.random.Generator) -> Expressions:
    """Draw expressions, each class of the scheme `four` equally often.

    Args:
        count: Number of faces.
        ingredients: Looked at are `variants` and `asymmetry`.
        rng: Source of chance.

    Returns:
        Expressions; none of them blinks.

    Example:
        >>> draw_expressions(5, Ingredients(), np.random.default_rng(0)).strengths.shape
        (5, 17)
    """
    groups = [
        [i for i, emotion in enumerate(DRAWN_EMOTIONS) if class_of(emotion) == name]
        for name in FOUR.classes
    ]
    of_class = rng.integers(len(groups), size=count)
    pick = rng.random((count, 4))
    emotions = np.array(
        [groups[k][int(pick[i, 0] * len(groups[k]))] for i, k in enumerate(of_class)]
    )
    acts = np.zeros((count, len(ACTION_UNITS)), bool)
    for i, k in enumerate(emotions):
        tables = _TABLES[k] if ingredients.variants else _TABLES[k][:1]
        acts[i] = tables[int(pick[i, 1] * len(tables))]
    if ingredients.variants:
        acts |= rng.random(acts.shape) < _CHANCE_ALONG[emotions]
        stray = np.flatnonzero(pick[:, 2] < STRAY)
        acts[stray, rng.integers(len(ACTION_UNITS) - 1, size=len(stray))] = True
    strengths = acts * np.exp(0.3 * rng.standard_normal(acts.shape))
    strengths /= strengths.max(axis=1, keepdims=True)
    sides = np.ones((*acts.shape, 2))
    if ingredients.asymmetry:
        lean = np.clip(0.3 * rng.standard_normal(acts.shape), -0.8, 0.8)
        alone = pick[:, 3] < _CHANCE_ONE_SIDED[emotions]
        lean[alone] = rng.choice([-1.0, 1.0], size=(alone.sum(), 1))
        sides = 1 + np.stack([-lean, lean], axis=-1)
        sides /= sides.max(axis=-1, keepdims=True)
    return Expressions(emotions, strengths.astype(np.float32), sides.astype(np.float32))


def _row(units: str) -> np.ndarray:
    return np.isin(ACTION_UNITS, [int(unit) for unit in units.split("+")])


_TABLES = [np.stack([_row(units) for units in sets]) for sets in SETS.values()]
_CHANCE_ALONG = np.array([[ALONG[name].get(unit, 0.0) for unit in ACTION_UNITS] for name in SETS])
_CHANCE_ONE_SIDED = np.array([ONE_SIDED.get(name, 0.1) for name in SETS])
