"""One interface to every stored form of a model, this package's own recognizer included."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from casme_tf.arrays import Pair, require_pair
from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS, FOUR, MEGC3
from casme_tf.runs import LABELS
from casme_tf.tflite_file import read_labels

__all__ = [
    "Artifact",
    "Recognition",
    "ShippedArtifact",
    "load_artifact",
]

_BATCH = 16

SIGNATURE = "serving_default"
"""What SavedModels and TFLite files answer pairs of frames by."""

RECOGNIZER = Path(str(files("casme_tf"))) / "models" / "drawn_motion_net" / "recognizer.tflite"
"""The recognizer of this package, next to the weights that `scripts/lab/write_recognizer.py` made
it from."""

FRAME = 224
"""Side of its frames, px, that strengths refer to."""

_SCHEMES = {scheme.name: scheme for scheme in (FOUR, MEGC3)}


class Artifact(Protocol):
    """A model that predicts, whatever it is stored as.

    Attributes:
        frame_size: Side S of the frames it takes, px.
        classes: Names of the classes, in the order of the probabilities.
    """

    frame_size: int
    classes: tuple[str, ...]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        ...


class KerasArtifact:
    """A `.keras` file, with labels.txt beside it."""

    def __init__(self, path: Path) -> None:
        self._model = read_keras_model(path)
        self.frame_size = int(self._model.input["onset"].shape[1])
        self.classes = _lines(path.with_name(LABELS))

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        require_pair(pair, self.frame_size)
        return predict_in_batches(self._model, pair)


class SavedModelArtifact:
    """A SavedModel folder; its code is in the graph."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(path))
        self._serve = self._loaded.signatures[SIGNATURE]
        self._constant = tf.constant
        _, inputs = self._serve.structured_input_signature
        self.frame_size = int(inputs["onset"].shape[1])
        names = self._loaded.signatures["class_names"]()["class_names"].numpy()
        self.classes = tuple(name.decode() for name in names)

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        require_pair(pair, self.frame_size)
        answers = [
            self._serve(**{name: self._constant(pair[name][i : i + _BATCH]) for name in pair})
            for i in range(0, len(pair["onset"]), _BATCH)
        ]
        return np.concatenate([answer["probabilities"].numpy() for answer in answers])


class LiteRTArtifact:
    """A `.tflite` file, run by LiteRT; TensorFlow is not imported."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._run = self._interpreter.get_signature_runner(SIGNATURE)
        self.frame_size = int(self._run.get_input_details()["onset"]["shape"][1])
        self.classes = read_labels(path)

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        require_pair(pair, self.frame_size)
        # Fed by name: the file lists its inputs in another order than the model.
        return np.concatenate(
            [
                self._run(onset=pair["onset"][i : i + 1], apex=pair["apex"][i : i + 1])[
                    "probabilities"
                ]
                for i in range(len(pair["onset"]))
            ]
        )


def predict_in_batches(model: Any, pair: Pair) -> np.ndarray:
    """Return the probabilities of `n` pairs, `(n, classes)` float32."""
    starts = range(0, len(pair["onset"]), _BATCH)
    parts = ({name: x[i : i + _BATCH] for name, x in pair.items()} for i in starts)
    return np.concatenate([model.predict_on_batch(part) for part in parts])


def read_keras_model(path: Path) -> Any:
    """Return the `keras.Model` of a .keras file of this package, not compiled."""
    import keras

    import casme_tf.layers  # noqa: F401  (registers what the file is made of)

    return keras.models.load_model(path, compile=False)


def load_artifact(path: Path) -> Artifact:
    """Load a model of this package; its kind is known by its name.

    Args:
        path: A `.keras` file, a `.tflite` file, a SavedModel folder, or the folder of its versions
            as TensorFlow Serving takes it, of which the newest is loaded.

    Returns:
        The model.

    Raises:
        UserError: If there is nothing, or it is no model that takes an onset and an apex frame.
    """
    path = _newest_version(path)
    loaders = {".keras": KerasArtifact, ".tflite": LiteRTArtifact}
    loader = SavedModelArtifact if path.is_dir() else loaders.get(path.suffix)
    if loader is None or not path.exists():
        raise UserError(
            "A model must be a .keras file, a .tflite file or a SavedModel folder. "
            f"Received: {path}{'' if path.exists() else ', which does not exist'}."
        )
    try:
        return loader(path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            "A model must be one that this package exported, with inputs onset and apex. "
            f"Received: {path}, which could not be loaded ({first[:200]})."
        ) from error


def _newest_version(path: Path) -> Path:
    """Return the folder of the highest number in a folder of versions; anything else as it is."""
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return path
    versions = [entry for entry in path.iterdir() if entry.is_dir() and entry.name.isdecimal()]
    return max(versions, key=lambda entry: int(entry.name), default=path)


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise UserError(
            f"A .keras model must have its run's {LABELS} beside it. Received: {path.parent}, "
            "without it. Copy both."
        )
    return tuple(path.read_text().split("\n")[:-1])


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
    """motion_net with the weights of this package, its flow inside; an `Artifact`.

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
        training = json.loads(RECOGNIZER.with_name("training.json").read_text(encoding="utf-8"))
        self.threshold: float = training["thresholds"][scheme]
        self._interpreter = Interpreter(str(RECOGNIZER), num_threads=threads)
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
