"""A recognizer that works out of the box: motion_net with weights learned from drawn fields."""

from __future__ import annotations

from pathlib import Path

import keras

from casme_tf.errors import UserError
from casme_tf.labels import FOUR, MEGC3, Scheme
from casme_tf.layers import NormalizeMotion
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.motion_net import (
    SIZE,
    assign_weights,
    class_probabilities,
    drawn_file,
    even_embedding,
    head_logits,
    pair_motion,
    read_training,
    read_weights,
)

__all__ = ["load", "load_recognizer", "threshold"]

SCHEMES = {scheme.name: scheme for scheme in (FOUR, MEGC3)}
"""The class schemes that it answers in."""

FRAME = 224
"""Side of a crop, px, that strengths refer to."""


def load(scheme: str = "four", *, weights: Path | None = None) -> keras.Model:
    """Return the classifier of motion.

    Args:
        scheme: Classes: "four" (default), those of `labels.FOUR`, or "megc3", of `labels.MEGC3`.
        weights: A weights.npz of `pretrain`. Default: the one of this package.

    Returns:
        A model from `motion` `(B, 28, 28, 3)`, as from `UVStrain` (dx and dy in any unit, strain
        in px per px, with or without the head's motion), to `probabilities` `(B, C)`. Where
        nothing is expressed they are all equal; see `threshold`.

    Raises:
        UserError: If there is no such scheme, or the weights are none.

    Example:
        >>> load("megc3")(keras.ops.zeros((1, 28, 28, 3))).shape
        TensorShape([1, 3])
    """
    _scheme(scheme)
    motion, heads = _heads(weights)
    probabilities = class_probabilities(heads[scheme], heads["expression"])
    return keras.Model(motion, probabilities, name=f"motion_net_{scheme}")


def load_action_units(*, weights: Path | None = None) -> keras.Model:
    """Return the detector of action units."""
    motion, heads = _heads(weights)
    return keras.Model(motion, _units(heads), name="motion_net_units")


def load_recognizer(*, weights: Path | None = None) -> keras.Model:
    """Return the model from a pair of frames to all answers, its optical flow in the graph.

    Its outputs are `motion`, `expression`, `action_units`, `strengths` and, by the name of each of
    `SCHEMES`, the probabilities of its classes; see `export.recognizer.Recognition`.
    """
    image, heads = _heads(weights)
    answers = {
        name: class_probabilities(heads[name], heads["expression"], f"_{name}") for name in SCHEMES
    }
    answers |= {"expression": keras.ops.sigmoid(heads["expression"]), **_units(heads)}
    inputs = pair_inputs(FRAME)
    motion = pair_motion(FRAME)(inputs)
    network = keras.Model(image, answers, name="network")
    return keras.Model(inputs, {"motion": motion, **network(motion)}, name="recognizer")


def threshold(scheme: str = "four", *, weights: Path | None = None) -> float:
    """Return the probability below which the likeliest class is no clear expression."""
    return read_training(weights or drawn_file())["thresholds"][_scheme(scheme).name]


def _heads(weights: Path | None) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """Return the input and the logits of all heads, with their weights."""
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    image = NormalizeMotion(name="encoding")(motion)
    heads = head_logits(even_embedding(image, dropout=0.0))
    assign_weights(keras.Model(motion, heads), read_weights(weights or drawn_file()))
    return motion, heads


def _units(heads: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
    return {
        "action_units": keras.ops.sigmoid(heads["action_units"]),
        "strengths": keras.ops.exp(heads["strengths"]),
    }


def _scheme(name: str) -> Scheme:
    if name not in SCHEMES:
        raise UserError(
            f"The scheme must be one of {', '.join(SCHEMES)}: other classes have no drawn "
            f"emotions. Received: {name!r}."
        )
    return SCHEMES[name]
