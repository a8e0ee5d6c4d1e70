"""All clips of the built data set at one size, and those that a class scheme keeps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_datasets as tfds

from casme_tf.arrays import digest
from casme_tf.datasets.casme2 import frame_decoders, open_casme2
from casme_tf.errors import UserError
from casme_tf.labels import CLASSES, SCHEMES

__all__ = ["Pairs", "SchemeClips", "load_pairs", "select_clips"]

_FIELDS = ("subject", "clip", "emotion", "action_units", "apex_source")


@dataclass(frozen=True)
class Pairs:
    """All clips of the data set at one size.

    Attributes:
        frames: `onset` and `apex`, each `(n, size, size, 3)` uint8 RGB.
        labels: `(n,)` int64 class index.
        clips: One row a clip: subject, clip, emotion, action_units, apex_source, class.
        corpus: Corpus that the clips are of, one of `prepared.CORPORA`: "casme2" or "stand-in".
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
    dataset = untuned(dataset.map(resized, tf.data.AUTOTUNE, deterministic=True).prefetch(8))
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


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch TensorFlow's search for the best number of threads off."""
    # Keras's `fit`, and any reader at the end, waits until that search wakes up next: after the
    # first minute, once a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


@dataclass(frozen=True, eq=False)
class SchemeClips:
    """The clips that a class scheme keeps.

    Attributes:
        classes: Names of the classes.
        names: `(n,)` name of each clip.
        subjects: `(n,)` subject of each clip.
        labels: `(n,)` int class of each clip.
        frames: `onset` and `apex`, each `(n, S, S, 3)` uint8 RGB; of published motion images
            `motion` instead, see `motion_images`.
        corpus: Corpus that the clips are of, one of `prepared.CORPORA`, or `motion-images`.
        coding_sheet: Edition of their coding sheet; "" if unknown.
        databases: Databases that the clips are of, where subjects are named `DATABASE/SUBJECT`.
    """

    classes: tuple[str, ...]
    names: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    frames: dict[str, np.ndarray]
    corpus: str
    coding_sheet: str = ""
    databases: tuple[str, ...] = ()

    @property
    def class_names(self) -> np.ndarray:
        """`(n,)` class of each clip, by name."""
        return np.asarray(self.classes)[self.labels]

    @cached_property
    def digest(self) -> str:
        """A digest of everything about the clips that can decide a figure."""
        named = [self.classes, self.subjects.tolist(), self.names.tolist()]
        return digest([self.frames, self.labels, *named])

    def count(self, indices: np.ndarray) -> dict[str, int]:
        """Return the number of clips of each class among the clips at `indices`."""
        counts = np.bincount(self.labels[indices], minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its clips."""
        return {
            "corpus": self.corpus,
            "coding_sheet": self.coding_sheet,
            "databases": list(self.databases),
            "clips": len(self.labels),
            "subjects": sorted(set(self.subjects.tolist())),
            "classes": self.count(np.arange(len(self.labels))),
            "data": self.digest,
        }


def select_clips(pairs: Pairs, scheme: str) -> SchemeClips:
    """Take the clips that a class scheme keeps.

    Args:
        pairs: The data set.
        scheme: One of `labels.SCHEMES`.

    Raises:
        UserError: If it keeps none.
    """
    chosen = SCHEMES[scheme]
    kept, labels = chosen.select(pairs.clips["emotion"])
    if not len(kept):
        raise UserError(
            f"The scheme {scheme} must keep some clips. Received: {len(pairs)} clips of other "
            "emotions. Choose another --scheme."
        )
    clips = pairs.clips.iloc[kept]
    frames = {name: array[kept] for name, array in pairs.frames.items()}
    subjects, names = (clips[column].to_numpy(dtype=str) for column in ("subject", "clip"))
    return SchemeClips(
        chosen.classes, names, subjects, labels, frames, pairs.corpus, pairs.coding_sheet
    )
