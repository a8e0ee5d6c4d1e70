from functools import lru_cache

import cv2
import keras
import numpy as np
import pytest

from casme_tf.errors import UserError
from casme_tf.models import ARCHITECTURES, split_model
from casme_tf.models.estimators import MotionKernel
from casme_tf.models.resnet50 import resnet50_backbone

GRAYS = ((0, 120), (130, 255))


@lru_cache
def built(name: str) -> keras.Model:
    """A model that tests may ask and look into, but not change."""
    keras.utils.set_random_seed(0)
    build = ARCHITECTURES[name].build
    if name == "kernel":  # it is built from a fitted model
        motion = np.random.default_rng(0).random((8, 28 * 28 * 3), np.float32)
        return build(MotionKernel(4).fit(motion, np.tile([0, 1, 2, 3], 2)), frame_size=64)
    return build(frame_size=64, network_size=32)


@pytest.fixture(scope="module", params=[name for name, each in ARCHITECTURES.items() if each.build])
def model(request) -> keras.Model:
    return built(request.param)


@pytest.fixture(scope="module")
def pair() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.integers(0, 255, (80, 80, 3), dtype=np.uint8), None, 2)
    onset, apex = base[8:72, 8:72], base[8:72, 6:70]
    return {
        "onset": np.stack([onset, apex, onset]),
        "apex": np.stack([apex, onset, onset]),
    }


def test_two_frames_in_four_probabilities_out(model, pair):
    answer = model.predict(pair, verbose=0)
    assert answer.shape == (3, 4)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    assert {name: x.dtype for name, x in model.input.items()} == {
        "onset": "uint8",
        "apex": "uint8",
    }


def test_a_swapped_pair_is_another_question(model, pair):
    answer = model.predict(pair, verbose=0)
    assert np.abs(answer[0] - answer[1]).max() > 1e-4


def test_the_parts_in_turn_are_the_whole(model, pair):
    """What is trained on cached motion answers as what is exported."""
    motion, encoding, network = split_model(model)
    cached = motion.predict(pair, verbose=0)
    features = (
        cached if encoding is None else keras.tree.map_structure(np.asarray, encoding(cached))
    )
    np.testing.assert_allclose(
        network.predict(features, verbose=0), model.predict(pair, verbose=0), atol=2e-3
    )


def test_motion_has_no_weights_and_the_network_all(model):
    motion, encoding, network = split_model(model)
    assert not motion.weights
    assert encoding is None or not encoding.weights
    assert len(network.weights) == len(model.weights)


def test_a_saved_model_answers_as_before(model, pair, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(pair, verbose=0), model.predict(pair, verbose=0))


@pytest.mark.parametrize("name", ["flow", "siamese"])
def test_sizes_are_those_of_the_original_system(name):
    sizes = {
        layer.name: layer.units
        for layer in built(name)._flatten_layers()
        if isinstance(layer, keras.layers.Dense)
    }
    assert sizes == {"embedding_256": 256, "embedding_128": 128, "hidden_64": 64} | {
        "probabilities": 4
    }


@pytest.mark.parametrize("arch", ["flow", "siamese"])
def test_blocks_begin_as_identity(arch):
    """Otherwise the rounding of an exported file grows from block to block."""
    network = split_model(built(arch))[2]
    layers = {layer.name: layer for layer in network._flatten_layers()}
    last = [layer for name, layer in layers.items() if name.endswith("_3_bn")]
    assert len(last) == 16
    assert not any(np.any(layer.gamma) for layer in last)
    assert np.all(layers["conv2_block1_1_bn"].gamma == 1)


def test_blocks_of_a_frozen_backbone_stay_random():
    """Features of blocks that pass their input on would say less."""
    for frozen in (True, False):
        layers = resnet50_backbone(32, frozen=frozen)._flatten_layers()
        gammas = [layer.gamma for layer in layers if layer.name.endswith("_3_bn")]
        assert {bool(np.all(gamma == frozen)) for gamma in gammas} == {True}


def test_the_siamese_network_shares_its_weights():
    assert built("siamese").count_params() == built("flow").count_params()


@pytest.mark.slow
def test_a_still_pair_has_no_siamese_difference():
    """Equal frames have equal embeddings, so the answer does not depend on the frame."""
    model = built("siamese")
    frames = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    answer = model.predict({"onset": frames, "apex": frames}, verbose=0)
    np.testing.assert_allclose(answer[0], answer[1], atol=1e-6)


def test_the_backbone_prepares_its_images_as_keras_does():
    keras.utils.set_random_seed(0)
    backbone = resnet50_backbone(48)
    image = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype("float32")
    prepared = keras.applications.resnet.preprocess_input(image.copy())
    expected = backbone.get_layer("resnet50").predict(prepared, verbose=0)
    np.testing.assert_allclose(backbone.predict(image, verbose=0), expected, rtol=1e-3, atol=1e-4)


def test_a_model_of_others_cannot_be_taken_apart():
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="lonely")])
    with pytest.raises(UserError, match="lonely"):
        split_model(other)


def test_siamese_batch_statistics_are_those_of_both_frames():
    """Were the frames normalized apart, training would subtract what inference does not."""
    keras.utils.set_random_seed(0)
    network = split_model(ARCHITECTURES["siamese"].build(frame_size=64, network_size=32))[2]
    layers = [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        layer.momentum = 0.0
    rng = np.random.default_rng(0)
    dark, light = (rng.uniform(*gray, (2, 32, 32, 3)).astype("float32") for gray in GRAYS)
    network({"onset": dark, "apex": light}, training=True)
    means = [layer.moving_mean.numpy() for layer in layers]
    network({"onset": light, "apex": dark}, training=True)
    for layer, mean in zip(layers, means, strict=True):
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-2, atol=1e-3)
