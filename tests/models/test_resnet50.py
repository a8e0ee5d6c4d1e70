"""A model without its batch normalisations answers as it did with them."""

import keras
import numpy as np
import pytest

from casme_tf.models import ARCHITECTURES, split_model
from casme_tf.models.resnet50 import fold_batch_norm


def shake(model: keras.Model) -> None:
    """Give batch normalisations statistics and weights that are not those of a new model."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
            if layer.name.endswith("_3_bn"):  # sixteen full blocks saturate the answers
                layer.gamma.assign(0.03 * layer.gamma)


def norms(model: keras.Model) -> list[str]:
    layers = model._flatten_layers()
    return [x.name for x in layers if isinstance(x, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("arch", ["flow", "siamese"])
def test_networks_answer_alike(arch):
    keras.utils.set_random_seed(0)
    network = split_model(ARCHITECTURES[arch].build(frame_size=64, network_size=32))[2]
    shake(network)
    before = [weight.numpy() for weight in network.weights]
    folded = fold_batch_norm(network)
    rng = np.random.default_rng(1)
    shape = (8, 32, 32, 3)
    x = {name: rng.uniform(0, 255, shape).astype(np.float32) for name in ("onset", "apex")}
    x = x if arch == "siamese" else x["apex"]
    expected = network.predict_on_batch(x)
    assert expected.std(axis=0).max() > 1e-3  # answers differ between inputs
    np.testing.assert_allclose(folded.predict_on_batch(x), expected, atol=1e-5)
    assert len(norms(network)) == 54  # the last standardizes features
    assert norms(folded) == ["standardize"]
    assert len(folded.weights) == len(network.weights) - 4 * 53
    for weight, kept in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), kept)


def build(*, bias: bool, scale: bool, center: bool) -> keras.Model:
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=bias, bias_initializer="random_normal")(image)
    x = keras.layers.BatchNormalization(scale=scale, center=center)(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_every_form_of_layers(bias, scale, center):
    model = build(bias=bias, scale=scale, center=center)
    shake(model)
    x = np.random.default_rng(2).normal(size=(5, 6, 6, 3)).astype(np.float32)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)


def test_what_cannot_be_folded_stays():
    """A convolution that something else sees too, one with an activation, and what is no such."""
    image = keras.Input((6, 6, 3))
    seen_twice = keras.layers.Conv2D(4, 1)(image)
    active = keras.layers.Conv2D(4, 1, activation="relu")(image)
    first, second, third = (
        keras.layers.BatchNormalization(name=name)(x)
        for name, x in (("after_two", seen_twice), ("after_relu", active), ("at_once", image))
    )
    total = keras.layers.Add()([seen_twice, first, second])
    model = keras.Model(image, [total, third])
    shake(model)
    folded = fold_batch_norm(model)
    assert norms(folded) == ["after_two", "after_relu", "at_once"]
    x = np.random.default_rng(3).normal(size=(5, 6, 6, 3)).astype(np.float32)
    for ours, theirs in zip(folded(x), model(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
