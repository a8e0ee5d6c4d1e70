"""A common interface to every stored form of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from casme_tf.arrays import Pair, require_pair
from casme_tf.errors import UserError
from casme_tf.runs import LABELS
from casme_tf.tflite_file import read_labels

__all__ = ["Artifact", "load_artifact"]

_BATCH = 16


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
        self._serve = self._loaded.signatures["serving_default"]
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
        self._run = self._interpreter.get_signature_runner("serving_default")
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
