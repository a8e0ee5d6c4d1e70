"""The motion layers give the same numbers wherever they run."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from support.moving_pairs import opencv_flow, random_pair

from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray

HEIGHT, WIDTH = 72, 100
ITERATIONS = 2  # of the source system's 5: the graph is the same, and converted sooner
INTERIOR = (..., slice(20, -20), slice(20, -20), slice(None))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Two RGB frames to flow and its colors."""
    frames = {
        name: keras.Input((HEIGHT, WIDTH, 3), dtype="uint8", name=name)
        for name in ("onset", "apex")
    }
    gray = RGBToGray()
    flow = FarnebackFlow(iterations=ITERATIONS)(
        {name: gray(frame) for name, frame in frames.items()}
    )
    return keras.Model(frames, {"flow": flow, "color": FlowToColor()(flow)})


@pytest.fixture(scope="module")
def frames() -> dict[str, np.ndarray]:
    pairs = [random_pair(HEIGHT, WIDTH, seed) for seed in (0, 1)]
    onset, apex = (np.stack(each)[..., None].repeat(3, -1) for each in zip(*pairs, strict=True))
    return {"onset": onset, "apex": apex}


@pytest.fixture(scope="module")
def eager(model, frames) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in model(frames).items()}


def assert_same(found, eager, index=slice(None)):
    assert np.abs(np.asarray(found["flow"]) - eager["flow"][index])[INTERIOR].max() <= 1e-3
    assert np.abs(np.asarray(found["color"]) - eager["color"][index]).mean() <= 0.5


def test_eager_is_opencvs(frames, eager):
    for index in range(2):
        onset, apex = (
            cv2.cvtColor(frames[name][index], cv2.COLOR_RGB2GRAY) for name in ("onset", "apex")
        )
        difference = np.abs(eager["flow"][index] - opencv_flow(onset, apex, iterations=ITERATIONS))
        assert difference[INTERIOR].max() <= 1e-3


def test_tf_function_and_tf_data(model, frames, eager):
    pairs = tf.data.Dataset.from_tensor_slices(frames).batch(2)
    assert_same(next(iter(pairs.map(model))), eager)
    assert_same(tf.function(model)(frames), eager)


def test_saved_and_reloaded(model, frames, eager, tmp_path):
    model.save(tmp_path / "model.keras")
    assert_same(keras.models.load_model(tmp_path / "model.keras")(frames), eager)
    model.export(tmp_path / "saved_model", verbose=False)
    serve = tf.saved_model.load(tmp_path / "saved_model").serve
    assert_same(serve({name: tf.constant(each) for name, each in frames.items()}), eager)


@pytest.fixture(scope="module")
def tflite(model) -> bytes:
    signature = {
        name: tf.TensorSpec((1, HEIGHT, WIDTH, 3), tf.uint8, name) for name in ("onset", "apex")
    }
    concrete = tf.function(lambda onset, apex: model({"onset": onset, "apex": apex}))
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete.get_concrete_function(**signature)]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


@pytest.mark.parametrize("threads", [1, 2])
def test_litert(tflite, frames, eager, threads):
    interpreter = Interpreter(model_content=tflite, num_threads=threads)
    interpreter.allocate_tensors()
    inputs = {each["name"]: each["index"] for each in interpreter.get_input_details()}
    outputs = {each["shape"][-1]: each["index"] for each in interpreter.get_output_details()}
    for index in range(2):
        for name in ("onset", "apex"):
            interpreter.set_tensor(inputs[name], frames[name][index : index + 1])
        interpreter.invoke()
        found = {
            "flow": interpreter.get_tensor(outputs[2]),
            "color": interpreter.get_tensor(outputs[3]),
        }
        assert_same(found, eager, slice(index, index + 1))


def test_tflite_has_builtin_operators_and_no_float64(tflite):
    parsed = schema.ModelT.InitFromPackedBuf(tflite)
    codes = [max(op.builtinCode, op.deprecatedBuiltinCode) for op in parsed.operatorCodes]
    assert codes
    assert schema.BuiltinOperator.CUSTOM not in codes
    assert all(op.customCode is None for op in parsed.operatorCodes)
    types = {tensor.type for graph in parsed.subgraphs for tensor in graph.tensors}
    assert schema.TensorType.FLOAT64 not in types
