"""Normalized motion: the same in every unit, under every movement of the head, wherever it runs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from casme_tf.layers import NormalizeMotion
from casme_tf.training.inputs import mirror_flow
from scripts.lab.fields import Ingredients, draw_fields
from scripts.lab.fields.motion_fields import strain


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    still_heads = Ingredients(head=False, nothing=False, artifacts=False)
    return draw_fields(6, np.random.default_rng(2), still_heads).motion


def with_head(motion: np.ndarray, shift=(0.0, 0.0), turn=0.0, nearer=0.0) -> np.ndarray:
    y, x = np.mgrid[-13.5:14, -13.5:14].astype(np.float32)
    head = np.stack([shift[0] + nearer * x - turn * y, shift[1] + nearer * y + turn * x], axis=-1)
    flow = motion[..., :2] + head
    return np.concatenate([flow, strain(flow)], axis=-1)


def normalized(motion: np.ndarray) -> np.ndarray:
    return NormalizeMotion()(motion).numpy()


@pytest.mark.parametrize("unit", [1e-3, 0.5, 40.0])
def test_the_unit_of_displacements_does_not_matter(motion, unit):
    found = normalized(motion * np.array([unit, unit, 1], np.float32))
    np.testing.assert_allclose(found, normalized(motion), atol=2e-3)


@pytest.mark.parametrize("head", [{"shift": (3, -2)}, {"turn": 0.1}, {"nearer": 0.1}])
def test_how_the_head_moves_does_not_matter(motion, head):
    moved, usual = normalized(with_head(motion, **head)), normalized(motion)
    np.testing.assert_allclose(moved, usual, atol=5e-3)


def test_a_median_taken_out_before_does_not_matter(motion):
    without = motion - np.median(motion, axis=(1, 2), keepdims=True) * [1, 1, 0]
    np.testing.assert_allclose(normalized(without.astype("f4")), normalized(motion), atol=2e-3)


def test_the_level_tells_weak_motion_from_strong(motion):
    strong, weak = normalized(motion), normalized(motion * np.float32(0.1))
    np.testing.assert_allclose(weak[..., :5], strong[..., :5], atol=2e-3)
    np.testing.assert_allclose(strong[..., 5] - weak[..., 5], 1, atol=2e-3)
    assert np.ptp(strong[..., 5], axis=(1, 2)).max() == 0


def test_mirroring_comes_before_or_after(motion):
    signs = np.array([-1, 1, 1, 1, -1, 1], np.float32)
    found = normalized(mirror_flow(motion))
    np.testing.assert_allclose(found, normalized(motion)[:, :, ::-1] * signs, atol=2e-3)


def test_no_motion_at_all_is_nothing_at_the_lowest_level():
    found = normalized(np.zeros((1, 28, 28, 3), np.float32))
    assert np.abs(found[..., :5]).max() == 0
    assert (found[..., 5] == -3).all()


def test_it_runs_under_lite_rt_as_in_keras(motion, tmp_path):
    layer = NormalizeMotion()
    concrete = tf.function(lambda x: layer(x)).get_concrete_function(
        tf.TensorSpec((1, 28, 28, 3), tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], motion[:1])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, normalized(motion[:1]), atol=1e-3)


def test_it_is_saved_and_loaded(motion, tmp_path):
    x = keras.Input((28, 28, 3))
    model = keras.Model(x, NormalizeMotion()(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(motion), model(motion))


@pytest.mark.parametrize("shape", [(28, 28, 2), (28, 20, 3), (6, 6, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="NormalizeMotion"):
        NormalizeMotion()(np.zeros((1, *shape), np.float32))
