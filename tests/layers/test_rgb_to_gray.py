"""Gray conversion, bit for bit OpenCV's."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest
from skimage import data

from casme_tf.layers import RGBToGray


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_equals_opencv_bit_for_bit(dtype):
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    for frame in (noise, data.astronaut()):
        gray = RGBToGray()(frame[None].astype(dtype)).numpy()
        assert gray.dtype == np.float32
        np.testing.assert_array_equal(gray[0, ..., 0], cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def test_config_round_trip_and_symbolic_shape():
    layer = keras.layers.deserialize(keras.layers.serialize(RGBToGray(name="gray")))
    assert layer.name == "gray"
    gray = layer(keras.Input((64, 80, 3), dtype="uint8"))
    assert (gray.shape, gray.dtype) == ((None, 64, 80, 1), "float32")


def test_wrong_frames_are_named():
    for shape in ((64, 64, 3), (1, 64, 64, 4), (1, 64, 64)):
        with pytest.raises(ValueError, match="Received: shape"):
            RGBToGray()(np.zeros(shape, np.uint8))
    for dtype in ("int32", "float64", "float16"):
        with pytest.raises(ValueError, match="Received: dtype"):
            RGBToGray()(np.zeros((1, 64, 64, 3), dtype))
