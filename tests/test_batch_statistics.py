import keras
import numpy as np

from casme_tf.input_pipeline import compute_motion, load_pairs, training_batches
from casme_tf.models import flow_classifier, split_model
from casme_tf.training import reestimate_batch_normalization


def test_reestimated_statistics_let_inference_agree_with_training(data_dir):
    """After few steps the running statistics are stale; both modes must agree in the end."""
    keras.utils.set_random_seed(0)
    pairs = load_pairs(data_dir, 64)
    motion_model, encoding, network = split_model(
        flow_classifier(frame_size=64, network_size=32, dropout=0.0)
    )
    motion = compute_motion(motion_model, pairs.frames)
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")

    def batches(epochs):
        return training_batches(
            motion, pairs.labels, batch_size=16, epochs=epochs, seed=0, encoding=encoding
        )

    network.fit(batches(6), epochs=6, steps_per_epoch=len(pairs) // 16, verbose=0)

    def accuracy(training):
        hits = [
            np.asarray(network(x, training=training)).argmax(1) == y.numpy() for x, y in batches(1)
        ]
        return np.concatenate(hits).mean()

    def disagreement():
        return np.mean(
            [
                np.abs(network(x, training=False) - network(x, training=True)).mean()
                for x, _ in batches(1)
            ]
        )

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean * 0)
            layer.moving_variance.assign(layer.moving_variance * 0 + 1)
    stale = disagreement()
    reestimate_batch_normalization(network, batches(1))
    assert disagreement() < 0.1 < stale
    assert abs(accuracy(False) - accuracy(True)) <= 0.1
