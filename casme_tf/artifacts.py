"""One small interface to every form that a trained model is kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from casme_tf.errors import UserError

Pair = dict[str, np.ndarray]
"""`onset` and `apex`, each `(n, S, S, 3)` uint8 RGB."""


class Artifact(Protocol):
    """A model that answers, whatever it is stored as.

    Attributes:
        frame_size: Side S of the frames it takes, px.
    """

    frame_size: int

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        ...


class KerasArtifact:
    """A `.keras` file."""

    def __init__(self, path: Path) -> None:
        import keras

        import casme_tf.layers  # noqa: F401  (registers what the file is made of)

        self._model = keras.models.load_model(path, compile=False)
        self.frame_size = int(self._model.input["onset"].shape[1])

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        return self._model.predict(pair, batch_size=16, verbose=0)


class SavedModelArtifact:
    """A SavedModel folder; its code is in the graph."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(path))
        self._serve = self._loaded.signatures["serving_default"]
        self._constant = tf.constant
        _, inputs = self._serve.structured_input_signature
        self.frame_size = int(inputs["onset"].shape[1])

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        count = len(pair["onset"])
        answers = [
            self._serve(**{name: self._constant(x[i : i + 16]) for name, x in pair.items()})
            for i in range(0, count, 16)
        ]
        return np.concatenate([answer["probabilities"].numpy() for answer in answers])


class LiteRTArtifact:
    """A `.tflite` file, run by LiteRT; TensorFlow is not imported.

    Args:
        path: The file.
        threads: Number of threads. Default 2.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._run = self._interpreter.get_signature_runner("serving_default")
        self.frame_size = int(self._run.get_input_details()["onset"]["shape"][1])

    def __call__(self, pair: Pair) -> np.ndarray:
        """Return the probabilities of `n` pairs, `(n, classes)` float32."""
        # Fed by name: the file lists its inputs in another order than the model.
        return np.concatenate(
            [
                self._run(onset=pair["onset"][i : i + 1], apex=pair["apex"][i : i + 1])[
                    "probabilities"
                ]
                for i in range(len(pair["onset"]))
            ]
        )


def load_artifact(path: Path) -> Artifact:
    """Load a model of this package, told apart by its name.

    Args:
        path: A `.keras` file, a `.tflite` file or a SavedModel folder.

    Returns:
        The model.

    Raises:
        UserError: If there is nothing, or it is no model that takes an onset and an apex frame.

    Example:
        >>> answer = load_artifact(Path("saved_models/demo/model_float32.tflite"))  # doctest: +SKIP
        >>> answer({"onset": onset, "apex": apex}).shape  # doctest: +SKIP
        (1, 4)
    """
    loaders = {".keras": KerasArtifact, ".tflite": LiteRTArtifact}
    loader = SavedModelArtifact if path.is_dir() else loaders.get(path.suffix)
    if loader is None or not path.exists():
        raise UserError(
            "A model must be a .keras file, a .tflite file or a SavedModel folder. "
            f"Received: {path}{'' if path.exists() else ', which does not exist'}."
        )
    try:
        return loader(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            "A model must be one that this package exported, with inputs onset and apex. "
            f"Received: {path}, which could not be loaded ({first[:200]})."
        ) from error
