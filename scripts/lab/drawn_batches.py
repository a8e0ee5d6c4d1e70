"""Batches of drawn fields to train on, one after another, whichever thread draws them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from casme_tf.labels import FOUR, MEGC3
from casme_tf.progress import progress
from casme_tf.training.inputs import Augmentation, augment_flow
from scripts.lab.fields import DRAWN_EMOTIONS, Ingredients, MotionFields, draw_fields
from scripts.lab.fields.expressions import class_of
from scripts.lab.fields.painted_pairs import painted_fields

PAINTED_SHARE = 0.25
"""Share of each batch that is real optical flow between painted skins."""

_MOVES = Augmentation(shift=0.06, rotation=5.0, scale=0.1)
_AHEAD = 3  # batches
_DRAWN = 1  # stream of chance; painted pairs have another

Batch = tuple[np.ndarray, dict[str, np.ndarray]]


def paint_bank(count: int, seed: int, ingredients: Ingredients) -> MotionFields:
    """Compute the flow of so many painted pairs, to be used again and again."""
    parts = []
    with progress(total=count, desc="painting skins", unit="pair") as bar:
        for part in painted_fields(count, seed, ingredients):
            parts.append(part)
            bar.update(len(part))
    return MotionFields.join(parts)


def targets(fields: MotionFields) -> dict[str, np.ndarray]:
    """Return what each head is to learn of fields.

    Returns:
        By name of the head, float32: `action_units` `(n, units)` 0 or 1; `strengths` `(n, units)`
        px, 0 where a unit does not act; `expression` `(n, 1)`; and, for each scheme, `(n, C)` a 1
        at the class, nothing but 0 where there is none.
    """
    of_emotion = [
        [class_of(emotion) == name for name in FOUR.classes] for emotion in DRAWN_EMOTIONS
    ]
    # The last row is no expression, whose index is -1.
    four = np.array([*of_emotion, [False] * len(FOUR.classes)], np.float32)
    # Every negative emotion is one of the scheme's negative class, also those it has no clips of.
    kept = [FOUR.classes.index(name) for name in MEGC3.classes]
    return {
        "action_units": (fields.strengths > 0).astype(np.float32),
        "strengths": fields.strengths,
        "expression": (fields.emotions >= 0)[:, None].astype(np.float32),
        "four": four[fields.emotions],
        "megc3": four[fields.emotions][:, kept],
    }


def training_batches(
    steps: int, batch_size: int, bank: MotionFields | None, seed: int, ingredients: Ingredients
) -> Iterator[Batch]:
    """Draw batches, each from its number and the seed alone, some ahead of their use.

    Args:
        steps: Number of batches.
        batch_size: Fields a batch.
        bank: Fields of painted pairs, moved and mirrored at random each time; None for none.
        seed: Seed of everything random.
        ingredients: What varies.

    Yields:
        Motion `(batch_size, 28, 28, 3)` and the targets of it.
    """
    painted = 0 if bank is None else round(PAINTED_SHARE * batch_size)

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([seed, _DRAWN, step])
        fields = draw_fields(batch_size - painted, rng, ingredients)
        if bank is not None:
            chosen = bank.take(rng.integers(len(bank), size=painted))
            moves = tf.constant([seed, step], tf.int32)
            moved = augment_flow(tf.constant(chosen.motion), _MOVES, moves).numpy()
            painted_ones = MotionFields(moved, chosen.emotions, chosen.strengths)
            fields = MotionFields.join([fields, painted_ones])
        return fields.motion, targets(fields)

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(draw, step) for step in range(min(_AHEAD, steps))]
        for step in range(steps):
            batch = waiting.pop(0).result()
            if step + _AHEAD < steps:
                waiting.append(pool.submit(draw, step + _AHEAD))
            yield batch
