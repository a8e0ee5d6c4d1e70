"""The color coding of flow against OpenCV's."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest
from support.moving_pairs import opencv_flow, random_pair

from casme_tf.layers import FlowToColor

# OpenCV cuts 32 or 64 pixels at a time, as wide as the processor's registers are, but rounds what
# is left over at a row's end: a whole gray level here and there, on some machines.
WIDTH = 128


def opencv_colors(flow: np.ndarray, max_magnitude: float | None = None) -> np.ndarray:
    magnitude, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    if max_magnitude is None:
        value = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX)
    else:
        value = np.minimum(magnitude * (255 / max_magnitude), 255)
    hue = angle * 180 / np.pi / 2
    hsv = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@pytest.mark.parametrize("max_magnitude", [None, 2.0])
def test_equals_opencv_on_real_flow(max_magnitude):
    flows = np.stack([opencv_flow(*random_pair(112, WIDTH, seed)) for seed in range(4)])
    colors = FlowToColor(max_magnitude)(flows).numpy()
    assert colors.dtype == np.float32
    for flow, color in zip(flows, colors, strict=True):
        assert np.abs(color - opencv_colors(flow, max_magnitude)).mean() <= 0.05


def test_equals_opencv_in_all_directions():
    flow = np.random.default_rng(0).normal(size=(256, 256, 2)).astype(np.float32)
    flow[0, :4] = [[1, 0], [0, 1], [-1, 0], [0, -1]]
    difference = np.abs(FlowToColor()(flow[None])[0] - opencv_colors(flow))
    assert difference.mean() <= 0.005  # gray levels
    assert difference[0, :4].max() == 0


def test_every_hue_and_value_is_opencvs():
    # Magnitudes and angles in the middle of their steps, so that no rounding decides.
    hue, value = np.meshgrid(np.arange(3 * 64) % 180 + 0.5, np.arange(255) + 0.5)
    angle = np.deg2rad(hue * 2)
    flow = np.stack([value * np.cos(angle), value * np.sin(angle)], axis=-1).astype(np.float32)
    hsv = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    colors = FlowToColor(max_magnitude=255.0)(flow[None]).numpy()[0]
    np.testing.assert_array_equal(colors, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


@pytest.mark.parametrize("speed", [0.0, 1.5])
def test_constant_magnitude_is_black_as_in_opencv(speed):
    flow = np.full((1, 64, 64, 2), speed, np.float32)
    np.testing.assert_array_equal(opencv_colors(flow[0]), 0)
    np.testing.assert_array_equal(FlowToColor()(flow), 0)


def test_each_image_is_scaled_by_itself_or_all_alike():
    flow = opencv_flow(*random_pair(64, 64, seed=1))
    both = np.stack([flow, flow * 0.25])
    own = FlowToColor()(both).numpy()
    assert np.abs(own[0] - own[1]).mean() < 1  # the strength is erased
    fixed = FlowToColor(max_magnitude=4.0)(both).numpy()
    assert fixed[1].max() < 0.3 * fixed[0].max()


@pytest.mark.parametrize("max_magnitude", [None, 2.0])
def test_without_cuts_it_is_the_same_coding_and_follows_the_flow(max_magnitude):
    flow = np.stack([opencv_flow(*random_pair(112, 96, seed)) for seed in range(2)])
    whole = FlowToColor(max_magnitude)(flow).numpy()
    layer = FlowToColor(max_magnitude, whole_numbers=False)
    smooth = layer(flow).numpy()
    # A cut takes up to a step of value and of hue, and a step of hue is 255 / 30 gray levels.
    assert np.abs(smooth - whole).max() <= 1 + 255 / 30 + 1
    assert (smooth.max(axis=-1) >= whole.max(axis=-1)).all()
    nudged = layer(flow + np.float32(1e-6)).numpy()
    assert np.abs(nudged - smooth).max() < 0.2
    assert np.abs(FlowToColor(max_magnitude)(flow + np.float32(1e-6)).numpy() - whole).max() >= 1


def test_without_cuts_whole_hues_and_values_are_opencvs():
    hue, value = np.meshgrid(np.arange(1, 180), np.arange(1, 256))
    angle = np.deg2rad(hue * 2)
    flow = np.stack([value * np.cos(angle), value * np.sin(angle)], axis=-1).astype(np.float32)
    colors = FlowToColor(max_magnitude=255.0, whole_numbers=False)(flow[None]).numpy()[0]
    hsv = np.stack([hue * 2, np.ones_like(hue), value], axis=-1).astype(np.float32)
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # on floats, which it does not cut
    # The arc tangent is OpenCV's polynomial, a hundredth of a degree off the true one.
    np.testing.assert_allclose(colors, expected, atol=0.1)


def test_config_round_trip():
    again = keras.layers.deserialize(keras.layers.serialize(FlowToColor(3.0, False)))
    assert again.max_magnitude == 3.0
    assert again.whole_numbers is False
    config = FlowToColor().get_config()
    assert FlowToColor.from_config(config).max_magnitude is None
    assert FlowToColor.from_config(config).whole_numbers is True


def test_wrong_input_is_named():
    for shape in ((64, 64, 2), (1, 64, 64, 3)):
        with pytest.raises(ValueError, match="Received: shape"):
            FlowToColor()(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="Received: dtype"):
        FlowToColor()(np.zeros((1, 64, 64, 2), np.uint8))
    for max_magnitude in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="Received: "):
            FlowToColor(max_magnitude=max_magnitude)
