"""All clips of the built data set at one size, and those that a class scheme keeps."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_datasets as tfds

from casme_tf.arrays import PAIR, digest
from casme_tf.datasets.built import frame_decoders, open_dataset
from casme_tf.datasets.databases import DATABASES, database_of
from casme_tf.datasets.prepared import SHEET, STAND_IN
from casme_tf.errors import UserError
from casme_tf.files import atomic_file
from casme_tf.labels import CLASSES, SCHEMES, Scheme
from casme_tf.progress import progress

__all__ = ["Pairs", "SchemeClips", "load_pairs", "select_clips"]

_FIELDS = ("subject", "clip", "emotion", "objective", "action_units", "apex_source")

COMPOSITE = "composite"
"""The corpus of clips of several databases."""

_RESIZING = 1  # raise it when `resize_frame` gives other pixels
_NAMED = 5  # clips that a note names


@dataclass(frozen=True)
class Pairs:
    """All clips of one or several data sets at one size.

    Attributes:
        frames: `onset` and `apex`, each `(n, size, size, 3)` uint8 RGB.
        labels: `(n,)` int64 class index.
        clips: One row a clip: database, subject, clip, emotion, objective, action_units,
            apex_source, class. Of several databases, subjects are named `DATABASE/SUBJECT`.
        corpus: What the clips are of: the database, `stand-in` if they are drawn, or `composite`.
        coding_sheet: Edition of the coding sheet, such as "edition of 2014 (255 rows)".
        databases: The databases, in the order in which they were named.
        missing: Clips of the tables that could not be prepared, with the same columns.
    """

    frames: dict[str, np.ndarray]
    labels: np.ndarray
    clips: pd.DataFrame
    corpus: str
    coding_sheet: str = ""
    databases: tuple[str, ...] = ("casme2",)
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.labels)


def resize_frame(frame: tf.Tensor, size: int) -> tf.Tensor:
    """Resize a frame `(H, W, 3)` uint8 to `(size, size, 3)` uint8, bilinear with antialiasing."""
    resized = tf.image.resize(frame, (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def load_pairs(data_dir: Path | None, size: int, databases: Sequence[str] = ("casme2",)) -> Pairs:
    """Read built data sets and resize their frames.

    Resized frames are kept in the data set's folder and mapped into memory the next time.

    Args:
        data_dir: Folder that `tfds build` wrote to; None for TFDS's default.
        size: Side of the frames, px.
        databases: Names of `databases.DATABASES`. Default: CASME II.

    Returns:
        All clips, in the data sets' order.

    Raises:
        UserError: If a data set is not built or was built by another version, one is named twice,
            or drawn clips would be mixed with others.
    """
    names = tuple(database_of(name).name for name in databases)
    if not names or len(set(names)) < len(names):
        received = " ".join(databases) or "none"
        raise UserError(f"--data must name databases, each once. Received: {received}.")
    loaded = [_load(name, data_dir, size) for name in names]
    if len(loaded) == 1:
        return loaded[0]
    corpora = [pairs.corpus for pairs in loaded]
    if len(set(corpora)) > 1 and STAND_IN in corpora:
        listed = ", ".join(map(" of ".join, zip(names, corpora, strict=True)))
        raise UserError(f"Drawn clips must not be mixed with others. Received: {listed}.")

    def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
        table = pd.concat(tables, ignore_index=True)
        return table.assign(subject=table["database"] + "/" + table["subject"])

    return Pairs(
        {
            name: np.concatenate([pairs.frames[name] for pairs in loaded])
            for name in loaded[0].frames
        },
        np.concatenate([pairs.labels for pairs in loaded]),
        joined([pairs.clips for pairs in loaded]),
        STAND_IN if STAND_IN in corpora else COMPOSITE,
        "; ".join(f"{p.databases[0]}: {p.coding_sheet}" for p in loaded if p.coding_sheet),
        names,
        joined([pairs.missing for pairs in loaded]),
    )


def _load(name: str, data_dir: Path | None, size: int) -> Pairs:
    builder = open_dataset(name, data_dir)
    frames = _kept_frames(builder, size) or _read_frames(builder, size)
    emotions = builder.info.features["emotion"].names
    labels, rows, corpora = [], [], set()
    for example in _read(builder, dict.fromkeys(PAIR, tfds.decode.SkipDecoding())):
        labels.append(example["label"])
        corpora.add(example["corpus"].decode())
        text = {key: example[key].decode() for key in _FIELDS if key != "emotion"}
        rows.append(text | {"emotion": emotions[example["emotion"]]})
    clips = pd.DataFrame(rows, columns=list(_FIELDS))
    clips["class"], clips["database"] = np.asarray(CLASSES)[labels], name
    (corpus,) = corpora  # the builder refuses a mixture
    metadata = builder.info.metadata or {}
    named = json.loads(metadata.get("missing", "[]"))
    lacking = pd.DataFrame(named, columns=[*_FIELDS[:4], "apex_source"])
    return Pairs(
        frames,
        np.array(labels, np.int64),
        clips,
        corpus,
        metadata.get("coding_sheet", ""),
        (name,),
        lacking.assign(database=name),
    )


def _read(
    builder: tfds.core.DatasetBuilder, decoders: Any, size: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield all clips in the data set's order: frames of a size, or all but the frames."""

    def chosen(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if size is not None:
            return {name: resize_frame(example[name], size) for name in PAIR}
        return {name: example[name] for name in ("label", "corpus", *_FIELDS)}

    dataset = builder.as_dataset(
        split="train",
        shuffle_files=False,
        decoders=decoders,
        read_config=tfds.ReadConfig(try_autocache=False),  # it is read once
    )
    dataset = untuned(dataset.map(chosen, tf.data.AUTOTUNE, deterministic=True).prefetch(8))
    yield from dataset.as_numpy_iterator()


def _frames_files(builder: tfds.core.DatasetBuilder, size: int) -> dict[str, Path]:
    """Return where resized frames are kept: in the data set's folder, which a build replaces."""
    folder = Path(builder.data_path)
    records = [(path.name, path.stat()) for path in sorted(folder.glob("*.tfrecord*"))]
    key = repr([_RESIZING, *((name, x.st_size, x.st_mtime_ns) for name, x in records)])
    stamp = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    return {name: folder / f"{name}_{size}px_{stamp}.npy" for name in PAIR}


def _frames_shape(builder: tfds.core.DatasetBuilder, size: int) -> tuple[int, int, int, int]:
    return builder.info.splits["train"].num_examples, size, size, 3


def _kept_frames(builder: tfds.core.DatasetBuilder, size: int) -> dict[str, np.ndarray]:
    """Return the frames that an earlier reading kept, mapped into memory; empty if none."""
    try:
        files = _frames_files(builder, size)
        frames = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
    except (OSError, ValueError):
        return {}
    wanted = {_frames_shape(builder, size)}
    return frames if {array.shape for array in frames.values()} == wanted else {}


def _read_frames(builder: tfds.core.DatasetBuilder, size: int) -> dict[str, np.ndarray]:
    """Resize the frames and keep them for the next reading, if the folder may be written."""
    shape = _frames_shape(builder, size)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        with ExitStack() as open_files:
            files = {}
            for name, path in _frames_files(builder, size).items():
                temporary = open_files.enter_context(atomic_file(path))
                files[name] = open_files.enter_context(temporary.open("wb"))
                np.lib.format.write_array_header_1_0(files[name], header)
            for frames in _read(builder, frame_decoders(), size):
                for name, file in files.items():
                    file.write(frames[name].tobytes())
        return _kept_frames(builder, size)
    except (UserError, OSError):
        arrays = {name: np.empty(shape, np.uint8) for name in PAIR}
        for i, frames in enumerate(_read(builder, frame_decoders(), size)):
            for name, array in arrays.items():
                array[i] = frames[name]
        return arrays


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
        corpus: What the clips are of: a database, `stand-in`, `composite` or `motion-images`.
        coding_sheet: Edition of their coding sheet; "" if unknown.
        databases: Databases that the clips are of, where subjects are named `DATABASE/SUBJECT`.
        notes: Where a published table gives other clips, one line each.
    """

    classes: tuple[str, ...]
    names: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    frames: dict[str, np.ndarray]
    corpus: str
    coding_sheet: str = ""
    databases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
        UserError: If it keeps none, is not defined for a database, or has other classes in one.
    """
    chosen = SCHEMES[scheme]
    classes = {tuple(chosen.rule(database)) for database in pairs.databases}
    if len(classes) > 1:
        raise UserError(
            f"The scheme {scheme} must have the same classes in {', '.join(pairs.databases)}. "
            f"Received: {' and '.join(', '.join(each) for each in sorted(classes))}. "
            "Choose another --scheme."
        )
    parts = [_selected(pairs.clips, chosen, name) for name in pairs.databases]
    kept, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not len(kept):
        raise UserError(
            f"The scheme {scheme} must keep some clips. Received: {len(pairs)} clips of other "
            "emotions. Choose another --scheme."
        )
    clips = pairs.clips.iloc[kept]
    whole = np.array_equal(kept, np.arange(len(pairs)))  # what is mapped into memory stays so
    frames = {name: array if whole else array[kept] for name, array in pairs.frames.items()}
    subjects, names = (clips[column].to_numpy(dtype=str) for column in ("subject", "clip"))
    return SchemeClips(
        classes.pop(),
        names,
        subjects,
        labels,
        frames,
        pairs.corpus,
        pairs.coding_sheet,
        pairs.databases if len(pairs.databases) > 1 else (),
        tuple(note for name in pairs.databases for note in _shortfall(pairs, chosen, name)),
    )


def announce(clips: SchemeClips) -> SchemeClips:
    """Print what is unusual about the clips, and return them."""
    for note in clips.notes:
        progress.write(f"note: {note}", file=sys.stderr)
    return clips


def _selected(clips: pd.DataFrame, scheme: Scheme, database: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a database that a scheme keeps, and their classes."""
    rows = np.flatnonzero(clips["database"] == database)
    of_sheet = (clips["apex_source"] == SHEET).to_numpy()[rows]
    if database in scheme.with_apex and of_sheet.any():  # of a sheet without apexes, all stay
        rows = rows[of_sheet]
    kept, labels = scheme.select(clips[scheme.column].iloc[rows], database)
    return rows[kept], labels


def _shortfall(pairs: Pairs, scheme: Scheme, database: str) -> Iterator[str]:
    """Say where the clips of a scheme are others than those of the database's published table."""
    if pairs.corpus == STAND_IN:
        return
    rows, _ = _selected(pairs.clips, scheme, database)
    found = pairs.clips.iloc[rows]
    for expected in DATABASES[database].expected:
        if expected.scheme != scheme.name or expected.edition not in pairs.coding_sheet:
            continue
        clips, subjects = sum(expected.classes.values()), found["subject"].nunique()
        if (len(found), subjects) != (clips, expected.subjects):
            yield (
                f"{scheme.name} of {DATABASES[database].title}: expected {clips} clips of "
                f"{expected.subjects} subjects, found {len(found)} of {subjects}"
                + _named(pairs.missing, scheme, database)
            )


def _named(missing: pd.DataFrame, scheme: Scheme, database: str) -> str:
    """Name the missing clips that the scheme would keep."""
    if missing.empty:
        return ""
    rows, _ = _selected(missing, scheme, database)
    clips = missing.iloc[rows]
    names = (clips["subject"] + "/" + clips["clip"]).tolist()
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    are = "is" if len(names) == 1 else "are"
    return f": {', '.join(names[:_NAMED])}{more} {are} missing" if names else ""
