"""Training motion_net on drawn fields, from a seed to weights."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.cli.main import run_command
from casme_tf.errors import UserError
from casme_tf.files import atomic_folder
from casme_tf.labels import FOUR, MEGC3
from casme_tf.layers import NormalizeMotion
from casme_tf.models import motion_net
from casme_tf.models.motion_net import SIZE, TRAINING, WEIGHTS, head_logits, trunk, write_weights
from casme_tf.progress import progress
from casme_tf.runs import MODEL_CARD, versions
from scripts.lab.drawn_batches import paint_bank, training_batches
from scripts.lab.drawn_card import render_drawn_card
from scripts.lab.fields import Ingredients, MotionFields, draw_fields
from scripts.lab.fields.painted_pairs import painted_fields

DROPOUT = 0.4
WEIGHT_DECAY = 1e-3
_LOGGED_EVERY = 50  # steps

FALSE_ALARMS = 0.1
"""Share of fields without an expression that may pass for a clear one; it sets the thresholds."""

HELD_OUT = 4000
"""Drawn fields that nothing is trained on, for the thresholds; with a quarter as many painted."""

_HELD_OUT_SEED = 2**31 - 1  # no training may have it

_LOSS_WEIGHTS = {"action_units": 8.0, "strengths": 0.25, "expression": 1.0}
_LOSS_WEIGHTS |= {scheme.name: 1.0 for scheme in (FOUR, MEGC3)}


@dataclass(frozen=True)
class PretrainConfig:
    """Train motion_net on drawn fields of motion alone, as the weights of this package were."""

    out: Path = Path("build/motion_net")
    """Folder to make, for weights.npz, training.json and model_card.md."""
    seed: int = 12
    """Seed of everything random; the same seed gives the same weights on the same machine."""
    steps: int = 600
    """Number of steps."""
    batch_size: int = 256
    """Fields a step; each is drawn for it and seen once, but for those of painted pairs."""
    learning_rate: float = 2e-3
    """Step size of AdamW at the beginning; it falls to 0 along a cosine."""
    painted: int = 6000
    """Pairs of painted skins whose optical flow is a quarter of all fields, again and again."""
    without: tuple[str, ...] = ()
    """Ingredients of the drawings to leave out: variants, asymmetry, real, extent, anatomy, crops,
    drag, lids, head, smoothing, noise, artifacts, nothing or farneback."""
    overwrite: bool = False
    """Replace the folder if it exists."""


def pretrain(config: PretrainConfig) -> Path:
    """Train motion_net on drawn fields, and write weights and how they were made.

    The same seed gives the same bytes on the same machine.

    Args:
        config: What to train; see `PretrainConfig`.

    Returns:
        The folder, with weights.npz, training.json and model_card.md.

    Raises:
        UserError: If an argument is out of range, or the folder exists.
    """
    _check(config)
    ingredients = without(config.without)
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        bank = None
        if ingredients.farneback:
            bank = paint_bank(config.painted, config.seed, ingredients)
        model = pretraining_model()
        _fit(model, config, bank, ingredients)
        write_weights(model, folder / WEIGHTS)
        record = {
            **{name: getattr(config, name) for name in ("seed", "steps", "batch_size")},
            "learning_rate": config.learning_rate,
            "fields": config.steps * config.batch_size,
            "painted_pairs": 0 if bank is None else len(bank),
            "ingredients": asdict(ingredients),
            "parameters": int(model.count_params()),
            "versions": versions(),
            "thresholds": _thresholds(folder / WEIGHTS),
            "false_alarms": FALSE_ALARMS,
        }
        (folder / TRAINING).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / MODEL_CARD).write_text(render_drawn_card(record), encoding="utf-8")
    return config.out


def without(names: tuple[str, ...]) -> Ingredients:
    """Return all ingredients but some.

    Raises:
        UserError: If one is unknown.
    """
    known = vars(Ingredients())
    for name in names:
        if name not in known:
            raise UserError(f"--without must name some of {', '.join(known)}. Received: {name}.")
    return Ingredients(**dict.fromkeys(names, False))


def pretraining_model(dropout: float = DROPOUT) -> keras.Model:
    """Build motion_net with all its heads, from `motion` to their logits; see `head_logits`."""
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    image = NormalizeMotion(name="encoding")(motion)
    return keras.Model(motion, head_logits(trunk(image, dropout)), name="motion_net")


def strength_loss(truth: tf.Tensor, logarithm: tf.Tensor) -> tf.Tensor:
    """Return how far the logarithm of strengths is off, over the units that act, `(B,)`."""
    acts = tf.cast(truth > 0, tf.float32)
    off = tf.abs(tf.math.log(tf.maximum(truth, 0.05)) - logarithm)
    return tf.reduce_sum(acts * off, axis=-1)


def class_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of classes, `(B,)`: 0, as is its gradient, where none is true."""
    # TensorFlow's own takes it that every row of targets adds up to 1: where a row is all zeros
    # its loss is 0, but its gradient is not.
    return -tf.reduce_sum(truth * tf.nn.log_softmax(logits), axis=-1)


def _fit(
    model: keras.Model,
    config: PretrainConfig,
    bank: MotionFields | None,
    ingredients: Ingredients,
) -> None:
    """Train in place; every drawn field is seen once."""
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    losses = {"action_units": binary, "strengths": strength_loss, "expression": binary}
    losses |= {scheme.name: class_loss for scheme in (FOUR, MEGC3)}
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=1.0),
        loss=losses,
        loss_weights=_LOSS_WEIGHTS,
    )
    batches = training_batches(config.steps, config.batch_size, bank, config.seed, ingredients)
    with progress(total=config.steps, desc="training", unit="step") as bar:
        for step, (motion, truth) in enumerate(batches):
            logs: dict[str, Any] = model.train_on_batch(motion, truth, return_dict=True)
            bar.update()
            if step % _LOGGED_EVERY == _LOGGED_EVERY - 1:
                bar.set_postfix(loss=f"{logs['loss']:.3f}")
                model.reset_metrics()


def _thresholds(weights: Path) -> dict[str, float]:
    """Return, by scheme, the probability that few fields without an expression reach."""
    nothing = _motion_without_expression(HELD_OUT)
    thresholds = {}
    for scheme in (FOUR, MEGC3):
        likeliest = motion_net.load(scheme.name, weights=weights)(nothing).numpy().max(axis=1)
        thresholds[scheme.name] = round(float(np.quantile(likeliest, 1 - FALSE_ALARMS)), 3)
    return thresholds


@cache
def _motion_without_expression(count: int) -> np.ndarray:
    """Draw so many fields and paint a quarter as many; return the motion of those without one."""
    drawn = draw_fields(count, np.random.default_rng(_HELD_OUT_SEED))
    fields = MotionFields.join([drawn, *painted_fields(count // 4, _HELD_OUT_SEED)])
    return fields.motion[fields.emotions < 0]


def _check(config: PretrainConfig) -> None:
    for name, value, low, high in (
        ("seed", config.seed, 0, 2**31 - 2),
        ("steps", config.steps, 1, 10**6),
        ("batch-size", config.batch_size, 4, 4096),
        ("painted", config.painted, 1, 10**6),
    ):
        if not low <= value <= high:
            raise UserError(f"--{name} must be from {low} to {high}. Received: {value}.")
    if not 0 < config.learning_rate < 1:
        raise UserError(
            f"--learning-rate must be above 0 and below 1. Received: {config.learning_rate}."
        )
    if config.out.exists() and not config.overwrite:
        raise UserError(f"{config.out} must not exist yet. Choose another --out, or --overwrite.")


def main(config: PretrainConfig) -> None:
    """Train, and print the folder of the weights."""
    print(pretrain(config))


if __name__ == "__main__":
    sys.exit(run_command(PretrainConfig, main))
