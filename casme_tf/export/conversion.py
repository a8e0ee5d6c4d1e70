"""A trained model as a SavedModel that a server can load, and as TFLite files for phones.

In a TFLite file the motion is float32, and the network is in one of four number formats.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.datasets.built import frame_decoders
from casme_tf.datasets.pairs import resize_frame
from casme_tf.errors import UserError
from casme_tf.export.artifacts import SIGNATURE
from casme_tf.models import split_model
from casme_tf.models.resnet50 import fold_batch_norm
from casme_tf.progress import progress
from casme_tf.runs import NUMBER_FORMATS
from casme_tf.tflite_file import join_tflite

__all__ = ["convert_tflite", "export_saved_model"]

SERVE_JPEG = "serve_jpeg"
CLASS_NAMES = "class_names"
LABELS_FILE = "assets.extra/labels.txt"

Tensors = dict[str, tf.Tensor]
Endpoint = Callable[[tf.Tensor, tf.Tensor], Tensors]

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT = 24  # after the signature: length and name of the header chunk, width, height


def export_saved_model(model: keras.Model, folder: Path, classes: Sequence[str]) -> None:
    """Write a SavedModel that answers without this package.

    Batch normalization is folded into the convolutions before it. The model has three signatures,
    with N pairs, at least one, and C classes:

    - `serving_default`: `onset`, `apex` `(N, S, S, 3)` uint8 RGB → `probabilities` `(N, C)`
      float32.
    - `serve_jpeg`: `onset`, `apex` `(N,)` string, each a JPEG or PNG of a face crop, any size, both
      frames of a pair cut with one box → `probabilities` as above and `label` `(N,)` string.
      Decoding and resizing are those of the input pipeline: gray is repeated, transparency and a
      rotation noted in the file are ignored.
    - `class_names`: nothing → `class_names` `(C,)` string, in the order of the probabilities.

    Requests that do not fit are refused with an error of the graph. A JPEG has no checksum: damage
    in its middle that still decodes goes unnoticed.

    `assets.extra/labels.txt` next to the graph has one class per line.

    Args:
        model: A classifier of this package; its inputs set S.
        folder: An existing empty folder.
        classes: C class names, in the order of the model's output.

    Raises:
        UserError: If there are more or fewer classes than the model has outputs.
    """
    size, outputs = model.input["onset"].shape[1], model.output.shape[-1]
    if len(classes) != outputs:
        raise UserError(
            f"There must be a class name for each of the {outputs} outputs of the model. "
            f"Received: {len(classes)} ({', '.join(classes)})."
        )
    archive = keras.export.ExportArchive()
    serve = archive.add_endpoint(
        SIGNATURE, _answer_frames(model, size), _pair_specs((None, size, size, 3), tf.uint8)
    )
    archive.add_endpoint(
        SERVE_JPEG, _answer_encoded(serve, size, classes), _pair_specs((None,), tf.string)
    )
    archive.add_endpoint(CLASS_NAMES, lambda: {"class_names": tf.constant(list(classes))}, [])
    archive.write_out(str(folder), verbose=False)

    labels = folder / LABELS_FILE
    labels.parent.mkdir()
    labels.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def _pair_specs(shape: tuple[int | None, ...], dtype: tf.DType) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(shape, dtype, name) for name in ("onset", "apex")]


def _answer_frames(model: keras.Model, size: int) -> Endpoint:
    answering = fold_batch_norm(model)

    def answer(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        onset, apex = _checked_pair(onset, apex, (None, size, size, 3))
        return {"probabilities": answering({"onset": onset, "apex": apex}, training=False)}

    return answer


def _answer_encoded(serve: Endpoint, size: int, classes: Sequence[str]) -> Endpoint:
    def answer(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        onset, apex = _checked_pair(onset, apex, (None,))
        onset_frames, onset_sizes = _decode("onset", onset, size)
        apex_frames, apex_sizes = _decode("apex", apex, size)
        check = _assert_all(
            tf.reduce_all(onset_sizes == apex_sizes, axis=1),
            "onset and apex of a pair must be cut with one box, to one size",
            tf.strings.join(["onset of ", _text(onset_sizes), ", apex of ", _text(apex_sizes)]),
        )
        with tf.control_dependencies([check]):
            probabilities = serve(tf.identity(onset_frames), apex_frames)["probabilities"]
        label = tf.gather(tf.constant(list(classes)), tf.argmax(probabilities, axis=-1))
        return {"probabilities": probabilities, "label": label}

    return answer


def _decode(name: str, encoded: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode `(N,)` strings to `(N, size, size, 3)` uint8; also return their sizes, `(N, 2)`."""
    decode = frame_decoders()[name].decode_example

    def decode_one(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # This scope is all that the decoder's own errors say about where they come from.
        with tf.name_scope(f"{name}_must_be_whole_JPEG_or_PNG_images"):
            frame = decode(image)  # takes PNG as well
        return resize_frame(frame, size), tf.shape(frame)[:2]

    with tf.control_dependencies([_assert_image_types(name, encoded)]):
        return tf.map_fn(
            decode_one,
            tf.identity(encoded),
            fn_output_signature=(
                tf.TensorSpec((size, size, 3), tf.uint8),
                tf.TensorSpec((2,), tf.int32),
            ),
        )


def _assert_image_types(name: str, encoded: tf.Tensor) -> tf.Operation:
    # TensorFlow's decoder would also take the first frame of a GIF, and halve 16 bits.
    padded = tf.strings.join([encoded, bytes(_PNG_DEPTH_AT + 1)])
    jpeg = tf.strings.substr(padded, 0, len(_JPEG_START)) == _JPEG_START
    png = tf.strings.substr(padded, 0, len(_PNG_START)) == _PNG_START
    deep = tf.strings.substr(padded, _PNG_DEPTH_AT, 1) == bytes([16])
    kind = tf.where(png, " bytes of a PNG with 16 bits", " bytes that are neither")
    return _assert_all(
        jpeg | (png & ~deep),
        f"{name} must be JPEG or PNG images with 8 bits a channel",
        tf.strings.join([tf.strings.as_string(tf.strings.length(encoded)), kind]),
    )


def _text(sizes: tf.Tensor) -> tf.Tensor:
    """Write sizes `(N, 2)`, height and width in px, as `(N,)` strings, width first."""
    height, width = tf.unstack(tf.strings.as_string(sizes), axis=1)
    return tf.strings.join([width, "x", height, " px"])


def _checked_pair(
    onset: tf.Tensor, apex: tf.Tensor, shape: tuple[int | None, ...]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the pair as it is, once shapes and lengths are seen to be right."""
    # A runtime does not compare its inputs with the signature's shapes: without
    # this, frames of another size get an answer, and a frame without a batch ends the process.
    onset, apex = (
        tf.ensure_shape(x, shape, name=f"{name}_must_have_the_shape_of_the_signature")
        for name, x in (("onset", onset), ("apex", apex))
    )
    counts = tf.shape(onset)[0], tf.shape(apex)[0]
    message = [
        "onset and apex must be as many as each other and at least one. Received: ",
        tf.strings.as_string(counts[0]),
        " onset and ",
        tf.strings.as_string(counts[1]),
        " apex.",
    ]
    check = tf.debugging.Assert(
        tf.equal(*counts) & (counts[0] > 0), [tf.strings.join(message)], name="pair"
    )
    with tf.control_dependencies([check]):
        return tf.identity(onset), tf.identity(apex)


def _assert_all(good: tf.Tensor, requirement: str, received: tf.Tensor) -> tf.Operation:
    """Assert `(N,)` bool; the message has what was received at the first place that fails."""
    first = tf.where(~good)[:1, 0]
    position = tf.strings.reduce_join(tf.strings.as_string(first))
    what = tf.strings.reduce_join(tf.gather(received, first))
    message = [requirement, ". Received at index ", position, " of the batch: ", what, "."]
    return tf.debugging.Assert(tf.reduce_all(good), [tf.strings.join(message)])


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

    pair = _pair_specs((1, size, size, 3), tf.uint8)
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
    """Convert the model of `motion_net.load_recognizer` to one file in float32, for one pair."""
    size = model.input["onset"].shape[1]

    def answer(onset: tf.Tensor, apex: tf.Tensor) -> Tensors:
        return model({"onset": onset, "apex": apex}, training=False)

    pair = _pair_specs((1, size, size, 3), tf.uint8)
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
