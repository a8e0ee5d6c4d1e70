"""The guard of folds: nothing of a test clip may be on the side that made the model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from casme_tf.datasets.prepared import STAND_IN
from casme_tf.datasets.splits import CROSS_VALIDATIONS, Split
from casme_tf.errors import LeakError, UserError
from casme_tf.runs import CONFIG, SPLIT, RunRecord, read_split
from casme_tf.training.learners import PUBLISHED

__all__ = ["guard_folds"]

EXAMPLES = 3
"""Leaks that a message names; of the others it gives the number."""


def guard_folds(
    splits: Sequence[Split],
    subjects: np.ndarray,
    *,
    clips: np.ndarray | None = None,
    frames: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Refuse folds through which something of a test clip reaches the training side.

    Args:
        splits: The folds of one protocol.
        subjects: `(n,)` subject of each clip.
        clips: `(n,)` name of each clip, for messages. Default: its number.
        frames: Arrays `(n, ...)` by name, clips first; if given, frames are compared as well.

    Raises:
        LeakError: If parts share a subject, a clip or a frame, or if a cross-validation does not
            test every clip exactly once.
        UserError: If splits do not fit the clips.

    Example:
        >>> from casme_tf.datasets.splits import PROTOCOLS
        >>> subjects, classes = np.repeat(["s1", "s2", "s3"], 2), np.tile([0, 1], 3)
        >>> guard_folds(PROTOCOLS["loso"](subjects, classes, seed=0), subjects)
    """
    if not splits:
        raise UserError("There must be at least one fold. Received: none.")
    numbers = None if frames is None else number_frames(frames)
    for split in splits:
        require_disjoint(split, subjects, clips=clips)
        if numbers is not None:
            require_distinct_frames(split, numbers, subjects, clips=clips)
    if any(split.protocol in CROSS_VALIDATIONS for split in splits):
        require_tested_once(splits, subjects, clips=clips)


def require_disjoint(
    split: Split, subjects: np.ndarray, *, clips: np.ndarray | None = None
) -> None:
    """Refuse a split in which two parts share a subject or a clip."""
    subjects = np.asarray(subjects)
    parts = _parts(split)
    for name in ("training", "test"):
        if not len(parts[name]):
            raise UserError(f"The {name} part of {_title(split)} must have clips. Received: none.")
    indices = np.concatenate(list(parts.values()))
    if indices.min() < 0 or indices.max() >= len(subjects):
        raise UserError(
            f"Clips of {_title(split)} must be numbers from 0 to {len(subjects) - 1}. "
            f"Received: {indices.min()} to {indices.max()}."
        )
    for one, other in combinations(parts, 2):
        if split.leak is None:
            both = np.intersect1d(subjects[parts[one]], subjects[parts[other]])
            if both.size:
                raise LeakError(
                    f"{one.capitalize()} and {other} part of {_title(split)} must have different "
                    f"subjects. Received: {_some([str(p) for p in both])} in both. Divide the "
                    "clips by subject, or declare the leak in Split.leak."
                )
        shared = np.intersect1d(parts[one], parts[other])
        if shared.size and (split.leak is None or one == "training"):
            names = _some([_clip(i, subjects, clips) for i in shared])
            raise LeakError(
                f"{one.capitalize()} and {other} part of {_title(split)} must have different "
                f"clips. Received: {names} in both. Divide the clips again."
            )


def number_frames(frames: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give frames numbers that are equal where frames are equal, byte for byte."""
    known: dict[bytes, int] = {}
    numbers = {}
    lengths = {name: np.shape(array)[:1] for name, array in frames.items()}
    if not frames or len(set(lengths.values())) > 1 or () in lengths.values():
        raise UserError(f"Frames must be arrays with one row a clip. Received: {lengths}.")
    for name, values in frames.items():
        array = np.asarray(values)
        if array.ndim < 2:
            raise UserError(
                f"A frame must have several values. Received: {name} of shape {array.shape}. "
                "Give frames alone, without labels or other single values."
            )
        kind = f"{array.dtype.str} {array.shape[1:]} ".encode()
        digests = (hashlib.blake2b(kind + row.tobytes(), digest_size=16).digest() for row in array)
        numbers[name] = np.array([known.setdefault(key, len(known)) for key in digests], np.int64)
    return numbers


def require_distinct_frames(
    split: Split,
    numbers: Mapping[str, np.ndarray],
    subjects: np.ndarray,
    *,
    clips: np.ndarray | None = None,
) -> None:
    """Refuse a split in which two parts hold the same frame."""
    subjects = np.asarray(subjects)
    names = list(numbers)
    table = np.stack([numbers[name] for name in names])  # (arrays, n)
    for one, other in combinations(_parts(split).items(), 2):
        (part, left), (other_part, right) = one, other
        found = []
        for number in np.intersect1d(table[:, left], table[:, right]):
            here = [(a, left[i]) for a, i in np.argwhere(table[:, left] == number)]
            there = [(a, right[i]) for a, i in np.argwhere(table[:, right] == number)]
            for (a, i), (b, j) in ((x, y) for x in here for y in there):
                if split.leak is None or subjects[i] != subjects[j]:
                    found.append(
                        f"{names[a]} of {_clip(i, subjects, clips)} is {names[b]} of "
                        f"{_clip(j, subjects, clips)}"
                    )
        if found:
            raise LeakError(
                f"{part.capitalize()} and {other_part} part of {_title(split)} must not hold the "
                f"same frame. Received: {_some(found)}. Leave copies out of the data set."
            )


def require_tested_once(
    splits: Sequence[Split], subjects: np.ndarray, *, clips: np.ndarray | None = None
) -> None:
    """Refuse folds that do not test every clip exactly once."""
    subjects = np.asarray(subjects)
    tested = np.bincount(np.concatenate([s.test for s in splits]), minlength=len(subjects))
    wrong = [f"{_clip(i, subjects, clips)} {tested[i]} times" for i in np.flatnonzero(tested != 1)]
    if wrong:
        raise LeakError(
            f"{len(splits)} folds must test every clip exactly once. Received: {_some(wrong)}. "
            "Take all folds of one protocol."
        )


def _parts(split: Split) -> dict[str, np.ndarray]:
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    return {name: np.asarray(part, dtype=np.int64) for name, part in parts.items()}


def _title(split: Split) -> str:
    return f"fold {split.name}" if split.name else f"the split {split.protocol}"


def _clip(index: int | np.integer, subjects: np.ndarray, clips: np.ndarray | None) -> str:
    return f"{subjects[index]}/{index if clips is None else clips[index]}"


def _some(names: list[str]) -> str:
    more = len(names) - EXAMPLES
    return ", ".join(names[:EXAMPLES]) + (f" and {more} more" if more > 0 else "")


def require_unseen(
    weights: str, tested: Iterable[str], corpus: str, database: str = "casme2"
) -> None:
    """Refuse weights that were trained on subjects of the test clips.

    A subject is named `DATABASE/SUBJECT`, or without one if it is of `database`.
    """
    subjects = {_whole(str(subject), database) for subject in tested}
    for run, record in _runs(weights):
        drawn = [name == STAND_IN for name in (record.split.get("corpus", corpus), corpus)]
        if drawn[0] != drawn[1]:  # drawn subjects have the names of real ones
            continue
        home = record.databases[0] if record.databases else ""
        shared = sorted(subjects & {_whole(subject, home) for subject in _seen(run, record)})
        if shared:
            raise LeakError(
                "A frozen backbone must not have been trained on a tested subject. Received: "
                f"{weights}, of the run {run.name}, trained on {len(shared)} of {len(subjects)} "
                f"of them, the first {shared[0]}. Use --weights imagenet or none, or weights of "
                "another corpus."
            )


def _whole(subject: str, database: str) -> str:
    """Name a subject with its database."""
    return subject if "/" in subject else f"{database}/{subject}"


def _runs(weights: str) -> Iterator[tuple[Path, RunRecord]]:
    """Yield the run of a weights file, the run of the weights that it began with, and so on."""
    known: set[Path] = set()
    while weights not in PUBLISHED:
        run = Path(weights).expanduser().resolve().parent
        if run in known or not (run / CONFIG).is_file():
            return
        known.add(run)
        record = RunRecord.load(run / CONFIG)
        yield run, record
        weights = str(record.train.get("weights", "none"))


def _seen(run: Path, record: RunRecord) -> set[str]:
    """Return the subjects who decided a run's weights."""
    if not (run / SPLIT).is_file():
        parts = [record.split.get("parts", {}).get(name, {}) for name in ("train", "validation")]
        return {subject for part in parts for subject in part.get("subjects", [])}
    split = read_split(run)
    # Where the split leaks, test clips chose the epoch.
    decided = split if record.split.get("leak") else split[split["part"] != "test"]
    return set(decided["subject"])
