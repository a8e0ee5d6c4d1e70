"""Batches to train on: motion computed once a clip, in a new order each epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.datasets.pairs import untuned
from casme_tf.progress import progress
from casme_tf.training.augmentation import Augmentation, augment_flow, augment_pair

Motion = Any
"""What a model's `motion` part gives: an array, or a dictionary of arrays, clips first."""


def compute_motion(motion: keras.Model, frames: dict[str, np.ndarray], batch: int = 8) -> Motion:
    """Run a model's weightless part over all clips, once.

    Args:
        motion: The `motion` part of a model; see `models.split_model`.
        frames: `onset` and `apex`, each `(n, S, S, 3)` uint8.
        batch: Clips at a time.

    Returns:
        What `motion` gives, stacked over clips, float32.
    """
    run = tf.function(motion, reduce_retracing=True)
    count = len(frames["onset"])
    steps = range(0, count, batch)
    parts = [
        tf.nest.map_structure(
            np.asarray, run({name: tf.constant(x[i : i + batch]) for name, x in frames.items()})
        )
        for i in progress(steps, desc="motion", unit="batch")
    ]
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def take(motion: Motion, indices: np.ndarray) -> Motion:
    """Return the clips at `indices`."""
    return tf.nest.map_structure(lambda array: array[indices], motion)


def training_batches(
    motion: Motion,
    labels: np.ndarray,
    *,
    batch_size: int,
    epochs: int,
    first_epoch: int = 0,
    seed: int,
    augmentation: Augmentation | None = None,
    encoding: keras.layers.Layer | None = None,
) -> tf.data.Dataset:
    """Batches of all epochs, one after another, each clip once an epoch in a new order.

    Order and augmentation depend on the seed and the epoch's number alone, so a training that is
    taken up again at a later epoch sees what it would have seen.

    Args:
        motion: `n` clips of motion.
        labels: `(n,)` int class.
        batch_size: Clips a batch. An incomplete batch at an epoch's end is left out.
        epochs: Number of the epoch to stop before.
        first_epoch: Number of the epoch to begin with. Default 0.
        seed: Seed of order and augmentation.
        augmentation: Ranges of random changes; None for none.
        encoding: Weightless layer applied last; None for none.

    Returns:
        Batches of `(network input, label)`.
    """
    count = len(labels)
    batch_size = min(batch_size, count)
    features = tf.nest.map_structure(tf.constant, motion)
    targets = tf.constant(labels)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, tf.cast(epoch, tf.int32)])
        )
        batches = tf.data.Dataset.from_tensor_slices(shuffled).batch(
            batch_size, drop_remainder=True
        )
        return batches.map(lambda indices: (indices, epoch))

    def gather(indices: tf.Tensor, epoch: tf.Tensor) -> tuple[Motion, tf.Tensor]:
        x = tf.nest.map_structure(lambda array: tf.gather(array, indices), features)
        if augmentation is not None:
            # The first clip of a batch differs between an epoch's batches.
            draw = tf.stack([seed + 1 + tf.cast(epoch, tf.int32) * count, indices[0]])
            augment = augment_pair if isinstance(x, dict) else augment_flow
            x = augment(x, augmentation, draw)
        if encoding is not None:
            x = encoding(x)
        return x, tf.gather(targets, indices)

    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(order)
    return untuned(dataset.map(gather, tf.data.AUTOTUNE, deterministic=True).prefetch(2))


def evaluation_batches(
    motion: Motion,
    labels: np.ndarray,
    *,
    batch_size: int = 32,
    encoding: keras.layers.Layer | None = None,
) -> tf.data.Dataset:
    """Batches of each clip once, in order, unchanged.

    Args:
        motion: `n` clips of motion.
        labels: `(n,)` int class.
        batch_size: Clips a batch.
        encoding: Weightless layer applied last; None for none.

    Returns:
        Batches of `(network input, label)`, kept in memory after the first pass.
    """
    dataset = tf.data.Dataset.from_tensor_slices((motion, labels)).batch(batch_size)
    if encoding is not None:
        dataset = dataset.map(lambda x, y: (encoding(x), y))
    return untuned(dataset.cache().prefetch(1))
