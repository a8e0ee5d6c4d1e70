import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from casme_tf.datasets.splits import balanced_folds, count_table, validation_subjects


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    people = int(rng.integers(6, 30))
    clips = int(rng.integers(4 * people, 10 * people))
    share = rng.dirichlet(np.full(people, 1.5))
    subjects = np.concatenate([np.arange(people), rng.choice(people, clips - people, p=share)])
    return subjects, rng.choice(4, clips, p=[0.4, 0.35, 0.15, 0.1])


def unevenness(table: np.ndarray, fold_of: np.ndarray, folds: int) -> float:
    """Chi-square distance from equal shares, over classes and the number of clips."""
    sums = np.stack([table[fold_of == fold].sum(0) for fold in range(folds)])
    with_size = np.concatenate([sums, sums.sum(1, keepdims=True)], axis=1)
    equal = with_size.sum(0) / folds
    return float(((with_size - equal) ** 2 / equal).sum())


def test_clips_are_counted_by_subject_and_class():
    names, table = count_table(np.array(["b", "a", "b", "b"]), np.array(["x", "y", "x", "z"]))
    assert names.tolist() == ["a", "b"]
    assert table.tolist() == [[0, 1, 0], [2, 0, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_folds_are_at_least_as_even_as_those_of_scikit_learn(seed):
    subjects, classes = draw(seed)
    names, table = count_table(subjects, classes)
    ours = balanced_folds(table, 5, np.random.default_rng(seed))
    assert sorted(np.unique(ours)) == [0, 1, 2, 3, 4]
    theirs = np.zeros(len(names), dtype=int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for fold, (_, test) in enumerate(folds.split(subjects, classes, subjects)):
            theirs[np.unique(subjects[test])] = fold
    assert unevenness(table, ours, 5) <= unevenness(table, theirs, 5) + 1e-9


def test_folds_that_can_be_equal_are():
    table = np.array([[5, 1], [1, 5], [3, 3], [3, 3], [6, 0], [0, 6]])
    folds = balanced_folds(table, 3, np.random.default_rng(0))
    assert unevenness(table, folds, 3) == 0


@pytest.mark.parametrize("people", range(2, 9))
def test_no_fold_is_empty_even_with_as_many_folds_as_people(people):
    table = np.random.default_rng(people).integers(0, 4, (people, 3)) + np.eye(people, 3, dtype=int)
    table[0] += 50
    folds = balanced_folds(table[table.sum(1) > 0], int((table.sum(1) > 0).sum()), _rng())
    assert len(set(folds)) == len(folds)


@pytest.mark.parametrize("seed", range(20))
def test_validation_is_about_a_fifth_and_leaves_every_class_to_training(seed):
    _, table = count_table(*draw(seed))
    apart = validation_subjects(table, np.random.default_rng(seed))
    assert (table[~apart].sum(0) > 0).all()
    assert 0.1 < table[apart].sum() / table.sum() < 0.3


def test_validation_has_the_classes_that_can_be_had():
    table = np.array([[6, 0], [6, 0], [6, 0], [6, 1], [6, 1]])
    for seed in range(10):
        apart = validation_subjects(table, np.random.default_rng(seed))
        assert table[apart].sum(0).tolist() == [6, 1]


def test_people_who_can_be_spared_are_found_among_many_who_cannot():
    table = np.zeros((20, 17), dtype=int)
    table[:, 0] = 3
    table[np.arange(16), np.arange(16) + 1] = 1  # a class of their own each
    for seed in range(5):
        apart = validation_subjects(table, np.random.default_rng(seed))
        assert np.flatnonzero(apart).tolist() == [16, 17, 18, 19]


def test_nobody_is_set_apart_when_each_takes_a_class_along():
    assert not validation_subjects(np.eye(3, dtype=int), _rng()).any()
    assert not validation_subjects(np.array([[3, 4]]), _rng()).any()


def test_of_few_people_the_one_nearest_to_the_share_is_set_apart():
    table = np.array([[50, 50], [9, 9], [45, 40]])
    assert validation_subjects(table, _rng()).tolist() == [False, True, False]
    assert validation_subjects(np.array([[5, 5], [5, 5]]), _rng()).sum() == 1


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
