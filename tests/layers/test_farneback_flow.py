"""The flow in the graph against OpenCV's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.moving_pairs import batch, moved, opencv_flow, photo, random_pair, texture

from casme_tf.layers import FarnebackFlow

INTERIOR = (slice(20, -20), slice(20, -20))


def difference(onset: np.ndarray, apex: np.ndarray, **changes: float) -> np.ndarray:
    """Distance in px from OpenCV's flow, `(H, W, 2)`."""
    flow = FarnebackFlow(**changes)({"onset": batch(onset), "apex": batch(apex)}).numpy()[0]
    assert flow.dtype == np.float32
    return np.abs(flow - opencv_flow(onset, apex, **changes))


@pytest.mark.parametrize(
    ("height", "width", "pairs"),
    [(64, 64, 10), (112, 112, 10), (224, 224, 6), (300, 260, 4), (512, 512, 2), (97, 131, 4)],
)
def test_equals_opencv(height, width, pairs):
    differences = [difference(*random_pair(height, width, seed)) for seed in range(pairs)]
    assert max(each.mean() for each in differences) <= 1e-4
    assert max(each[INTERIOR].max() for each in differences) <= 1e-3
    # OpenCV's outermost pixels hang on the last bit of a sum: one pair in ten may differ there.
    assert sum(each.max() > 1e-3 for each in differences) <= pairs / 10


@pytest.mark.parametrize(
    "changes",
    [
        {"winsize": 15, "poly_n": 5, "poly_sigma": 1.1, "levels": 1, "iterations": 3},
        {"winsize": 12, "levels": 5, "iterations": 2},  # even: OpenCV sums 13 and divides by 12
        {"winsize": 9, "levels": 0, "iterations": 1},
        {"pyr_scale": 0.7, "levels": 4},
        {"pyr_scale": 0.3},
    ],
)
def test_equals_opencv_with_other_settings(changes):
    for seed in (0, 1):
        each = difference(*random_pair(132, 180, seed), **changes)
        assert each.mean() <= 1e-4
        assert each[INTERIOR].max() <= 1e-3


@pytest.mark.parametrize("size", [64, 224])
def test_identical_frames_give_opencvs_stillness(size):
    frame, _ = moved(texture(size, size, seed=2), 0, 0, seed=2)
    assert difference(frame, frame)[INTERIOR].max() <= 1e-3


def test_a_large_shift_gives_finite_flow():
    onset, apex = moved(photo(128, 128), 12, 0, seed=0)
    flow = FarnebackFlow()([batch(onset), batch(apex)]).numpy()
    assert np.isfinite(flow).all()
    assert difference(onset, apex).mean() <= 1e-3


def test_frames_without_any_texture_give_no_motion():
    gray = np.full((64, 80), 200, np.uint8)
    np.testing.assert_allclose(FarnebackFlow()([batch(gray), batch(gray)]), 0, atol=1e-3)


def test_channel_0_points_right_and_channel_1_down():
    picture = texture(96, 96, seed=4)
    right = FarnebackFlow()([batch(frame) for frame in moved(picture, 1, 0, seed=0)]).numpy()
    down = FarnebackFlow()([batch(frame) for frame in moved(picture, 0, 1, seed=0)]).numpy()
    np.testing.assert_allclose(right[0][INTERIOR].mean((0, 1)), [1, 0], atol=0.02)
    np.testing.assert_allclose(down[0][INTERIOR].mean((0, 1)), [0, 1], atol=0.02)


def test_pairs_of_a_batch_do_not_touch_each_other():
    pairs = [random_pair(64, 80, seed) for seed in range(3)]
    onset, apex = (batch(*frames) for frames in zip(*pairs, strict=True))
    together = FarnebackFlow()({"onset": onset, "apex": apex}).numpy()
    for index, pair in enumerate(pairs):
        alone = FarnebackFlow()([batch(frame) for frame in pair]).numpy()[0]
        np.testing.assert_allclose(together[index][INTERIOR], alone[INTERIOR], atol=1e-4)
    swapped = FarnebackFlow()({"onset": apex, "apex": onset}).numpy()
    assert np.abs(swapped - together).mean() > 0.1


def test_config_round_trip():
    layer = FarnebackFlow(0.6, 2, winsize=15, iterations=3, poly_n=5, poly_sigma=1.1, name="flow")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert (again.pyr_scale, again.levels, again.winsize) == (0.6, 2, 15)
    assert (again.iterations, again.poly_n, again.poly_sigma) == (3, 5, 1.1)
    assert keras.saving.get_registered_name(FarnebackFlow) == "casme_tf>FarnebackFlow"


def test_functional_model_has_no_weights_and_any_batch_size():
    inputs = {name: keras.Input((64, 80, 1), name=name) for name in ("onset", "apex")}
    model = keras.Model(inputs, FarnebackFlow(iterations=1)(inputs))
    assert model.output_shape == (None, 64, 80, 2)
    assert model.count_params() == 0
    onset, apex = random_pair(64, 80, seed=0)
    flow = model.predict({"onset": batch(onset, apex), "apex": batch(apex, onset)}, verbose=0)
    for found, pair in zip(flow, [(onset, apex), (apex, onset)], strict=True):
        expected = opencv_flow(*pair, iterations=1)
        np.testing.assert_allclose(found[INTERIOR], expected[INTERIOR], atol=1e-3)


def test_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert difference(*random_pair(64, 64, seed=0)).mean() <= 1e-4
        assert FarnebackFlow()([keras.Input((64, 64, 1))] * 2).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


GOOD = np.zeros((2, 64, 80, 1), np.float32)


@pytest.mark.parametrize(
    ("onset", "apex"),
    [
        (GOOD[0], GOOD[0]),
        (GOOD[..., 0], GOOD[..., 0]),
        (np.zeros((1, 64, 64, 3), np.float32), np.zeros((1, 64, 64, 3), np.float32)),
        (GOOD, np.zeros((2, 80, 64, 1), np.float32)),
        (GOOD, GOOD[:1]),
        (GOOD.astype(np.uint8), GOOD.astype(np.uint8)),
        (GOOD.astype(np.float64), GOOD.astype(np.float64)),
        (np.zeros((1, 63, 64, 1), np.float32), np.zeros((1, 63, 64, 1), np.float32)),
        (np.zeros((1, 64, 513, 1), np.float32), np.zeros((1, 64, 513, 1), np.float32)),
    ],
)
def test_wrong_frames_are_named(onset, apex):
    with pytest.raises(ValueError, match="Received: "):
        FarnebackFlow()({"onset": tf.constant(onset), "apex": tf.constant(apex)})


def test_wrong_structure_is_named():
    for inputs in ([GOOD], [GOOD] * 3, {"image1": GOOD, "image2": GOOD}):
        with pytest.raises(ValueError, match="Received: "):
            FarnebackFlow()(inputs)


def test_unknown_size_is_named():
    with pytest.raises(ValueError, match="Received: shape"):
        FarnebackFlow()([keras.Input((None, None, 1))] * 2)


@pytest.mark.parametrize(
    "argument",
    [
        {"pyr_scale": 1.0},
        {"pyr_scale": 0},
        {"levels": -1},
        {"winsize": 1},
        {"iterations": 0},
        {"poly_n": 2.5},
        {"poly_sigma": 0},
        {"dtype": "float16"},
    ],
)
def test_wrong_argument_is_named(argument):
    with pytest.raises(ValueError, match="Received: "):
        FarnebackFlow(**argument)
