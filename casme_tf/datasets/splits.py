"""Which clips train, which choose the epoch and which are only looked at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from casme_tf.errors import UserError


@dataclass(frozen=True)
class Split:
    """One division of the clips, by index into the data set.

    Attributes:
        protocol: Name of the protocol.
        train: `(n,)` int indices of the clips that the weights are fitted on.
        validation: `(n,)` int indices of the clips that choose the epoch; empty if the number of
            epochs is fixed beforehand.
        test: `(n,)` int indices of the clips that are looked at once, at the end.
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


def check_clips(subjects: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return subjects and classes as arrays, if every clip has one of each.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip, names or numbers.

    Raises:
        UserError: If there are no clips, the lengths differ, or a value is missing.
    """
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


DRAWS = 128
"""Ways of dealing that are compared."""


def count_table(subjects: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count clips by subject and class.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip.

    Returns:
        `(S,)` subjects in sorted order, and `(S, C)` int clips of each subject and class.
    """
    names, rows = np.unique(subjects, return_inverse=True)
    present, columns = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(present)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return names, table


def balanced_folds(table: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal subjects into equal folds; none stays empty.

    Large subjects are placed first, each where it adds least to the distance from equal shares;
    the draws differ in that order.

    Args:
        table: `(S, C)` clips of each subject and class, from `count_table`.
        folds: Number of folds, from 1 to S.
        rng: Source of the draws.

    Returns:
        `(S,)` int fold of each subject.

    Example:
        >>> table = np.array([[4, 0], [0, 4], [2, 2], [2, 2]])
        >>> folds = balanced_folds(table, 2, np.random.default_rng(0))
        >>> [table[folds == fold].sum(0).tolist() for fold in range(2)]
        [[4, 4], [4, 4]]
    """
    weights, totals = _with_size(table)
    noise = rng.normal(0, 0.5, (DRAWS, len(table)))
    order = np.argsort(-(np.log(weights[:, -1]) + noise), axis=1)  # (draws, S)
    draws = np.arange(DRAWS)
    sums = np.zeros((DRAWS, folds, weights.shape[1]))
    dealt = np.zeros((DRAWS, len(table)), dtype=np.int64)
    for place in order.T:
        fold = np.einsum("dfc,dc->df", sums, weights[place] / totals).argmin(1)
        sums[draws, fold] += weights[place]
        dealt[draws, place] = fold
    best = (sums**2 / totals).sum((1, 2)).argmin()
    return dealt[best]


def validation_subjects(
    table: np.ndarray, rng: np.random.Generator, *, share: float = 0.2
) -> np.ndarray:
    """Choose the subjects that are set apart; the others keep every class.

    Args:
        table: `(S, C)` clips of each subject and class, from `count_table`.
        rng: Source of the draws.
        share: Share of the clips to set apart, as nearly as people allow. Default 0.2.

    Returns:
        `(S,)` bool; all False if whoever is set apart takes a class along.

    Example:
        >>> only_second_has_it = np.array([[4, 0], [4, 3], [4, 0]])
        >>> bool(validation_subjects(only_second_has_it, np.random.default_rng(0))[1])
        False
    """
    weights, totals = _with_size(table)

    def distance(apart: np.ndarray) -> np.ndarray:
        return ((apart - share * totals) ** 2 / totals).sum(-1)

    order = rng.permuted(np.tile(np.arange(len(table)), (DRAWS, 1)), axis=1)
    draws = np.arange(DRAWS)
    sums = np.zeros((DRAWS, weights.shape[1]))
    chosen = np.zeros((DRAWS, len(table)), dtype=bool)
    for place in order.T:
        larger = sums + weights[place]
        better = (larger < totals).all(1) & (distance(larger) < distance(sums))
        sums[better] = larger[better]
        chosen[draws, place] = better
    # With few people nobody is near the share: whoever comes nearest alone is a candidate too.
    sums = np.concatenate([sums, weights])
    chosen = np.concatenate([chosen, np.eye(len(table), dtype=bool)])
    possible = chosen.any(1) & (sums < totals).all(1)
    if not possible.any():
        return np.zeros(len(table), dtype=bool)
    cost = distance(sums) + (sums == 0).sum(1)  # a class that is not there weighs as one unit
    return chosen[np.where(possible, cost, np.inf).argmin()]


def _with_size(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the number of clips as one more column; also return the columns' totals."""
    weights = np.concatenate([table, table.sum(1, keepdims=True)], axis=1).astype(float)
    return weights, weights.sum(0)


_DRAWS = 50  # divisions tried, seed after seed, before a class is said to be too rare

_NOBODY = np.zeros(0, dtype=np.int64)


def subject_holdout(subjects: np.ndarray, labels: np.ndarray, *, seed: int) -> Split:
    """Hold out about a quarter of the clips for test and a fifth of the rest for validation.

    No subject is in two parts. Subjects are dealt out so that the parts have similar class
    proportions, and every class occurs in every part.

    Args:
        subjects: `(n,)` subject of each clip.
        labels: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw. Where a draw leaves a class out of a part, those of the following
            seeds are tried.

    Returns:
        The split.

    Raises:
        UserError: If there are too few subjects, or no draw gives every part every class.

    Example:
        >>> subjects = np.repeat(np.arange(12), 4)
        >>> split = subject_holdout(subjects, np.tile([0, 1, 2, 3], 12), seed=0)
        >>> set(subjects[split.train]) & set(subjects[split.test])
        set()
    """
    subjects, labels = np.asarray(subjects), np.asarray(labels)
    rest, test = _deal(subjects, labels, np.arange(len(labels)), parts=4, seed=seed, name="test")
    train, validation = _deal(subjects, labels, rest, parts=5, seed=seed, name="validation")
    return _named("subject-holdout", "subject-holdout", subjects, train, validation, test)


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
    wanted, counts = np.unique(labels, return_counts=True)
    for draw in range(_DRAWS):
        train, test = train_test_split(
            np.arange(len(labels)), test_size=0.25, random_state=seed + draw
        )
        if all(np.isin(wanted, labels[part]).all() for part in (train, test)):
            break
    else:
        raise UserError(
            "Every class must occur in both parts of a random split. Received: class "
            f"{wanted[counts.argmin()]} with {counts.min()} of {len(labels)} clips, and no split "
            f"in {_DRAWS} draws that has it in both. Prepare more clips."
        )
    train, test = np.sort(train), np.sort(test)
    leak = f"{_shared(subjects, train, test)}, and the epoch was chosen on the test clips"
    return _named("random", "random", subjects, train, test, test, leak)


SPLITS: dict[str, Callable[..., Split]] = {
    "subject-holdout": subject_holdout,
    "random": random_split,
}
"""The protocols of one fold by name; each takes subjects, labels and a seed."""


def leave_one_subject_out(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    """Test on one subject at a time, fit on the others.

    The test clips do not depend on the seed. A class that one subject alone has cannot be learnt
    in that subject's fold; its clips are tested all the same and count as they come.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw of validation subjects.
        validation: Set about a fifth of the other subjects' clips apart, by subject, for choosing
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
    people = np.unique(subjects)
    if len(people) < 2:
        raise UserError(
            "Leaving one subject out needs at least 2 subjects. "
            f"Received: {len(people)}. Prepare clips of more subjects."
        )
    tests = [np.flatnonzero(subjects == person) for person in people]
    names = [str(person) for person in people]
    return _folds("loso", names, tests, subjects, classes, seed=seed, validation=validation)


def grouped_k_fold(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True, k: int = 5
) -> list[Split]:
    """Test on k groups of subjects in turn, alike in size and in classes.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip, names or numbers.
        seed: Seed of the draw of the groups and of the validation subjects.
        validation: As for `leave_one_subject_out`. Default True.
        k: Number of folds, at least 2 and at most the number of subjects. Default 5.

    Returns:
        The k splits, named `fold-1` and so on.

    Raises:
        UserError: If there are too few subjects or classes for it.

    Example:
        >>> subjects = np.repeat(["s1", "s2", "s3", "s4"], 2)
        >>> folds = grouped_k_fold(subjects, np.tile([0, 1], 4), seed=0, k=2)
        >>> sorted(person for fold in folds for person in fold.test_subjects)
        ['s1', 's2', 's3', 's4']
    """
    subjects, classes = check_clips(subjects, classes)
    people, table = count_table(subjects, classes)
    if not 2 <= k <= len(people):
        raise UserError(
            f"The number of folds must be from 2 to the number of subjects, {len(people)}. "
            f"Received: {k}."
        )
    dealt = balanced_folds(table, k, np.random.default_rng(seed))
    tests = [np.flatnonzero(np.isin(subjects, people[dealt == fold])) for fold in range(k)]
    names = [f"fold-{fold + 1:0{len(str(k))}d}" for fold in range(k)]
    return _folds("kfold", names, tests, subjects, classes, seed=seed, validation=validation)


def _one_holdout(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    split = subject_holdout(*check_clips(subjects, classes), seed=seed)
    if validation:
        return [split]
    train = np.union1d(split.train, split.validation)
    return [replace(split, train=train, validation=_NOBODY)]


def _one_random(
    subjects: np.ndarray, classes: np.ndarray, *, seed: int, validation: bool = True
) -> list[Split]:
    subjects, classes = check_clips(subjects, classes)
    split = random_split(subjects, classes, seed=seed)
    if validation:
        return [split]
    leak = _shared(subjects, split.train, split.test)
    return [replace(split, validation=_NOBODY, leak=leak)]


PROTOCOLS: dict[str, Callable[..., list[Split]]] = {
    "loso": leave_one_subject_out,
    "kfold": grouped_k_fold,
    "subject-holdout": _one_holdout,
    "random": _one_random,
}
"""All protocols by name, as lists of folds; each takes subjects, classes, `seed` and `validation`,
and kfold also `k`. For a seed, those of one fold test on the same clips as in `SPLITS`."""

CROSS_VALIDATIONS = ("loso", "kfold")
"""The protocols that test every clip exactly once."""


def _folds(
    protocol: str,
    names: list[str],
    tests: list[np.ndarray],
    subjects: np.ndarray,
    classes: np.ndarray,
    *,
    seed: int,
    validation: bool,
) -> list[Split]:
    """Make the split of each test part; the rest is training or, by subject, validation."""
    folds = []
    for number, (name, test) in enumerate(zip(names, tests, strict=True)):
        train = np.setdiff1d(np.arange(len(subjects)), test)
        left = np.unique(classes[train])
        if len(left) < 2:
            raise UserError(
                f"The training side of fold {name} must have clips of at least 2 classes. "
                "Received: clips of one class alone once those of the tested subjects are set "
                "apart. Prepare clips of more subjects, or choose another --scheme."
            )
        apart = _NOBODY
        if validation:
            rng = np.random.default_rng([seed, number])
            people, table = count_table(subjects[train], classes[train])
            chosen = people[validation_subjects(table, rng)]
            if not len(chosen):
                raise UserError(
                    f"Fold {name} must have a subject whom training can spare for validation "
                    f"without losing a class. Received: {len(people)} subjects besides the test "
                    "part. Fix the number of epochs and do without validation, or prepare clips "
                    "of more subjects."
                )
            is_apart = np.isin(subjects[train], chosen)
            train, apart = train[~is_apart], train[is_apart]
        folds.append(_named(protocol, name, subjects, train, apart, test))
    return folds


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


def _shared(subjects: np.ndarray, train: np.ndarray, test: np.ndarray) -> str:
    count = len(np.intersect1d(subjects[train], subjects[test]))
    return f"{count} subjects are in both the training and the test part"


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
    wanted = np.unique(labels)
    for draw in range(_DRAWS):
        folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed + draw)
        with warnings.catch_warnings():
            # That a class is rarer than there are folds does not matter: one fold is taken.
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            shares = list(folds.split(pool, labels[pool], subjects[pool]))
        for kept, apart in shares:
            candidate = pool[kept], pool[apart]
            if all(np.isin(wanted, labels[part]).all() for part in candidate):
                return candidate
    people = {label: len(np.unique(subjects[labels == label])) for label in wanted}
    rarest = min(people, key=lambda label: people[label])
    raise UserError(
        "Training, validation and test need every class, each of other subjects. Received: class "
        f"{rarest} of {people[rarest]} subjects, and no division in {_DRAWS} draws that gives the "
        f"{name} part every class. Prepare clips of more subjects, or cross-validate, which needs "
        "no such division: casme-tf crossval --arch svm --protocol loso"
    )
