"""The recognizer that comes with this package: one LiteRT file that needs no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from casme_tf.arrays import Pair, require_pair
from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS, FOUR, MEGC3

__all__ = ["Recognition", "ShippedArtifact"]

RECOGNIZER = "recognizer.tflite"
"""The file, next to the weights that `python -m scripts.lab.write_recognizer` made it from."""

FOLDER = Path(str(files("casme_tf"))) / "models" / "drawn_motion_net"
FRAME = 224
"""Side of the frames, px, that strengths refer to."""

SIGNATURE = "serving_default"
_SCHEMES = {scheme.name: scheme for scheme in (FOUR, MEGC3)}


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


class ShippedArtifact:
    """motion_net with the weights of this package, its flow inside; an `artifacts.Artifact`.

    Args:
        scheme: Classes: "four" (default), those of `labels.FOUR`, or "megc3", of `labels.MEGC3`.
        threads: Threads of LiteRT. Default: 2.

    Attributes:
        frame_size: Side S of the frames it takes, px.
        classes: Names of the classes, in the order of the probabilities.
        threshold: Probability below which the likeliest class is no clear expression.

    Raises:
        UserError: If there is no such scheme.

    Example:
        >>> frames = np.zeros((1, 224, 224, 3), np.uint8)
        >>> ShippedArtifact().look({"onset": frames, "apex": frames}).label is None
        True
    """

    frame_size = FRAME

    def __init__(self, scheme: str = "four", *, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if scheme not in _SCHEMES:
            raise UserError(
                f"The scheme must be one of {', '.join(_SCHEMES)}: other classes have no drawn "
                f"emotions. Received: {scheme!r}."
            )
        self.scheme = scheme
        self.classes = _SCHEMES[scheme].classes
        training = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
        self.threshold: float = training["thresholds"][scheme]
        self._interpreter = Interpreter(str(FOLDER / RECOGNIZER), num_threads=threads)
        self._run = self._interpreter.get_signature_runner(SIGNATURE)

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        require_pair(pair, FRAME)
        count = len(pair["onset"])
        return np.concatenate([self._answer(pair, i)[self.scheme] for i in range(count)])

    def look(self, pair: Pair) -> Recognition:
        """Return everything that it sees in one pair."""
        require_pair(pair, FRAME)
        if len(pair["onset"]) != 1:
            raise UserError(f"Give one pair at a time to look at. Received: {len(pair['onset'])}.")
        answer = {name: values[0] for name, values in self._answer(pair, 0).items()}
        probabilities = answer[self.scheme]
        likely = int(probabilities.argmax())
        return Recognition(
            label=self.classes[likely] if probabilities[likely] >= self.threshold else None,
            probabilities=_named(self.classes, probabilities),
            expression=float(answer["expression"][0]),
            action_units=_named(ACTION_UNITS, answer["action_units"]),
            strengths=_named(ACTION_UNITS, answer["strengths"]),
            motion=answer["motion"],
        )

    def _answer(self, pair: Pair, i: int) -> dict[str, np.ndarray]:
        return self._run(onset=pair["onset"][i : i + 1], apex=pair["apex"][i : i + 1])


def _named(names: tuple, values: np.ndarray) -> dict:
    return dict(zip(names, map(float, values), strict=True))
