"""After few steps running statistics are stale; inference must answer as training did."""

import keras
import numpy as np
import pytest

from casme_tf.datasets.pairs import load_pairs
from casme_tf.models import flow_classifier, split_model
from casme_tf.training.batches import compute_motion, training_batches
from casme_tf.training.train import reestimate_batch_normalization


def disagreement(network, batches) -> float:
    """Mean difference of a probability between training and inference mode."""
    return float(
        np.mean(
            [
                np.abs(network(x, training=False) - network(x, training=True)).mean()
                for x, _ in batches
            ]
        )
    )


def normalizations(network) -> list[keras.layers.BatchNormalization]:
    return [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


@pytest.mark.slow
def test_reestimated_statistics_let_inference_agree_with_training(data_dir):
    keras.utils.set_random_seed(0)
    pairs = load_pairs(data_dir, 64)
    motion_model, encoding, _ = split_model(
        flow_classifier(frame_size=64, network_size=32, dropout=0.0)
    )
    motion = compute_motion(motion_model, pairs.frames)
    image = x = keras.Input((32, 32, 3))
    for filters in (8, 16, 32):
        x = keras.layers.Conv2D(filters, 3, strides=2, use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.99)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, keras.layers.Dense(4, activation="softmax")(x))
    network.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")

    def batches(epochs):
        return training_batches(
            motion, pairs.labels, batch_size=16, epochs=epochs, seed=0, encoding=encoding
        )

    steps = len(pairs) // 16
    network.fit(batches(6), epochs=6, steps_per_epoch=steps, shuffle=False, verbose=0)
    stale = disagreement(network, batches(1))
    reestimate_batch_normalization(network, batches(1))
    fresh = disagreement(network, batches(1))
    assert fresh < 0.05 < 0.1 < stale
    assert all(layer.momentum == 0.99 for layer in normalizations(network))
