"""A recognizer that works out of the box: motion_net with weights learned from drawn fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from casme_tf.arrays import Pair, require_pair
from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS, FOUR, MEGC3, Scheme
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

__all__ = ["DrawnArtifact", "Recognition", "load"]

SCHEMES = {scheme.name: scheme for scheme in (FOUR, MEGC3)}
"""The class schemes that it answers in."""

FRAME = 224
"""Side of a crop, px, that strengths refer to."""

_BATCH = 16


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
        >>> load("megc3")(np.zeros((1, 28, 28, 3), "float32")).shape
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


def load_pair_model(
    scheme: str = "four", *, frame_size: int = FRAME, weights: Path | None = None
) -> keras.Model:
    """Return the model from a pair of frames to all answers, its optical flow in the graph."""
    _scheme(scheme)
    image, heads = _heads(weights)
    expression = keras.ops.sigmoid(heads["expression"])
    probabilities = class_probabilities(heads[scheme], heads["expression"])
    answers = {"probabilities": probabilities, "expression": expression, **_units(heads)}
    inputs = pair_inputs(frame_size)
    motion = pair_motion(frame_size)(inputs)
    network = keras.Model(image, answers, name="network")
    return keras.Model(inputs, {"motion": motion, **network(motion)}, name="motion_net_pair")


def threshold(scheme: str = "four", *, weights: Path | None = None) -> float:
    """Return the probability below which the likeliest class is no clear expression."""
    return read_training(weights or drawn_file())["thresholds"][_scheme(scheme).name]


@dataclass(frozen=True)
class Recognition:
    """What a pair of frames shows.

    Attributes:
        label: The likeliest class, or None if there is no clear expression.
        probabilities: Probability by class; all equal where nothing is expressed.
        expression: Probability that there is an expression at all.
        action_units: Probability that it acts, by number of the action unit; 45 is a blink.
        strengths: About the largest displacement by each action unit, if it acts, px of a crop of
            224 px.
        motion: `(28, 28, 3)` float32: dx, dy in px of a crop of 224 px, the head's motion left in,
            and the strain.
    """

    label: str | None
    probabilities: dict[str, float]
    expression: float
    action_units: dict[int, float]
    strengths: dict[int, float]
    motion: np.ndarray


class DrawnArtifact:
    """Answers for pairs of frames with the weights of this package; an `artifacts.Artifact`.

    Args:
        scheme: As for `load`.
        weights: As for `load`.
        traced: Make a graph for single pairs first: it takes some seconds, and an answer then takes
            a seventh of the time. Default False.

    Attributes:
        frame_size: Side S of the frames it takes, px.
        classes: Names of the classes, in the order of the probabilities.
        threshold: Probability below which the likeliest class is no clear expression; see
            `threshold`.

    Example:
        >>> frames = np.zeros((1, 224, 224, 3), np.uint8)
        >>> DrawnArtifact().look({"onset": frames, "apex": frames}).label is None
        True
    """

    frame_size = FRAME

    def __init__(
        self, scheme: str = "four", *, weights: Path | None = None, traced: bool = False
    ) -> None:
        self.classes = _scheme(scheme).classes
        self.threshold = threshold(scheme, weights=weights)
        self._model = load_pair_model(scheme, weights=weights)
        self._graph = None
        if traced:
            frames = tf.TensorSpec((1, FRAME, FRAME, 3), tf.uint8)
            signature = {"onset": frames, "apex": frames}
            self._graph = tf.function(self._model).get_concrete_function(signature)

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        require_pair(pair, FRAME)
        starts = range(0, len(pair["onset"]), _BATCH)
        parts = [{name: frames[i : i + _BATCH] for name, frames in pair.items()} for i in starts]
        return np.concatenate([self._answer(part)["probabilities"] for part in parts])

    def look(self, pair: Pair) -> Recognition:
        """Return everything that it sees in one pair."""
        require_pair(pair, FRAME)
        if len(pair["onset"]) != 1:
            raise UserError(f"Give one pair at a time to look at. Received: {len(pair['onset'])}.")
        answer = {name: values[0] for name, values in self._answer(pair).items()}
        likely = int(answer["probabilities"].argmax())
        clear = answer["probabilities"][likely] >= self.threshold
        return Recognition(
            label=self.classes[likely] if clear else None,
            probabilities=_named(self.classes, answer["probabilities"]),
            expression=float(answer["expression"][0]),
            action_units=_named(ACTION_UNITS, answer["action_units"]),
            strengths=_named(ACTION_UNITS, answer["strengths"]),
            motion=answer["motion"],
        )

    def _answer(self, pair: Pair) -> dict[str, np.ndarray]:
        # Not traced by default: a graph of the optical flow takes longer than many answers.
        single = len(pair["onset"]) == 1
        model = self._graph if self._graph is not None and single else self._model
        answers = model({name: tf.constant(frames) for name, frames in pair.items()})
        return {name: values.numpy() for name, values in answers.items()}


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


def _named(names: tuple, values: np.ndarray) -> dict:
    return dict(zip(names, map(float, values), strict=True))
