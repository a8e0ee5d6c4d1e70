"""A run's model as SavedModel and TFLite; both take two frames and answer."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from casme_tf.config import ExportConfig
from casme_tf.errors import UserError
from casme_tf.files import atomic_file, atomic_folder
from casme_tf.input_pipeline import load_pairs, take
from casme_tf.models import split_model
from casme_tf.run import MODEL, SAVED_MODEL, RunRecord, read_split, run_folder
from casme_tf.tflite_join import join_tflite

SIGNATURE = "serving_default"
Tensors = dict[str, tf.Tensor]


def export_run(config: ExportConfig) -> list[Path]:
    """Export a run's model.

    Args:
        config: Which run; see `ExportConfig`.

    Returns:
        What was written into the run's folder: `saved_model/1`, `model_float32.tflite` and
        `model_int8.tflite`.

    Raises:
        UserError: If there is no such run, or its training clips are not at hand.
    """
    run = run_folder(config.runs, config.run)
    record = RunRecord.load(run / "config.json")
    model = load_model(run / MODEL)
    training = _training_frames(run, record, config)

    saved_model = run / SAVED_MODEL
    with atomic_folder(saved_model, overwrite=True) as folder:
        export_saved_model(model, folder)
    written = [saved_model]
    for name, content in convert_tflite(model, training).items():
        written.append(run / f"model_{name}.tflite")
        with atomic_file(written[-1]) as temporary:
            temporary.write_bytes(content)
    return written


def load_model(path: Path) -> keras.Model:
    """Load a run's Keras model.

    Raises:
        UserError: If the file is missing or is not a model of this package.
    """
    if not path.is_file():
        raise UserError(f"A run must have {MODEL}. Received: {path.parent}. Train the run again.")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path} must be a Keras model of this package: {error}.") from error


def export_saved_model(model: keras.Model, folder: Path) -> None:
    """Write a SavedModel whose `serving_default` maps onset and apex to probabilities.

    Args:
        model: A classifier of this package.
        folder: An existing empty folder.
    """
    _write_graph(folder, model, _answer_pair(model), _pair_specs(model, None))


def convert_tflite(model: keras.Model, frames: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Convert for one pair at a time, in float32 and with the network in int8.

    Motion and network are converted apart and joined, so that motion is float32 in every file:
    the flow of a pixel does not survive eight bits.

    Args:
        model: A classifier of this package.
        frames: Training pairs, `onset` and `apex` each `(n, S, S, 3)` uint8, which set the
            ranges that int8 covers.

    Returns:
        The content of a `.tflite` file for `float32` and for `int8`.
    """
    motion, encoding, network = split_model(model)
    as_dictionary = isinstance(network.input, dict)
    inputs = network.input if as_dictionary else {"image": network.input}

    @tf.function(input_signature=_pair_specs(model, 1))
    def encode(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        x = motion({"onset": onset, "apex": apex}, training=False)
        x = x if encoding is None else encoding(x)
        return x if as_dictionary else {"image": x}

    def answer(*features: tf.Tensor) -> Tensors:
        x = dict(zip(inputs, features, strict=True))
        return {"probabilities": network(x if as_dictionary else x["image"], training=False)}

    def calibration() -> Iterator[Tensors]:
        count = len(frames["onset"])
        for i in tqdm(range(count), desc="calibrating int8", unit="pair"):
            pair = (tf.constant(frames[name][i : i + 1]) for name in ("onset", "apex"))
            yield encode(*pair)

    first = _convert(model, encode.python_function, _pair_specs(model, 1))
    specs = [tf.TensorSpec((1, *x.shape[1:]), tf.float32, name) for name, x in inputs.items()]
    return {
        "float32": join_tflite(first, _convert(network, answer, specs)),
        "int8": join_tflite(first, _convert(network, answer, specs, calibration)),
    }


def _convert(
    tracked: keras.Model,
    function: Callable[..., Tensors],
    specs: list[tf.TensorSpec],
    calibration: Callable[[], Iterator[Tensors]] | None = None,
) -> bytes:
    """Convert a function with builtin operators alone; to int8 if there is calibration data."""
    with tempfile.TemporaryDirectory(prefix="casme_tf_") as folder:
        _write_graph(Path(folder), tracked, function, specs)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if calibration is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = calibration
        with warnings.catch_warnings():
            # The converter itself still runs TensorFlow's own, deprecated interpreter.
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            return converter.convert()


def _write_graph(
    folder: Path,
    tracked: keras.Model,
    function: Callable[..., Tensors],
    specs: list[tf.TensorSpec],
) -> None:
    archive = keras.export.ExportArchive()
    archive.track(tracked)
    archive.add_endpoint(SIGNATURE, function, specs)
    archive.write_out(str(folder), verbose=False)


def _answer_pair(model: keras.Model) -> Callable[..., Tensors]:
    def answer(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        return {"probabilities": model({"onset": onset, "apex": apex}, training=False)}

    return answer


def _pair_specs(model: keras.Model, batch: int | None) -> list[tf.TensorSpec]:
    shape = (batch, *model.input["onset"].shape[1:])
    return [tf.TensorSpec(shape, tf.uint8, name) for name in ("onset", "apex")]


def _training_frames(run: Path, record: RunRecord, config: ExportConfig) -> dict[str, np.ndarray]:
    """Return up to `config.calibration` training pairs, evenly spaced over the data set."""
    data_dir = config.data_dir or record.data_dir
    pairs = load_pairs(data_dir, record.train["frame_size"])
    parts = pairs.clips.merge(read_split(run), on=["subject", "clip"], how="left")["part"]
    indices = np.flatnonzero(parts == "train")
    if not indices.size:
        raise UserError(
            f"int8 needs training clips of {run.name} to find its ranges. Received: a data set "
            "with none of them. Give the data set that the run was trained on with --data-dir."
        )
    spaced = np.linspace(0, len(indices) - 1, min(config.calibration, len(indices))).astype(int)
    return take(pairs.frames, indices[spaced])
