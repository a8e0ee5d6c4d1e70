"""Serialized TFLite files: nothing in them twice, nothing empty, data where the schema wants it."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from casme_tf.tflite_file import MODEL_IDENTIFIER, drop_empty, pack

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


def parse(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def test_equal_arrays_are_written_once(model):
    content = pack(model, MODEL_IDENTIFIER)
    assert 8 * CHANNELS < len(content) < 2 * 8 * CHANNELS + 8 * CHANNELS
    for tensor, scale in zip(parse(content).subgraphs[0].tensors[1:3], (0.5, 0.25), strict=True):
        np.testing.assert_array_equal(tensor.quantization.zeroPoint, np.zeros(CHANNELS))
        np.testing.assert_array_equal(tensor.quantization.scale, np.full(CHANNELS, scale))


def test_data_begin_where_the_schema_wants_them(model):
    content = pack(model, MODEL_IDENTIFIER)
    for data in WEIGHTS:
        assert content.index(data.tobytes()) % 16 == 0


def test_what_is_empty_is_left_out(model):
    drop_empty(model)
    left = parse(pack(model, MODEL_IDENTIFIER))
    tensors = left.subgraphs[0].tensors
    assert [left.buffers[tensor.buffer].data is None for tensor in tensors] == [True, 0, 0, True]
    for tensor, data in zip(tensors[1:3], WEIGHTS, strict=True):
        np.testing.assert_array_equal(left.buffers[tensor.buffer].data, data)
    assert [tensor.buffer for tensor in tensors] == [0, 1, 2, 0]
    assert [tensor.quantization is None for tensor in tensors] == [True, False, False, True]
    assert bytes(left.buffers[left.metadata[0].buffer].data) == b"a note"
    assert len(left.buffers) == 4
