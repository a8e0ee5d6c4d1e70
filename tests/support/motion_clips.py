"""Clips drawn at random for tests of cross-validation: stand-ins for motion, nobody's face."""

import keras
import numpy as np


def motion_clips(*, people=8, each=6, classes=3, size=28, signal=1.0, seed=0):
    """Return motion `(n, size, size, 3)`, labels and subjects, in no order of subjects.

    `signal` is how much brighter the class's corner is than the noise.
    """
    rng = np.random.default_rng(seed)
    subjects = rng.permutation(np.repeat([f"sub{i:02d}" for i in range(1, people + 1)], each))
    labels = rng.permutation(np.arange(len(subjects)) % classes)
    motion = rng.normal(size=(len(subjects), size, size, 3)).astype(np.float32)
    for clip, label in enumerate(labels):
        motion[clip, 3 * label : 3 * label + 3, :3] += signal
    return motion, labels, subjects


def small_network(size=28, classes=3, dropout=0.3) -> keras.Model:
    """Convolution, batch normalization and dropout: all that has a state."""
    motion = keras.Input((size, size, 3), name="motion")
    x = keras.layers.Conv2D(4, 3, strides=3, activation="relu")(motion)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(dropout)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(classes, activation="softmax", kernel_regularizer="l2")(x)
    return keras.Model(motion, x)
