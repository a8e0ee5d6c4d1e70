"""The SavedModel answers frames and encoded images alike, and survives every bad request."""

import io
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from casme_tf.datasets.pairs import load_pairs, resize_frame
from casme_tf.errors import UserError
from casme_tf.export.conversion import export_saved_model
from casme_tf.layers import FusedBatchNormalization
from casme_tf.models.architecture import pair_inputs

SIZE = 24
CLASSES = ("calm", "glad", "startled")
SIGNATURES = {"serving_default", "serve_jpeg", "class_names"}

# Plays the server: asks each bad request, and after it a good one.
SERVER = """
import json, pickle, sys
sys.modules["casme_tf"] = None
from pathlib import Path
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
bad, good = pickle.loads(Path(sys.argv[2]).read_bytes())

def ask(request):
    name, onset, apex = request
    return signatures[name](onset=tf.constant(onset), apex=tf.constant(apex))["probabilities"]

for name, request in bad.items():
    try:
        error = f"no error but {ask(request)}"
    except tf.errors.InvalidArgumentError as raised:
        error = str(raised)
    print(json.dumps([name, error, [ask(request).numpy().tolist() for request in good]]))
"""


class Exported(NamedTuple):
    model: keras.Model
    folder: Path
    signatures: dict[str, Callable[..., dict[str, tf.Tensor]]]

    def frames(self, onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
        return self.signatures["serving_default"](onset=tf.constant(onset), apex=tf.constant(apex))[
            "probabilities"
        ].numpy()

    def encoded(self, onset: list[bytes], apex: list[bytes]) -> dict[str, np.ndarray]:
        answer = self.signatures["serve_jpeg"](onset=tf.constant(onset), apex=tf.constant(apex))
        return {name: tensor.numpy() for name, tensor in answer.items()}


def small_model(size: int = SIZE, classes: int = len(CLASSES)) -> keras.Model:
    """A model with the contract of the architectures that, like them, would answer any size.

    Its weights are so large that one gray level in some pixels shows in the answer.
    """
    inputs = pair_inputs(size)
    resize = keras.layers.Resizing(16, 16)
    difference = keras.layers.Subtract()([resize(inputs["apex"]), resize(inputs["onset"])])
    dense = keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.RandomNormal(stddev=2e-3, seed=1),
        bias_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=2),
    )
    return keras.Model(inputs, dense(keras.layers.Flatten()(difference)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    """A model exported to one folder and loaded from another."""
    base = tmp_path_factory.mktemp("saved_model")
    made, folder = base / "made" / "1", base / "moved" / "7"
    made.mkdir(parents=True)
    model = small_model()
    export_saved_model(model, made, CLASSES)
    folder.parent.mkdir()
    made.rename(folder)
    return Exported(model, folder, tf.saved_model.load(str(folder)).signatures)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str | None = None, **options) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, kind, **options)
    return file.getvalue()


def as_pipeline(encoded: bytes, size: int = SIZE) -> np.ndarray:
    """The frame as the input pipeline hands it over, decoded by Pillow."""
    with Image.open(io.BytesIO(encoded)) as image:
        return resize_frame(tf.constant(np.asarray(image.convert("RGB"))), size).numpy()


def test_frames_get_the_answer_of_the_model(exported):
    pair = {name: noise(seed, 5, SIZE, SIZE, 3) for seed, name in enumerate(("onset", "apex"))}
    expected = exported.model.predict(pair, verbose=0)
    np.testing.assert_allclose(exported.frames(**pair), expected, atol=1e-6)


def test_images_of_any_kind_and_size_get_the_answer_of_their_frames(exported):
    """One batch of all: gray, transparent, with a palette, subsampled, progressive, tiny."""
    kinds = [
        ((90, 70, 3), {}),
        ((90, 70, 3), {"quality": 60, "subsampling": "4:2:0"}),
        ((SIZE, SIZE, 3), {"quality": 75, "progressive": True}),
        ((40, 300, 3), {"mode": "L"}),
        ((50, 60, 3), {"kind": "PNG"}),
        ((1, 1, 3), {"kind": "PNG"}),
        ((33, 45, 4), {"kind": "PNG"}),
        ((33, 45, 3), {"kind": "PNG", "mode": "LA"}),
        ((20, 20, 3), {"kind": "PNG", "mode": "L"}),
        ((64, 64, 3), {"kind": "PNG", "mode": "P"}),
    ]
    onset, apex = (
        [encode(noise(base + i, *shape), **options) for i, (shape, options) in enumerate(kinds)]
        for base in (0, 100)
    )
    # The two frames of a pair need not be of one kind.
    onset.append(encode(noise(50, 30, 30, 3)))
    apex.append(encode(noise(51, 30, 30, 3), "PNG"))
    frames = [np.stack([as_pipeline(image) for image in images]) for images in (onset, apex)]
    answer = exported.encoded(onset, apex)
    expected = exported.frames(*frames)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert [label.decode() for label in answer["label"]] == [
        CLASSES[i] for i in expected.argmax(axis=1)
    ]
    assert len(set(answer["label"])) > 1


def test_the_model_of_these_tests_sees_which_way_a_jpeg_is_decoded(exported):
    """What makes the test above one: TensorFlow's fast decoding must show in the answer."""
    images = [encode(noise(seed, 90, 70, 3)) for seed in (0, 100)]
    fast = [
        resize_frame(tf.io.decode_jpeg(image, 3, dct_method="INTEGER_FAST"), SIZE)[None].numpy()
        for image in images
    ]
    exact = exported.encoded([images[0]], [images[1]])["probabilities"]
    assert np.abs(exported.frames(*fast) - exact).max() > 1e-3


def test_prepared_files_get_the_answer_of_the_data_set(exported, prepared, data_dir):
    pairs = load_pairs(data_dir, SIZE)
    folders = [
        prepared / clip.subject / f"ROI_{clip.clip}" for clip in pairs.clips[:8].itertuples()
    ]
    onset, apex = (
        [(folder / f"{name}_frame.jpg").read_bytes() for folder in folders]
        for name in ("onset", "apex")
    )
    expected = exported.frames(pairs.frames["onset"][:8], pairs.frames["apex"][:8])
    np.testing.assert_allclose(exported.encoded(onset, apex)["probabilities"], expected, atol=1e-6)


def test_onset_and_apex_are_not_interchangeable(exported):
    images = [encode(noise(seed, 40, 40, 3)) for seed in (0, 1)]
    frames = [as_pipeline(image)[None] for image in images]
    there = exported.encoded([images[0]], [images[1]])["probabilities"]
    back = exported.encoded([images[1]], [images[0]])["probabilities"]
    assert np.abs(there - back).max() > 1e-2
    np.testing.assert_allclose(back, exported.frames(*reversed(frames)), atol=1e-6)


def test_the_classes_are_told_with_and_without_tensorflow(exported):
    assert set(exported.signatures) == SIGNATURES
    names = exported.signatures["class_names"]()["class_names"].numpy()
    assert tuple(name.decode() for name in names) == CLASSES
    text = (exported.folder / "assets.extra" / "labels.txt").read_text()
    assert text == "calm\nglad\nstartled\n"


def test_every_weight_is_written_once(exported):
    weights = sorted(tuple(weight.shape) for weight in exported.model.weights)
    stored = tf.train.load_checkpoint(str(exported.folder / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert sorted(map(tuple, shapes.values())) == weights


def test_batch_normalization_is_in_the_convolution_before_it(tmp_path):
    inputs = pair_inputs(16)
    x = keras.layers.Conv2D(3, 5, name="convolution")(
        keras.layers.Subtract()([keras.layers.Rescaling(1.0)(frame) for frame in inputs.values()])
    )
    x = keras.layers.GlobalAveragePooling2D()(FusedBatchNormalization(name="norm")(x))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    mean, variance = np.array([3, -2, 1]), np.array([90, 40, 10])
    model.get_layer("norm").set_weights([np.ones(3), np.zeros(3), mean, variance])
    export_saved_model(model, tmp_path, CLASSES)
    stored = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert sorted(map(tuple, shapes.values())) == [(3,), (5, 5, 3, 3)]  # bias and kernel
    pair = {name: noise(seed, 4, 16, 16, 3) for seed, name in enumerate(("onset", "apex"))}
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    answer = serve(**{name: tf.constant(frames) for name, frames in pair.items()})["probabilities"]
    expected = model.predict(pair, verbose=0)
    assert expected.std(axis=0).max() > 1e-2  # answers differ between pairs
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_classes_that_do_not_fit_the_model_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"each of the 3 outputs.*Received: 2 \(calm, glad\)"):
        export_saved_model(small_model(), tmp_path, CLASSES[:2])
    assert not list(tmp_path.iterdir())


A, B = (encode(noise(seed, 40, 30, 3)) for seed in (20, 21))
A_PNG = encode(noise(20, 40, 30, 3), "PNG")
DAMAGED_PNG = A_PNG[:1000] + bytes(50) + A_PNG[1050:]
DEEP_PNG = encode(noise(22, 40, 30).astype(np.uint16) * 257, "PNG")


def frames(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.zeros(shape, dtype)


GOOD = [
    ("serving_default", noise(30, 2, SIZE, SIZE, 3), noise(31, 2, SIZE, SIZE, 3)),
    ("serve_jpeg", [A, A_PNG], [B, B]),
]
# Each with what the error must say.
BAD = {
    "frames of another size": (
        ("serving_default", frames(2, 16, 16, 3), frames(2, 16, 16, 3)),
        r"tensor (onset|apex) \[2,16,16,3\] is not compatible with expected shape \[\?,24,24,3\]",
    ),
    "an apex of another size": (
        ("serving_default", frames(1, SIZE, SIZE, 3), frames(1, SIZE, 48, 3)),
        r"tensor apex \[1,24,48,3\] is not compatible with expected shape \[\?,24,24,3\]",
    ),
    "frames of another shape with as many pixels": (
        ("serving_default", frames(1, 12, 48, 3), frames(1, SIZE, SIZE, 3)),
        r"tensor onset \[1,12,48,3\] is not compatible with expected shape \[\?,24,24,3\]",
    ),
    "gray frames": (
        ("serving_default", frames(1, SIZE, SIZE, 1), frames(1, SIZE, SIZE, 3)),
        r"tensor onset \[1,24,24,1\] is not compatible with expected shape \[\?,24,24,3\]",
    ),
    "a frame without a batch": (
        ("serving_default", frames(SIZE, SIZE, 3), frames(1, SIZE, SIZE, 3)),
        r"tensor onset \[24,24,3\] is not compatible with expected shape \[\?,24,24,3\]",
    ),
    "floats": (
        ("serving_default", *[frames(1, SIZE, SIZE, 3, dtype="float32")] * 2),
        "expected to be a uint8 tensor but is a float tensor",
    ),
    "one apex for two onsets": (
        ("serving_default", frames(2, SIZE, SIZE, 3), frames(1, SIZE, SIZE, 3)),
        "as many as each other and at least one. Received: 2 onset and 1 apex",
    ),
    "three apexes for two onsets": (
        ("serving_default", frames(2, SIZE, SIZE, 3), frames(3, SIZE, SIZE, 3)),
        "Received: 2 onset and 3 apex",
    ),
    "no frames": (
        ("serving_default", frames(0, SIZE, SIZE, 3), frames(0, SIZE, SIZE, 3)),
        "at least one. Received: 0 onset and 0 apex",
    ),
    "one JPEG for two": (("serve_jpeg", [A, A], [B]), "Received: 2 onset and 1 apex"),
    "no JPEGs": (
        ("serve_jpeg", np.array([], object), np.array([], object)),
        "Received: 0 onset and 0 apex",
    ),
    "a JPEG without a batch": (("serve_jpeg", A, [B]), r"tensor onset \[\] is not compatible"),
    "text": (
        ("serve_jpeg", [A, b"not an image"], [B, B]),
        "onset must be JPEG or PNG images with 8 bits a channel. "
        "Received at index 1 of the batch: 12 bytes that are neither",
    ),
    "an empty string": (
        ("serve_jpeg", [A, A, A], [B, b"", b""]),
        "apex must be JPEG or PNG images .* at index 1 of the batch: 0 bytes that are neither",
    ),
    "a GIF": (
        ("serve_jpeg", [encode(noise(20, 40, 30, 3), "GIF")], [B]),
        "onset must be JPEG or PNG images .* bytes that are neither",
    ),
    "a BMP": (
        ("serve_jpeg", [A], [encode(noise(20, 40, 30, 3), "BMP")]),
        "apex must be JPEG or PNG images .* bytes that are neither",
    ),
    "a PNG of 16 bits": (
        ("serve_jpeg", [A], [DEEP_PNG]),
        "apex must be JPEG or PNG images with 8 bits .* bytes of a PNG with 16 bits",
    ),
    "a truncated JPEG": (
        ("serve_jpeg", [A, A], [B, B[: len(B) // 2]]),
        "apex_must_be_whole_JPEG_or_PNG_images.*Invalid JPEG data",
    ),
    "the start of a JPEG": (
        ("serve_jpeg", [A[:4]], [B]),
        "onset_must_be_whole_JPEG_or_PNG_images.*Invalid JPEG data",
    ),
    "a truncated PNG": (
        ("serve_jpeg", [A_PNG[:-20]], [B]),
        "onset_must_be_whole_JPEG_or_PNG_images.*Invalid PNG data",
    ),
    "the start of a PNG": (
        ("serve_jpeg", [A], [A_PNG[:8]]),
        "apex_must_be_whole_JPEG_or_PNG_images.*Invalid PNG",
    ),
    "a damaged PNG": (
        ("serve_jpeg", [A], [DAMAGED_PNG]),
        "apex_must_be_whole_JPEG_or_PNG_images.*Invalid PNG data",
    ),
    "a pair of two sizes": (
        ("serve_jpeg", [A, A], [B, encode(noise(23, 30, 40, 3))]),
        "cut with one box, to one size. Received at index 1 of the batch: "
        "onset of 30x40 px, apex of 40x30 px",
    ),
}


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory) -> dict[str, tuple[str, list]]:
    """What one server, in a process without this package, answered: an error, then good answers."""
    folder = tmp_path_factory.mktemp("server")
    requests = ({name: request for name, (request, _) in BAD.items()}, GOOD)
    (folder / "requests.pickle").write_bytes(pickle.dumps(requests))
    command = [sys.executable, "-c", SERVER, str(exported.folder), "requests.pickle"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (error, answers) for name, error, answers in lines}


@pytest.mark.parametrize("name", BAD)
def test_the_server_refuses_a_bad_request_and_answers_the_next(exported, served, name):
    error, answers = served[name]
    assert re.search(BAD[name][1], error, re.DOTALL), error
    (_, *pair), (_, *images) = GOOD
    np.testing.assert_allclose(answers[0], exported.frames(*pair), atol=1e-6)
    expected = exported.frames(*(np.stack([as_pipeline(x) for x in encoded]) for encoded in images))
    np.testing.assert_allclose(answers[1], expected, atol=1e-6)
