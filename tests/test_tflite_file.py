"""TFLite files: metadata that others can read, and files that are aligned."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from casme_tf.errors import UserError
from casme_tf.labels import CLASSES
from casme_tf.tflite_file import (
    MODEL_IDENTIFIER,
    add_metadata,
    drop_empty,
    metadata_schema,
    pack,
    read_labels,
)

SIZE = 8
FRAMES = tf.TensorSpec((1, SIZE, SIZE, 3), tf.uint8)


class Difference(tf.Module):
    """Probabilities from apex minus onset: swapped frames give another answer."""

    def __init__(self) -> None:
        super().__init__()
        weights = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, len(CLASSES)))
        self.weights = tf.Variable(weights.astype(np.float32))

    @tf.function(input_signature=[FRAMES, FRAMES])
    def answer(self, onset: tf.Tensor, apex: tf.Tensor) -> dict[str, tf.Tensor]:
        change = tf.cast(apex, tf.float32) - tf.cast(onset, tf.float32)
        logits = tf.reshape(change, (1, -1)) @ self.weights / 1000
        return {"probabilities": tf.nn.softmax(logits)}


def convert(model: tf.Module, function: tf.types.experimental.PolymorphicFunction, folder) -> bytes:
    tf.saved_model.save(model, str(folder), signatures={"serving_default": function})
    return tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    model = Difference()
    return convert(model, model.answer, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def described(content) -> bytes:
    return add_metadata(content, CLASSES, name="a name", description="What it is for.")


def parse(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def metadata_of(content: bytes):
    model = parse(content)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    packed = bytes(model.buffers[entry.buffer].data)
    assert flatbuffers.util.BufferHasIdentifier(packed, 0, b"M001")
    return metadata_schema().ModelMetadataT.InitFromPackedBuf(packed, 0)


def changed(content: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    model = parse(content)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def reverse_inputs(model: schema.ModelT) -> None:
    model.subgraphs[0].inputs = model.subgraphs[0].inputs[::-1].copy()


def answers(run) -> np.ndarray:
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 256, (10, 2, 1, SIZE, SIZE, 3), dtype=np.uint8)
    return np.concatenate([run(onset=a, apex=b)["probabilities"] for a, b in pairs])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_answers_stay_the_same(content, reverse, tmp_path):
    given = changed(content, reverse_inputs) if reverse else content
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(given, CLASSES, name="n", description="d"))
    before = answers(Interpreter(model_content=given).get_signature_runner("serving_default"))
    after = answers(Interpreter(model_path=str(path)).get_signature_runner("serving_default"))
    assert before.std(axis=0).min() > 0.01  # the model does not always say the same
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("reverse", [False, True])
def test_inputs_are_described_in_the_order_of_the_subgraph(content, reverse):
    given = changed(content, reverse_inputs) if reverse else content
    labeled = add_metadata(given, CLASSES, name="n", description="d")
    model = parse(labeled)
    names = {item.tensorIndex: item.name for item in model.signatureDefs[0].inputs}
    expected = [names[index] for index in model.subgraphs[0].inputs]
    inputs = metadata_of(labeled).subgraphMetadata[0].inputTensorMetadata
    assert [tensor.name for tensor in inputs] == expected
    assert expected == ([b"apex", b"onset"] if reverse else [b"onset", b"apex"])


def test_inputs_are_rgb_images_that_need_no_scaling(described):
    fields = metadata_schema()
    metadata = metadata_of(described)
    assert (metadata.name, metadata.description) == (b"a name", b"What it is for.")
    for tensor in metadata.subgraphMetadata[0].inputTensorMetadata:
        image = tensor.content.contentProperties
        assert tensor.content.contentPropertiesType == fields.ContentProperties.ImageProperties
        assert image.colorSpace == fields.ColorSpaceType.RGB
        assert (image.defaultSize.width, image.defaultSize.height) == (SIZE, SIZE)
        (step,) = tensor.processUnits
        assert step.optionsType == fields.ProcessUnitOptions.NormalizationOptions
        assert (step.options.mean, step.options.std) == ([0.0], [1.0])
        assert (tensor.stats.min, tensor.stats.max) == ([0.0], [255.0])


def test_labels_are_found_by_every_reader(described, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(described)
    assert read_labels(path) == CLASSES
    assert zipfile.ZipFile(path).read("labels.txt").decode().split() == list(CLASSES)
    (output,) = metadata_of(described).subgraphMetadata[0].outputTensorMetadata
    (labels,) = output.associatedFiles
    assert (output.name, labels.name) == (b"probabilities", b"labels.txt")
    assert labels.type == metadata_schema().AssociatedFileType.TENSOR_AXIS_LABELS


def test_labels_are_stored_as_they_are_behind_the_model(content, described):
    """Readers on phones take the bytes at the offset in the directory, without inflating."""
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        (entry,) = archive.infolist()
    assert entry.compress_type == zipfile.ZIP_STORED
    assert entry.date_time == (1980, 1, 1, 0, 0, 0)  # none: equal models are equal files
    start = entry.header_offset
    assert start >= len(content)
    assert described[start : start + 4] == b"PK\x03\x04"
    begin = start + 30 + len(entry.filename)
    assert described[begin : begin + entry.file_size].decode().split() == list(CLASSES)


def test_data_of_buffers_lie_where_the_schema_wants_them(described):
    model = schema.Model.GetRootAs(described, 0)
    starts = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if not buffer.DataIsNone():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(starts) > 3
    assert not any(start % 16 for start in starts)


def test_adding_again_replaces(content, described):
    names = ("a", "b", "c", "straße")
    again = add_metadata(described, names, name="other", description="d")
    assert metadata_of(again).name == b"other"
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().split() == list(names)
    assert again == add_metadata(content, names, name="other", description="d")
    kept = {entry.name for entry in parse(content).metadata}
    assert {entry.name for entry in parse(again).metadata} == kept | {b"TFLITE_METADATA"}


@pytest.mark.parametrize(
    "names", [CLASSES[:3], (*CLASSES, "more"), ("a", "b", "c", ""), ("a", "b", "c", "d\ne")]
)
def test_names_that_do_not_fit_are_refused(content, names):
    with pytest.raises(ValueError, match="Class names must be 4"):
        add_metadata(content, names, name="n", description="d")


def test_other_models_are_refused(content):
    def rename(model: schema.ModelT) -> None:
        model.signatureDefs[0].inputs[0].name = "first"

    def double(model: schema.ModelT) -> None:
        model.signatureDefs *= 2

    for change, received in ((rename, "'first'"), (double, "'onset'.*'onset'")):
        other = changed(content, change)
        with pytest.raises(ValueError, match=f"inputs onset, apex.*Received: .*{received}"):
            add_metadata(other, CLASSES, name="n", description="d")


def test_files_without_labels_are_named(content, tmp_path):
    (tmp_path / "bare.tflite").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "other.tflite", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with zipfile.ZipFile(tmp_path / "binary.tflite", "w") as archive:
        archive.writestr("labels.txt", b"\xff\xfe")
    (tmp_path / "folder.tflite").mkdir()
    for name in ("bare", "other", "binary", "folder", "missing"):
        with pytest.raises(UserError, match=rf"{name}\.tflite, .*casme-tf export"):
            read_labels(tmp_path / f"{name}.tflite")


def test_neither_tensorflow_nor_mediapipe_is_imported():
    code = (
        "import sys\n"
        "from casme_tf.tflite_file import metadata_schema\n"
        "metadata_schema()\n"
        "heavy = {'tensorflow', 'mediapipe', 'keras'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CHANNELS = 500
WEIGHTS = [np.arange(i, i + 77, dtype=np.uint8) for i in (1, 101)]
NOTE = np.frombuffer(b"a note", np.uint8)


def tensor(buffer: int, quantization: schema.QuantizationParametersT) -> schema.TensorT:
    return schema.TensorT(
        shape=np.array([1, CHANNELS], np.int32), buffer=buffer, quantization=quantization
    )


def quantized(scale: float) -> schema.QuantizationParametersT:
    return schema.QuantizationParametersT(
        scale=np.full(CHANNELS, scale, np.float32), zeroPoint=np.zeros(CHANNELS, np.int64)
    )


@pytest.fixture
def model() -> schema.ModelT:
    """Two tensors of weights, between two that are computed, and a note in the last buffer."""
    computed = schema.QuantizationParametersT()
    tensors = [
        tensor(1, computed),
        tensor(2, quantized(0.5)),
        tensor(3, quantized(0.25)),
        tensor(4, computed),
    ]
    data = [None, None, *WEIGHTS, None, NOTE]
    return schema.ModelT(
        subgraphs=[schema.SubGraphT(tensors=tensors)],
        buffers=[schema.BufferT(data=x) for x in data],
        metadata=[schema.MetadataT(name="note", buffer=5)],
    )


def unpack(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def test_equal_arrays_are_written_once(model):
    content = pack(model, MODEL_IDENTIFIER)
    assert 8 * CHANNELS < len(content) < 2 * 8 * CHANNELS + 8 * CHANNELS
    for tensor, scale in zip(unpack(content).subgraphs[0].tensors[1:3], (0.5, 0.25), strict=True):
        np.testing.assert_array_equal(tensor.quantization.zeroPoint, np.zeros(CHANNELS))
        np.testing.assert_array_equal(tensor.quantization.scale, np.full(CHANNELS, scale))


def test_data_begin_where_the_schema_wants_them(model):
    content = pack(model, MODEL_IDENTIFIER)
    for data in WEIGHTS:
        assert content.index(data.tobytes()) % 16 == 0


def test_what_is_empty_is_left_out(model):
    drop_empty(model)
    left = unpack(pack(model, MODEL_IDENTIFIER))
    tensors = left.subgraphs[0].tensors
    assert [left.buffers[tensor.buffer].data is None for tensor in tensors] == [True, 0, 0, True]
    for tensor, data in zip(tensors[1:3], WEIGHTS, strict=True):
        np.testing.assert_array_equal(left.buffers[tensor.buffer].data, data)
    assert [tensor.buffer for tensor in tensors] == [0, 1, 2, 0]
    assert [tensor.quantization is None for tensor in tensors] == [True, False, False, True]
    assert bytes(left.buffers[left.metadata[0].buffer].data) == b"a note"
    assert len(left.buffers) == 4
