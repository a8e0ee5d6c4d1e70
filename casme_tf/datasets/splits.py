"""Which clips train, which choose the epoch and which are tested once, by subject."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, train_test_split

from casme_tf.errors import UserError

__all__ = ["CROSS_VALIDATIONS", "PROTOCOLS", "TRAININGS", "Split", "leave_one_subject_out"]

ALL = "all"
"""Name of the split that keeps nothing for test."""

_DRAWS = 50  # divisions tried, seed after seed, before a class is said to be too rare
_VALIDATION_DRAWS = 8  # of each fold
_NO_CLIPS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Split:
    """One division of the clips, by index into the data set.

    Attributes:
        protocol: Name of the protocol.
        train: `(n,)` int indices of the clips that the weights are fitted on.
        validation: `(n,)` int indices of the clips that choose the epoch; empty if the number of
            epochs is fixed beforehand.
        test: `(n,)` int indices of the clips that are tested once, at the end.
        leak: Why figures on the test clips are too good, or None if nothing leaks.
        name: Name of the fold, for the terminal and for files: the subject if it leaves one out.
        test_subjects: Subjects of the test clips, in sorted order.
    """

    protocol: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    leak: str | None = None
    name: str = ""
    test_subjects: tuple[str, ...] = ()

    def parts(self, count: int) -> np.ndarray:
        """Return for each of `count` clips the part it is tested or trained in, `(count,)` str."""
        parts = np.full(count, "train", dtype="<U10")
        parts[self.validation] = "validation"
        parts[self.test] = "test"
        return parts


def subject_holdout(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Hold out about a quarter of the clips for test and a fifth of the rest for validation.

    No subject is in two parts, and every class occurs in every part: where a draw leaves a class
    out of a part, the following seeds are tried.
    """
    subjects, classes = check_clips(subjects, classes)
    rest, test = _hold_out(subjects, classes, np.arange(len(classes)), 4, seed, "test")
    train, held_out = _hold_out(subjects, classes, rest, 5, seed, "validation")
    if not validation:
        train, held_out = rest, _NO_CLIPS
    return [_named("subject-holdout", "subject-holdout", subjects, train, held_out, test)]


def random_split(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Repeat the split of the system that this one re-implements: 75/25 by clip, at random.

    Subjects are in both parts, and the same quarter chooses the epoch and gives the score, so that
    `leak` is set. Use it only to compare with figures that were obtained that way.
    """
    subjects, classes = check_clips(subjects, classes)
    if len(classes) < 4:
        raise UserError(f"A random split needs at least 4 clips. Received: {len(classes)}.")
    wanted, counts = np.unique(classes, return_counts=True)
    for draw in range(_DRAWS):
        train, test = train_test_split(
            np.arange(len(classes)), test_size=0.25, random_state=seed + draw
        )
        if all(np.isin(wanted, classes[part]).all() for part in (train, test)):
            break
    else:
        raise UserError(
            "Every class must occur in both parts of a random split. Received: class "
            f"{wanted[counts.argmin()]} with {counts.min()} of {len(classes)} clips, and no split "
            f"in {_DRAWS} draws that has it in both. Prepare more clips."
        )
    train, test = np.sort(train), np.sort(test)
    shared = len(np.intersect1d(subjects[train], subjects[test]))
    leak = f"{shared} subjects are in both the training and the test part"
    if validation:
        leak += ", and the epoch was chosen on the test clips"
    held_out = test if validation else _NO_CLIPS
    return [_named("random", "random", subjects, train, held_out, test, leak)]


def all_clips(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = False
) -> list[Split]:
    """Train on every clip; nothing is left to test on. The seed decides nothing."""
    subjects, _ = check_clips(subjects, classes)
    return [_named(ALL, ALL, subjects, np.arange(len(subjects)), _NO_CLIPS, _NO_CLIPS)]


def leave_one_subject_out(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Test on one subject at a time, fit on the others.

    The test clips do not depend on the seed. A class that only one subject has cannot be learned
    in that subject's fold; its clips are tested and counted all the same.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw of validation subjects.
        validation: Hold out about a fifth of the other subjects' clips, by subject, for choosing
            the epoch; training keeps every class that it can have. False if the number of epochs
            is fixed beforehand. Default True.

    Returns:
        One split a subject, in sorted order, named after the subject.

    Raises:
        UserError: If there are too few subjects or classes for it.

    Example:
        >>> folds = leave_one_subject_out(["s1", "s1", "s2", "s3"], [0, 1, 0, 1], seed=0,
        ...                               validation=False)
        >>> [(fold.name, fold.test.tolist()) for fold in folds]
        [('s1', [0, 1]), ('s2', [2]), ('s3', [3])]
    """
    subjects, classes = check_clips(subjects, classes)
    names = np.unique(subjects)
    if len(names) < 2:
        raise UserError(
            "Leaving one subject out needs at least 2 subjects. "
            f"Received: {len(names)}. Prepare clips of more subjects."
        )
    tests = [test for _, test in LeaveOneGroupOut().split(subjects, classes, subjects)]
    named = zip(map(str, names), tests, strict=True)
    return list(_folds("loso", named, subjects, classes, seed=seed, validation=validation))


def grouped_k_fold(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True, k: int = 5
) -> list[Split]:
    """Test on k groups of subjects in turn, similar in size and in classes."""
    subjects, classes = check_clips(subjects, classes)
    number = len(np.unique(subjects))
    most = int(np.unique(classes, return_counts=True)[1].max())
    if not 2 <= k <= min(number, most):
        raise UserError(
            "The number of folds must be from 2 to the number of subjects and to the clips of the "
            f"most frequent class, {number} and {most}. Received: {k}."
        )
    tests = [test for _, test in _stratified(k, subjects, classes, seed)]
    named = ((f"fold-{i + 1:0{len(str(k))}d}", test) for i, test in enumerate(tests))
    return list(_folds("kfold", named, subjects, classes, seed=seed, validation=validation))


def leave_one_database_out(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Test on one database at a time, fit on the others; subjects are named `DATABASE/SUBJECT`."""
    subjects, classes = check_clips(subjects, classes)
    databases = _databases(subjects)
    names = dict.fromkeys(databases.tolist())
    tests = ((name, np.flatnonzero(databases == name)) for name in names)
    protocol = "leave-one-database-out"
    return list(_folds(protocol, tests, subjects, classes, seed=seed, validation=validation))


def database_holdout(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Test on the last database, fit on the others; subjects are named `DATABASE/SUBJECT`."""
    subjects, classes = check_clips(subjects, classes)
    databases = _databases(subjects)
    tests = iter([(str(databases[-1]), np.flatnonzero(databases == databases[-1]))])
    protocol = "holdout-database"
    return list(_folds(protocol, tests, subjects, classes, seed=seed, validation=validation))


def _databases(subjects: np.ndarray) -> np.ndarray:
    """Return the database of each subject."""
    databases = np.array([subject.rpartition("/")[0] for subject in subjects])
    if len(names := np.unique(databases)) < 2:
        raise UserError(
            "Holding out a database needs clips of several. Received: "
            f"{names[0] or 'clips of one'}. Name several with --data."
        )
    return databases


PROTOCOLS: dict[str, Callable[..., list[Split]]] = {
    "loso": leave_one_subject_out,
    "kfold": grouped_k_fold,
    "leave-one-database-out": leave_one_database_out,
    "holdout-database": database_holdout,
    "subject-holdout": subject_holdout,
    "random": random_split,
}
"""All protocols by name, as lists of folds; each takes subjects, classes, `seed` and `validation`,
and kfold also `k`."""

TRAININGS = {name: PROTOCOLS[name] for name in ("subject-holdout", "random")} | {ALL: all_clips}
"""The splits that one model is trained on, by name, as `PROTOCOLS`."""

CROSS_VALIDATIONS = ("loso", "kfold", "leave-one-database-out")
"""The protocols that test every clip exactly once."""


def check_clips(subjects: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return subjects and classes as arrays, if every clip has one of each."""
    subjects, classes = np.asarray(subjects), np.asarray(classes)
    if subjects.ndim != 1 or subjects.shape != classes.shape or not subjects.size:
        raise UserError(
            "Each clip must have one subject and one class, and there must be clips. "
            f"Received: shapes {subjects.shape} and {classes.shape}."
        )
    for what, values in (("subject", subjects), ("class", classes)):
        missing = int(pd.isna(values).sum())
        if missing:
            raise UserError(
                f"Each clip must have a {what}. Received: {missing} clips without one. "
                "Leave them out first."
            )
    return subjects, classes


def _folds(
    protocol: str,
    tests: Iterator[tuple[str, np.ndarray]],
    subjects: np.ndarray,
    classes: np.ndarray,
    *,
    seed: int,
    validation: bool,
) -> Iterator[Split]:
    """Make the split of each test part; the rest is training or, by subject, validation."""
    for number, (name, test) in enumerate(tests):
        train = np.setdiff1d(np.arange(len(subjects)), test)
        if len(np.unique(classes[train])) < 2:
            raise UserError(
                f"The training side of fold {name} must have clips of at least 2 classes. "
                "Received: clips of one class only once those of the tested subjects are held "
                "out. Prepare clips of more subjects, or choose another --scheme."
            )
        held_out = _NO_CLIPS
        if validation:
            draw = int(np.random.default_rng([seed, number]).integers(2**31 - _DRAWS))
            held_out = _validation(subjects, classes, train, draw)
            if not len(held_out):
                raise UserError(
                    f"Fold {name} must have a validation subject without whom training keeps "
                    f"every class. Received: {len(np.unique(subjects[train]))} subjects besides "
                    "the test part. Fix the number of epochs and do without validation, or "
                    "prepare clips of more subjects."
                )
            train = np.setdiff1d(train, held_out)
        yield _named(protocol, name, subjects, train, held_out, test)


def _named(
    protocol: str,
    name: str,
    subjects: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    leak: str | None = None,
) -> Split:
    tested = tuple(str(subject) for subject in np.unique(subjects[test]))
    return Split(protocol, train, validation, test, leak, name, tested)


def _stratified(
    k: int, subjects: np.ndarray, classes: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the indices of the rest and of each of k groups of subjects."""
    folds = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class may be rarer than there are folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(folds.split(subjects, classes, subjects))


def _validation(
    subjects: np.ndarray, classes: np.ndarray, pool: np.ndarray, seed: int
) -> np.ndarray:
    """Choose about a fifth of the pool's clips, by subject; the others keep every class."""
    wanted = np.unique(classes[pool])

    def keeps_every_class(held_out: np.ndarray) -> bool:
        return bool(np.isin(wanted, classes[np.setdiff1d(pool, held_out)]).all())

    by_subject = [pool[subjects[pool] == subject] for subject in np.unique(subjects[pool])]
    spared = [clips for clips in by_subject if keeps_every_class(clips)]
    if len(spared) < 2:
        return spared[0] if spared else _NO_CLIPS
    share = np.concatenate(spared)
    most = int(np.unique(classes[share], return_counts=True)[1].max())
    k = int(np.clip(round(5 * len(share) / len(pool)), 2, min(len(spared), most)))
    best, most_classes = min(spared, key=lambda clips: abs(5 * len(clips) - len(pool))), 0
    for draw in range(_VALIDATION_DRAWS if most > 1 else 0):
        groups = _stratified(k, subjects[share], classes[share], seed + draw)
        # The largest subject is always in the first group: begin with any.
        for i in range(k):
            held_out = np.sort(share[groups[(seed + i) % k][1]])
            present = len(np.unique(classes[held_out]))
            if present > most_classes and keeps_every_class(held_out):
                best, most_classes = held_out, present
            if most_classes == len(np.unique(classes[share])):
                return best
    return best


def _hold_out(
    subjects: np.ndarray, classes: np.ndarray, pool: np.ndarray, parts: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Hold one of `parts` equal shares of the pool out, with every class: `(rest, held_out)`."""
    present = np.unique(subjects[pool])
    if len(present) < 2:
        raise UserError(
            "Training, validation and test need at least 3 subjects, each class in each part. "
            f"Received: {len(np.unique(subjects))} subjects. Prepare clips of more subjects."
        )
    most = int(np.unique(classes[pool], return_counts=True)[1].max())
    if most < 2:
        raise UserError(
            "Some class must have several clips for a split. Received: at most one clip a class. "
            "Prepare more clips."
        )
    count = min(parts, len(present), most)
    wanted = np.unique(classes)
    for draw in range(_DRAWS):
        shares = _stratified(count, subjects[pool], classes[pool], seed + draw)
        for kept, held_out in shares:
            candidate = pool[kept], pool[held_out]
            if all(np.isin(wanted, classes[part]).all() for part in candidate):
                return candidate
    number = {label: len(np.unique(subjects[classes == label])) for label in wanted}
    rarest = min(number, key=lambda label: number[label])
    raise UserError(
        "Training, validation and test need every class, each of other subjects. Received: class "
        f"{rarest} of {number[rarest]} subjects, and no division in {_DRAWS} draws that gives the "
        f"{name} part every class. Prepare clips of more subjects, or cross-validate, which needs "
        "no such division: casme-tf crossval --arch svm --protocol loso"
    )
