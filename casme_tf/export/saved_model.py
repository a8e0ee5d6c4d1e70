"""A trained model as a SavedModel that a server can load: frames or encoded images in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from casme_tf.clips.images import encode_jpeg
from casme_tf.datasets.casme2 import frame_decoders
from casme_tf.datasets.pairs import resize_frame
from casme_tf.errors import UserError
from casme_tf.models.backbone import fold_batch_norm

SERVE = "serving_default"
SERVE_JPEG = "serve_jpeg"
CLASS_NAMES = "class_names"
LABELS_FILE = "assets.extra/labels.txt"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"

Tensors = dict[str, tf.Tensor]
Endpoint = Callable[[tf.Tensor, tf.Tensor], Tensors]

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT = 24  # after the signature: length and name of the header chunk, width, height


def export_saved_model(model: keras.Model, folder: Path, classes: Sequence[str]) -> None:
    """Write a SavedModel that answers without this package.

    Batch normalisation is folded into the convolutions before it. The model has three signatures,
    with N pairs, at least one, and C classes:

    - `serving_default`: `onset`, `apex` `(N, S, S, 3)` uint8 RGB → `probabilities` `(N, C)`
      float32.
    - `serve_jpeg`: `onset`, `apex` `(N,)` string, each a JPEG or PNG of a face crop, any size, both
      frames of a pair cut with one box → `probabilities` as above and `label` `(N,)` string.
      Decoding and resizing are those of the input pipeline: grey is repeated, transparency and a
      rotation noted in the file are ignored.
    - `class_names`: nothing → `class_names` `(C,)` string, in the order of the probabilities.

    Requests that do not fit are refused with an error of the graph. A JPEG has no checksum: damage
    in its middle that still decodes goes unnoticed.

    Beside the graph lie `assets.extra/labels.txt`, one class a line, and
    `assets.extra/tf_serving_warmup_requests`, which TensorFlow Serving runs when it loads the
    model: one request of noise for each signature that takes frames.

    Args:
        model: A classifier of this package; its inputs set S.
        folder: An existing empty folder.
        classes: C class names, in the order of the model's output.

    Raises:
        UserError: If there are more or fewer classes than the model has outputs.

    Example:
        >>> export_saved_model(model, Path("1"), CLASSES)  # doctest: +SKIP
        >>> answer = tf.saved_model.load("1").signatures["serve_jpeg"]  # doctest: +SKIP
        >>> answer(onset=tf.constant([a]), apex=tf.constant([b]))["label"]  # doctest: +SKIP

    Reference:
        SavedModel warm-up, https://www.tensorflow.org/tfx/serving/saved_model_warmup.
    """
    size, outputs = model.input["onset"].shape[1], model.output.shape[-1]
    if len(classes) != outputs:
        raise UserError(
            f"There must be a class name for each of the {outputs} outputs of the model. "
            f"Received: {len(classes)} ({', '.join(classes)})."
        )
    archive = keras.export.ExportArchive()
    serve = archive.add_endpoint(
        SERVE, _answer_frames(model, size), _pair_specs((None, size, size, 3), tf.uint8)
    )
    archive.add_endpoint(
        SERVE_JPEG, _answer_encoded(serve, size, classes), _pair_specs((None,), tf.string)
    )
    archive.add_endpoint(CLASS_NAMES, lambda: {"class_names": tf.constant(list(classes))}, [])
    archive.write_out(str(folder), verbose=False)

    labels = folder / LABELS_FILE
    labels.parent.mkdir()
    labels.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for request in _warmup_requests(size):
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString(deterministic=True))


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
    """Decode `(N,)` strings to `(N, size, size, 3)` uint8; tell what size they had, `(N, 2)`."""
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
    # Whoever runs the graph does not compare what it is given with the signature's shapes: without
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
    """Assert `(N,)` bool, and tell what was received `(N,)` at the first place that is not good."""
    first = tf.where(~good)[:1, 0]
    position = tf.strings.reduce_join(tf.strings.as_string(first))
    what = tf.strings.reduce_join(tf.gather(received, first))
    message = [requirement, ". Received at index ", position, " of the batch: ", what, "."]
    return tf.debugging.Assert(tf.reduce_all(good), [tf.strings.join(message)])


def _warmup_requests(size: int) -> list[PredictRequest]:
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    pair = dict(zip(("onset", "apex"), noise, strict=True))
    inputs = {
        SERVE: {name: tf.make_tensor_proto(x[None]) for name, x in pair.items()},
        SERVE_JPEG: {name: tf.make_tensor_proto([encode_jpeg(x)]) for name, x in pair.items()},
    }
    requests = []
    for signature, tensors in inputs.items():
        request = PredictRequest()
        request.model_spec.signature_name = signature
        for name, tensor in tensors.items():
            request.inputs[name].CopyFrom(tensor)
        requests.append(request)
    return requests
