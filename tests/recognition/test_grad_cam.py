import keras
import numpy as np
import pytest
import tensorflow as tf

from casme_tf.export.artifacts import read_keras_model
from casme_tf.models import ARCHITECTURES, split_model
from casme_tf.models.architecture import pair_inputs
from casme_tf.recognition import grad_cam
from casme_tf.recognition.grad_cam import GradCam, NoBackboneError


@pytest.fixture(scope="module")
def pair() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    onset = rng.integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    return {"onset": onset, "apex": np.roll(onset, (1, 2), axis=(1, 2))}


def test_maps_are_as_large_as_the_frames_and_end_at_one(run, pair):
    look = GradCam(run / "model.keras")
    maps = [look(pair, label)["flow"] for label in range(4)]
    assert all(found.shape == (64, 64) and found.min() >= 0 for found in maps)
    assert {float(found.max()) for found in maps} <= {0.0, 1.0}
    assert max(found.max() for found in maps) == 1
    assert np.ptp(maps, axis=0).max() > 0.1  # each class has its own


def test_an_even_head_looks_where_the_features_are(run, pair, tmp_path, monkeypatch):
    # If every feature counts alike, the map is the sum of the last stage's maps.
    monkeypatch.setattr(grad_cam, "LEAST_SIDE", 1)
    model = read_keras_model(run / "model.keras")
    motion, encoding, network = split_model(model)
    head = network.get_layer("head")
    for layer in head.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([np.ones(w.shape, np.float32) for w in layer.get_weights()])
    mean, variance = (np.asarray(w) for w in head.get_layer("standardize").get_weights())
    head.get_layer("standardize").set_weights([0 * mean, 0 * variance + 1])
    model.save(tmp_path / "model.keras")
    resnet = network.get_layer("backbone").get_layer("resnet50")
    image = encoding(motion({name: tf.constant(x) for name, x in pair.items()}))
    image = image - np.array([123.68, 116.779, 103.939], np.float32)
    stage = keras.Model(resnet.input, resnet.get_layer("conv5_block3_out").output)
    total = tf.reduce_sum(stage(image[..., ::-1]), axis=-1, keepdims=True)
    expected = tf.image.resize(total, (64, 64), method="bicubic")[0, ..., 0].numpy()
    found = GradCam(tmp_path / "model.keras")(pair, 1)["flow"]
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-3)


def test_what_speaks_for_a_class_in_one_of_two_equal_frames_speaks_against_it_in_the_other(
    tmp_path, pair
):
    keras.utils.set_random_seed(0)
    model = ARCHITECTURES["siamese"].build(
        frame_size=64, network_size=32, classes=4, weights="none", dropout=0.0
    )
    model.save(tmp_path / "model.keras")
    # Not quite equal, or the ReLU behind the difference has no slope at all.
    frames = {"onset": pair["onset"], "apex": pair["onset"] ^ 1}
    found = GradCam(tmp_path / "model.keras")(frames, 0)
    assert found.keys() == {"onset", "apex"}
    both = np.stack(list(found.values()))
    assert both.max() == 1
    # Enlarging the cells of 4 × 4 maps lets neighbors overlap.
    assert np.minimum(*both).max() < 0.5
    assert np.minimum(*both).mean() < 0.05 * both.mean()


def test_a_model_without_resnet_cannot_be_looked_into(tmp_path):
    inputs = pair_inputs(32)
    flat = keras.layers.Flatten()(keras.ops.cast(inputs["onset"], "float32"))
    motion = keras.Model(inputs, flat, name="motion")
    x = keras.Input((32 * 32 * 3,))
    network = keras.Model(x, keras.layers.Dense(4)(x), name="network")
    keras.Model(inputs, network(motion(inputs))).save(tmp_path / "model.keras")
    with pytest.raises(NoBackboneError, match="ResNet50"):
        GradCam(tmp_path / "model.keras")
