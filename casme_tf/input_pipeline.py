"""From the built data set to batches: pairs at the model's size, motion computed once a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_datasets as tfds

from casme_tf.augmentation import Augmentation, augment_flow, augment_pair
from casme_tf.datasets.casme2 import frame_decoders, open_casme2
from casme_tf.labels import CLASSES
from casme_tf.progress import progress

Motion = Any
"""What a model's `motion` part gives: an array, or a dictionary of arrays, clips first."""

_FIELDS = ("subject", "clip", "emotion", "action_units", "apex_source")


@dataclass(frozen=True)
class Pairs:
    """All clips of the data set at one size.

    Attributes:
        frames: `onset` and `apex`, each `(n, size, size, 3)` uint8 RGB.
        labels: `(n,)` int64 class index.
        clips: One row a clip: subject, clip, emotion, action_units, apex_source, class.
        corpus: Corpus that the clips are of, one of `corpora.CORPORA`: "casme2" or "stand-in".
        coding_sheet: Edition of the coding sheet, such as "edition of 2014 (255 rows)"; "" if the
            data set was built by a version that did not note it.
    """

    frames: dict[str, np.ndarray]
    labels: np.ndarray
    clips: pd.DataFrame
    corpus: str
    coding_sheet: str = ""

    def __len__(self) -> int:
        return len(self.labels)


def resize_frame(frame: tf.Tensor, size: int) -> tf.Tensor:
    """Resize a frame `(H, W, 3)` uint8 to `(size, size, 3)` uint8, bilinear with antialiasing."""
    resized = tf.image.resize(frame, (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def load_pairs(data_dir: Path | None, size: int) -> Pairs:
    """Read the built data set `casme2` and resize its frames.

    Args:
        data_dir: Folder that `tfds build` wrote to; None for TFDS's default.
        size: Side of the frames, px.

    Returns:
        All clips, in the data set's order.

    Raises:
        UserError: If the data set is not built, or was built by another version.
    """
    builder = open_casme2(data_dir)
    emotions = builder.info.features["emotion"].names

    def resized(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        kept = {name: example[name] for name in ("label", "corpus", *_FIELDS)}
        return kept | {name: resize_frame(example[name], size) for name in ("onset", "apex")}

    dataset = builder.as_dataset(
        split="train",
        shuffle_files=False,
        decoders=frame_decoders(),
        read_config=tfds.ReadConfig(try_autocache=False),  # it is read once, and kept here
    )
    dataset = _untuned(dataset.map(resized, tf.data.AUTOTUNE, deterministic=True).prefetch(8))
    count = builder.info.splits["train"].num_examples
    frames = {name: np.empty((count, size, size, 3), np.uint8) for name in ("onset", "apex")}
    labels = np.empty(count, np.int64)
    rows = []
    corpora = set()
    for i, example in enumerate(dataset.as_numpy_iterator()):
        for name, array in frames.items():
            array[i] = example[name]
        labels[i] = example["label"]
        corpora.add(example["corpus"].decode())
        text = {name: example[name].decode() for name in _FIELDS if name != "emotion"}
        rows.append(text | {"emotion": emotions[example["emotion"]]})
    clips = pd.DataFrame(rows, columns=list(_FIELDS))
    clips = clips.assign(**{"class": np.asarray(CLASSES)[labels]})
    (corpus,) = corpora  # the builder refuses a mixture
    metadata = builder.info.metadata or {}
    return Pairs(frames, labels, clips, corpus, metadata.get("coding_sheet", ""))


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
    return _untuned(dataset.map(gather, tf.data.AUTOTUNE, deterministic=True).prefetch(2))


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
    return _untuned(dataset.cache().prefetch(1))


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch TensorFlow's search for the best number of threads off."""
    # Keras's `fit`, and whoever reads to the end, waits until that search wakes up next, which
    # after a minute it does once a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
