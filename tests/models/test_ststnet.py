import keras
import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import softmax

from casme_tf.errors import UserError
from casme_tf.models.ststnet import FILTERS, UNIT_DISPLACEMENT, UNIT_STRAIN, ststnet


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = ststnet(classes=3)
    for layer in network.layers:  # biases begin at zero, where a mistake in them would not show
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.linspace(-0.3, 0.4, len(bias))])
    return network


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    scale = [UNIT_DISPLACEMENT * 224, UNIT_DISPLACEMENT * 224, UNIT_STRAIN]
    return (np.random.default_rng(0).normal(size=(4, 28, 28, 3)) * scale).astype("float32")


def reference(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """The same network on one image `(28, 28, 3)`, written down again without Keras."""
    x = image / [0.224, 0.224, 0.01]
    maps = []
    kernels, biases = model.get_layer("streams").get_weights()
    ends = np.cumsum(FILTERS)[:-1]
    for kernel, bias in zip(np.split(kernels, ends, axis=-1), np.split(biases, ends), strict=True):
        for out in range(len(bias)):
            planes = [
                correlate2d(x[..., i], kernel[..., i, out], mode="same") for i in range(x.shape[-1])
            ]
            plane = np.maximum(sum(planes) + bias[out], 0)
            padded = np.pad(plane, 1, constant_values=-np.inf)  # 30 = 10 · 3
            maps.append(padded.reshape(10, 3, 10, 3).max((1, 3)))
    averaged = np.stack(maps, -1).reshape(5, 2, 5, 2, 16).mean((1, 3))  # (5, 5, 16)
    kernel, bias = model.get_layer("probabilities").get_weights()
    return softmax(averaged.reshape(-1) @ kernel + bias)


def test_the_network_is_that_of_the_paper(model, motion):
    expected = np.stack([reference(model, image) for image in motion])
    np.testing.assert_allclose(model.predict(motion, verbose=0), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-2  # else nothing would be compared


def test_it_has_the_weights_that_are_documented(model):
    assert model.count_params() == 1651
    assert len(model.trainable_weights) == len(model.weights)
    assert ststnet(classes=4).count_params() == 2052


def test_one_unit_of_each_channel_is_seen_as_one(model):
    scaled = model.get_layer("fixed_units")(np.array([0.224, 0.224, 0.01], "float32"))
    np.testing.assert_allclose(scaled, 1, rtol=1e-6)


def test_frames_of_twice_the_size_are_answered_alike(model, motion):
    larger = ststnet(classes=3, frame_size=448)
    larger.set_weights(model.get_weights())
    twice = motion * np.array([2, 2, 1], "float32")  # strain is px per px
    np.testing.assert_allclose(
        larger.predict(twice, verbose=0), model.predict(motion, verbose=0), rtol=1e-4
    )


def test_an_answer_does_not_depend_on_the_other_clips(model, motion):
    alone = np.concatenate([model.predict(motion[i : i + 1], verbose=0) for i in range(4)])
    np.testing.assert_allclose(model.predict(motion, verbose=0), alone, atol=1e-6)


def test_sign_and_strength_of_the_motion_count(model, motion):
    answer = model.predict(motion, verbose=0)
    for changed in (-motion, 3 * motion):
        assert np.abs(model.predict(changed, verbose=0) - answer).max() > 0.05


def test_values_are_dropped_in_training_alone(model, motion):
    asked = [model(motion, training=False).numpy() for _ in range(2)]
    trained = [model(motion, training=True).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*asked)
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_a_saved_network_answers_as_before(model, motion, tmp_path):
    model.save(tmp_path / "ststnet.keras")
    loaded = keras.models.load_model(tmp_path / "ststnet.keras")
    np.testing.assert_array_equal(
        loaded.predict(motion, verbose=0), model.predict(motion, verbose=0)
    )


def test_an_image_too_small_to_pool_is_refused():
    with pytest.raises(UserError, match="at least 4 cells a side"):
        ststnet(size=3)
