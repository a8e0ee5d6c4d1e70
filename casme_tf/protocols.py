"""Which clips train, which choose the epoch and which are only looked at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from casme_tf.errors import UserError


@dataclass(frozen=True)
class Split:
    """One division of the clips, by index into the data set.

    Attributes:
        protocol: Name of the protocol.
        train: `(n,)` int indices of the clips that the weights are fitted on.
        validation: `(n,)` int indices of the clips that choose the epoch.
        test: `(n,)` int indices of the clips that are looked at once, at the end.
        leak: Why figures on the test clips are too good, or None if nothing leaks.
    """

    protocol: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    leak: str | None = None

    def parts(self, count: int) -> np.ndarray:
        """Return for each of `count` clips the part it is tested or trained in, `(count,)` str."""
        parts = np.full(count, "train", dtype="<U10")
        parts[self.validation] = "validation"
        parts[self.test] = "test"
        return parts


def subject_holdout(subjects: np.ndarray, labels: np.ndarray, *, seed: int) -> Split:
    """Hold out about a quarter of the clips for test and a fifth of the rest for validation.

    No subject is in two parts. Subjects are dealt out so that the parts have similar class
    proportions, and every class occurs in every part.

    Args:
        subjects: `(n,)` subject of each clip.
        labels: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw.

    Returns:
        The split.

    Raises:
        UserError: If there are too few subjects, or a class cannot be had in every part.

    Example:
        >>> subjects = np.repeat(np.arange(12), 4)
        >>> split = subject_holdout(subjects, np.tile([0, 1, 2, 3], 12), seed=0)
        >>> set(subjects[split.train]) & set(subjects[split.test])
        set()
    """
    subjects, labels = np.asarray(subjects), np.asarray(labels)
    rest, test = _deal(subjects, labels, np.arange(len(labels)), parts=4, seed=seed, name="test")
    train, validation = _deal(subjects, labels, rest, parts=5, seed=seed, name="validation")
    return Split("subject-holdout", train, validation, test)


def random_split(subjects: np.ndarray, labels: np.ndarray, *, seed: int) -> Split:
    """Repeat the split of the system that this one re-implements: 75/25 by clip, at random.

    Subjects are in both parts, and the same quarter chooses the epoch and gives the score. Use it
    to compare with figures that were obtained so, and for nothing else.

    Args:
        subjects: `(n,)` subject of each clip.
        labels: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw.

    Returns:
        The split, with `leak` set.

    Raises:
        UserError: If there are too few clips, or a class is missing from a part.
    """
    subjects, labels = np.asarray(subjects), np.asarray(labels)
    if len(labels) < 4:
        raise UserError(f"A random split needs at least 4 clips. Received: {len(labels)}.")
    train, test = train_test_split(np.arange(len(labels)), test_size=0.25, random_state=seed)
    _require_classes(labels, np.unique(labels), {"train": train, "test": test}, seed)
    shared = len(set(subjects[train]) & set(subjects[test]))
    leak = (
        f"{shared} subjects are in both the training and the test part, and the epoch was chosen "
        "on the test clips"
    )
    return Split("random", np.sort(train), np.sort(test), np.sort(test), leak)


SPLITS: dict[str, Callable[..., Split]] = {
    "subject-holdout": subject_holdout,
    "random": random_split,
}
"""The protocols by name; each takes subjects, labels and a seed."""


def _deal(
    subjects: np.ndarray, labels: np.ndarray, pool: np.ndarray, *, parts: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Set one of `parts` equal shares of the pool's subjects apart: `(kept, set_apart)`."""
    present = np.unique(subjects[pool])
    if len(present) < 2:
        raise UserError(
            "Training, validation and test need at least 3 subjects, each class in each part. "
            f"Received: {len(np.unique(subjects))} subjects. Prepare clips of more subjects."
        )
    most = int(np.unique(labels[pool], return_counts=True)[1].max())
    if most < 2:
        raise UserError(
            "Some class must have several clips for a split. Received: at most one clip a class. "
            "Prepare more clips."
        )
    count = min(parts, len(present), most)
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    wanted = np.unique(labels)
    best: tuple[np.ndarray, np.ndarray] | None = None
    with warnings.catch_warnings():
        # That a class is rarer than there are folds does not matter: one fold is taken.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        shares = list(folds.split(pool, labels[pool], subjects[pool]))
    for kept, apart in shares:
        candidate = pool[kept], pool[apart]
        if all(np.isin(wanted, labels[part]).all() for part in candidate):
            return candidate
        best = best or candidate
    assert best is not None
    _require_classes(labels, wanted, {"training": best[0], name: best[1]}, seed)
    return best


def _require_classes(
    labels: np.ndarray, wanted: np.ndarray, parts: dict[str, np.ndarray], seed: int
) -> None:
    for name, part in parts.items():
        missing = np.setdiff1d(wanted, labels[part])
        if missing.size:
            raise UserError(
                f"Every class must occur in every part of the split. Received: no clip of class "
                f"{', '.join(map(str, missing))} in the {name} part with seed {seed}. "
                "Choose another --seed, or prepare more subjects."
            )
