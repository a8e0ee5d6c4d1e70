"""A model as TFLite files: float32 motion in all of them, the network in four number formats."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.models import split_model
from casme_tf.progress import progress
from casme_tf.runs import NUMBER_FORMATS
from casme_tf.tflite_file import join_tflite

__all__ = ["convert_tflite"]

SIGNATURE = "serving_default"
Tensors = dict[str, tf.Tensor]


def convert_tflite(
    model: keras.Model, frames: dict[str, np.ndarray], formats: Sequence[str] = NUMBER_FORMATS
) -> Iterator[tuple[str, bytes]]:
    """Convert for one pair at a time.

    Motion and network are converted separately and joined, so that motion is float32 in every file:
    the flow of a pixel does not survive eight bits.

    Args:
        model: A classifier of this package.
        frames: Training pairs, `onset` and `apex` each `(n, S, S, 3)` uint8, which set the
            ranges that int8 covers.
        formats: Number formats of the network; see `NUMBER_FORMATS`.

    Yields:
        Each format and the content of its `.tflite` file.
    """
    if not formats:
        return
    motion, encoding, network = split_model(model)
    as_dictionary = isinstance(network.input, dict)
    inputs = network.input if as_dictionary else {"image": network.input}
    size = model.input["onset"].shape[1]

    def encode(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        x = motion({"onset": onset, "apex": apex}, training=False)
        x = x if encoding is None else encoding(x)
        return x if as_dictionary else {"image": x}

    def answer(*features: tf.Tensor) -> Tensors:
        x = dict(zip(inputs, features, strict=True))
        return {"probabilities": network(x if as_dictionary else x["image"], training=False)}

    pair = [tf.TensorSpec((1, size, size, 3), tf.uint8, name) for name in ("onset", "apex")]
    encode_pair = tf.function(encode, input_signature=pair)

    def calibration() -> Iterator[Tensors]:
        count = len(frames["onset"])
        for i in progress(range(count), desc="calibrating int8", unit="pair"):
            yield encode_pair(*(tf.constant(frames[name][i : i + 1]) for name in ("onset", "apex")))

    features = [tf.TensorSpec((1, *x.shape[1:]), tf.float32, name) for name, x in inputs.items()]
    with tempfile.TemporaryDirectory(prefix="casme_tf_") as folder:
        first, second = Path(folder, "motion"), Path(folder, "network")
        _write_graph(first, encode, pair)
        _write_graph(second, answer, features)
        head = _convert(_converter(first), "float32", calibration)
        converter = _converter(second)
        for form in formats:
            yield form, join_tflite(head, _convert(converter, form, calibration))


def convert_recognizer(model: keras.Model) -> bytes:
    """Convert the model of `pretrained.load_recognizer` to one file in float32, for one pair."""
    size = model.input["onset"].shape[1]

    def answer(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        return model({"onset": onset, "apex": apex}, training=False)

    pair = [tf.TensorSpec((1, size, size, 3), tf.uint8, name) for name in ("onset", "apex")]
    with tempfile.TemporaryDirectory(prefix="casme_tf_") as folder:
        _write_graph(Path(folder), answer, pair)
        return _convert(_converter(Path(folder)), "float32", lambda: iter(()))


def _write_graph(
    folder: Path, function: Callable[..., Tensors], specs: list[tf.TensorSpec]
) -> None:
    archive = keras.export.ExportArchive()
    archive.add_endpoint(SIGNATURE, function, specs)
    archive.write_out(str(folder), verbose=False)


def _converter(folder: Path) -> Any:
    """Load a SavedModel to be converted, with builtin operators alone."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _convert(converter: Any, form: str, calibration: Callable[[], Iterator[Tensors]]) -> bytes:
    """Convert to a number format; what another one set is set back."""
    converter.optimizations = [] if form == "float32" else [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16] if form == "float16" else []
    converter.representative_dataset = calibration if form == "int8" else None
    with warnings.catch_warnings():
        # The converter itself still runs TensorFlow's own, deprecated interpreter.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        return converter.convert()
