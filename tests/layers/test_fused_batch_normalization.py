"""Fused batch normalization learns and answers as Keras's does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from casme_tf.layers import FusedBatchNormalization
from casme_tf.models.resnet50 import fuse_batch_norm, resnet50_backbone

SHAPES = [(6, 5, 4, 3), (2, 1, 1, 3), (1, 1, 1, 3), (7, 3)]
FORMS = [{}, {"scale": False}, {"center": False}, {"trainable": False}, {"renorm": True}]


def both(**options) -> list[keras.layers.BatchNormalization]:
    made = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.7, **options)
        layer.build((None, *[4] * 2, 3))
        rng = np.random.default_rng(0)
        for variable in layer.weights[:4]:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        made.append(layer)
    return made


def learn(layer: keras.layers.Layer, x: np.ndarray) -> list[np.ndarray]:
    """Return the output of a step of training, its gradients, and the running statistics."""
    pull = np.random.default_rng(1).normal(size=x.shape)
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        y = layer(tensor, training=True)
        loss = tf.reduce_sum(tf.cast(y, tf.float64) * pull)
    gradients = tape.gradient(loss, [tensor, *layer.trainable_variables])
    found = [y, *gradients, *layer.non_trainable_variables]
    return [np.asarray(tf.cast(each, tf.float32)) for each in found]


def draw(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).normal(2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", FORMS)
def test_a_step_of_training_is_keras_s(shape, options):
    keras_s, fused = both(**options)
    if len(shape) == 2:
        keras_s, fused = (type(each).from_config(each.get_config()) for each in (keras_s, fused))
    expected, found = learn(keras_s, draw(shape)), learn(fused, draw(shape))
    assert len(expected) == len(found)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_step_in_bfloat16_is_near_that_in_float32():
    """Within some roundings of bfloat16, each up to 1 of 256."""
    exact = learn(both()[1], draw((6, 5, 4, 3)))
    rounded = learn(both(dtype="mixed_bfloat16")[1], draw((6, 5, 4, 3)))
    for ours, theirs in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_masked_places_do_not_count():
    mask = tf.constant([[[True], [False]]])
    keras_s, fused = (each(draw((1, 2, 1, 3)), training=True, mask=mask) for each in both())
    np.testing.assert_allclose(keras_s, fused, atol=1e-5)


def test_an_answer_is_keras_s_to_the_bit():
    keras_s, fused = both()
    np.testing.assert_array_equal(keras_s(draw(SHAPES[0])), fused(draw(SHAPES[0])))


def test_the_operator_is_used():
    _, fused = both()
    step = tf.function(lambda x: fused(x, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((None, 4, 4, 3))).graph
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}


def test_a_copy_has_weights_names_and_answers_of_its_model():
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg", name="resnet50"
    )
    copy = fuse_batch_norm(model, momentum=0.9)
    assert [x.name for x in copy.layers[1:]] == [x.name for x in model.layers[1:]]
    assert copy.name == model.name
    x = draw((2, 32, 32, 3))
    np.testing.assert_array_equal(copy.predict_on_batch(x), model.predict_on_batch(x))


def test_every_normalization_of_the_backbone_is_fused():
    layers = resnet50_backbone(32)._flatten_layers()
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 53
    assert {type(each) for each in norms} == {FusedBatchNormalization}
    assert {each.momentum for each in norms} == {0.9}
