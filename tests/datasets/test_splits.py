"""Splits: who trains, who chooses the epoch, who is tested."""

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from casme_tf.datasets.splits import (
    PROTOCOLS,
    grouped_k_fold,
    leave_one_subject_out,
    random_split,
    subject_holdout,
)
from casme_tf.errors import UserError

# Subjects and class names of a corpus of CASME II's size; every subject has most classes.
RNG = np.random.default_rng(0)
SUBJECTS = np.sort(RNG.choice([f"sub{i:02d}" for i in range(1, 27)], 255))
CLASSES = RNG.choice(["negative", "other", "positive", "surprise"], 255, p=[0.39, 0.39, 0.12, 0.1])


@pytest.mark.parametrize("seed", range(10))
def test_subject_holdout_shares_no_subject_and_loses_no_clip(seed):
    (split,) = subject_holdout(SUBJECTS, CLASSES, seed=seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts)) == list(range(255))
    people = [set(SUBJECTS[part]) for part in parts]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert split.leak is None
    assert all(set(CLASSES[part]) == set(CLASSES) for part in parts)
    assert 0.15 < len(split.test) / 255 < 0.35


ONE_FOLD = {"subject-holdout": subject_holdout, "random": random_split}


@pytest.mark.parametrize("protocol", ONE_FOLD)
def test_a_split_depends_on_its_seed_alone(protocol):
    first, again, other = (ONE_FOLD[protocol](SUBJECTS, CLASSES, seed=s)[0] for s in (3, 3, 4))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_random_split_is_three_to_one_and_says_that_it_leaks():
    (split,) = random_split(SUBJECTS, CLASSES, seed=12)
    assert len(split.test) == 64
    assert np.array_equal(split.test, split.validation)
    shared = len(set(SUBJECTS[split.train]) & set(SUBJECTS[split.test]))
    assert shared > 0
    assert f"{shared} subjects are in both" in split.leak


def test_parts_name_each_clip_once():
    (split,) = subject_holdout(SUBJECTS, CLASSES, seed=0)
    parts = split.parts(255)
    assert (parts[split.test] == "test").all()
    assert (parts == "train").sum() == len(split.train)


def test_too_few_subjects_are_refused():
    with pytest.raises(UserError, match=r"at least 3 subjects.*Received: 1 subjects"):
        subject_holdout(np.repeat("sub01", 8), np.tile(["a", "b"], 4), seed=0)
    with pytest.raises(UserError, match="Received: 2 subjects"):
        subject_holdout(np.repeat(["sub01", "sub02"], 4), np.tile(["a", "b"], 4), seed=0)


def test_a_class_that_only_one_subject_has_is_refused_by_name():
    classes = np.where(SUBJECTS[0] == SUBJECTS, "surprise", "other")
    with pytest.raises(UserError, match=r"class surprise of 1 subjects.*crossval"):
        subject_holdout(SUBJECTS, classes, seed=0)


def test_a_rare_class_is_in_every_part_whatever_the_seed():
    """Ten subjects of one's own, of whom four show the rare class."""
    people = np.repeat([f"s{i}" for i in range(10)], 6)
    classes = np.tile(list("aaabbb"), 10).astype(object)
    for subject in range(4):
        classes[6 * subject] = "rare"
    for seed in range(30):
        (split,) = subject_holdout(people, classes, seed=seed)
        for part in (split.train, split.validation, split.test):
            assert set(classes[part]) == {"a", "b", "rare"}


def test_a_handful_of_clips_is_refused_in_one_line():
    people = np.array(["sub01", "sub02", "sub03", "sub04"])
    with pytest.raises(UserError, match="Received: at most one clip a class"):
        subject_holdout(people, np.array(["a", "b", "c", "d"]), seed=0)
    with pytest.raises(UserError):
        subject_holdout(np.repeat(people, 2), np.tile(["a", "b", "c", "d"], 2), seed=0)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Subjects and classes at random: uneven people, rare classes, clips in no order."""
    rng = np.random.default_rng(seed)
    people = int(rng.integers(5, 30))
    clips = int(rng.integers(3 * people, 9 * people))
    share = rng.dirichlet(np.full(people, 1.5))
    number = np.concatenate([np.arange(people), rng.choice(people, clips - people, p=share)])
    classes = rng.choice(["a", "b", "c", "d"], clips, p=[0.45, 0.35, 0.15, 0.05])
    order = rng.permutation(clips)
    return np.array([f"s{i:02d}" for i in number])[order], classes[order]


CROSS = {"loso": leave_one_subject_out, "kfold": grouped_k_fold}


@pytest.mark.parametrize("protocol", CROSS)
@pytest.mark.parametrize("seed", range(12))
def test_folds_share_no_subject_test_all_clips_once_and_train_on_every_class(protocol, seed):
    subjects, classes = draw(seed)
    folds = PROTOCOLS[protocol](subjects, classes, seed=seed)
    everyone = np.arange(len(subjects))
    assert sorted(np.concatenate([fold.test for fold in folds])) == everyone.tolist()
    shares = []
    for fold in folds:
        parts = [fold.train, fold.validation, fold.test]
        assert sorted(np.concatenate(parts)) == everyone.tolist()
        people = [set(subjects[part]) for part in parts]
        assert not (people[0] & people[1])
        assert not (people[0] & people[2])
        assert not (people[1] & people[2])
        assert fold.test_subjects == tuple(sorted(people[2]))
        assert fold.protocol == protocol
        assert fold.leak is None
        side = np.concatenate(parts[:2])
        assert set(classes[fold.train]) == set(classes[side])
        shares.append(len(fold.validation) / len(side))
    assert 0.1 < np.mean(shares) < 0.3
    assert len({fold.name for fold in folds}) == len(folds)


@pytest.mark.parametrize("seed", range(5))
def test_leaving_one_out_is_that_of_scikit_learn(seed):
    subjects, classes = draw(seed)
    folds = leave_one_subject_out(subjects, classes, seed=seed, validation=False)
    theirs = list(LeaveOneGroupOut().split(subjects, classes, subjects))
    assert len(folds) == len(theirs)
    for fold, (train, test) in zip(folds, theirs, strict=True):
        assert np.array_equal(fold.train, train)
        assert np.array_equal(fold.test, test)
        assert fold.validation.size == 0
        assert fold.validation.dtype.kind == "i"
        assert {fold.name} == set(fold.test_subjects) == set(subjects[test])


def test_the_seed_draws_validation_in_each_fold_but_not_the_test_subjects():
    first, again, other = (leave_one_subject_out(SUBJECTS, CLASSES, seed=s) for s in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.validation, b.validation)
        assert np.array_equal(a.test, c.test)
    pairs = zip(first, other, strict=True)
    assert np.mean([not np.array_equal(a.validation, c.validation) for a, c in pairs]) > 0.9
    chosen = [frozenset(SUBJECTS[fold.validation]) for fold in first]
    assert len(set(chosen)) > len(chosen) / 2


def test_every_subject_comes_to_be_a_validation_subject():
    folds = leave_one_subject_out(SUBJECTS, CLASSES, seed=0)
    assert set(np.concatenate([SUBJECTS[fold.validation] for fold in folds])) == set(SUBJECTS)


@pytest.mark.parametrize("k", [2, 5, 10, 26])
def test_k_folds_hold_equal_shares_as_far_as_people_allow(k):
    folds = grouped_k_fold(SUBJECTS, CLASSES, seed=1, k=k)
    sizes = [len(fold.test) for fold in folds]
    assert len(folds) == k
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= np.unique(SUBJECTS, return_counts=True)[1].max()
    assert sorted(fold.name for fold in folds) == [fold.name for fold in folds]


def test_k_folds_depend_on_the_seed():
    tests = [
        frozenset(fold.test_subjects for fold in grouped_k_fold(SUBJECTS, CLASSES, seed=seed))
        for seed in range(6)
    ]
    assert len(set(tests)) == 6
    again = grouped_k_fold(SUBJECTS, CLASSES, seed=0)
    assert frozenset(fold.test_subjects for fold in again) == tests[0]


@pytest.mark.parametrize("protocol", ONE_FOLD)
def test_a_fold_without_validation_tests_the_same_clips(protocol):
    (split,) = PROTOCOLS[protocol](SUBJECTS, CLASSES, seed=5)
    (whole,) = PROTOCOLS[protocol](SUBJECTS, CLASSES, seed=5, validation=False)
    assert split.name == whole.name == protocol
    assert np.array_equal(whole.test, split.test)
    assert whole.validation.size == 0
    assert sorted(np.concatenate([whole.train, whole.test])) == list(range(255))


def test_a_random_split_without_validation_still_says_that_it_leaks():
    (fold,) = PROTOCOLS["random"](SUBJECTS, CLASSES, seed=12, validation=False)
    assert "subjects are in both" in fold.leak
    assert "epoch" not in fold.leak


def test_two_subjects_can_be_left_out_in_turn_without_validation_only():
    subjects, classes = np.repeat(["sub01", "sub02"], 3), np.tile(["a", "b", "c"], 2)
    folds = leave_one_subject_out(subjects, classes, seed=0, validation=False)
    assert [fold.test.tolist() for fold in folds] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(UserError, match=r"Fold sub01 must have.*Received: 1 subjects besides"):
        leave_one_subject_out(subjects, classes, seed=0)
    assert len(grouped_k_fold(subjects, classes, seed=0, k=2, validation=False)) == 2


def test_three_subjects_are_enough_for_validation():
    subjects, classes = np.repeat(["s1", "s2", "s3"], 2), np.tile(["a", "b"], 3)
    for fold in leave_one_subject_out(subjects, classes, seed=0):
        assert len(fold.train) == len(fold.validation) == len(fold.test) == 2


def test_the_only_subject_of_a_class_is_tested_but_never_validates():
    classes = np.where(SUBJECTS == "sub07", "rare", CLASSES)
    for fold in leave_one_subject_out(SUBJECTS, classes, seed=0):
        if fold.name == "sub07":
            assert set(classes[fold.test]) == {"rare"}
            assert "rare" not in classes[fold.train]
        else:
            assert "sub07" in SUBJECTS[fold.train]


def test_a_subject_with_one_class_is_a_fold_like_any_other():
    subjects = np.array(["s1", "s1", "s2", "s2", "s3", "s3"])
    folds = leave_one_subject_out(subjects, np.array(list("aaabab")), seed=0)
    assert [fold.name for fold in folds] == ["s1", "s2", "s3"]


def test_a_training_side_of_one_class_is_refused():
    with pytest.raises(UserError, match=r"fold s1 must have clips of at least 2 classes"):
        leave_one_subject_out(["s1", "s1", "s2"], ["a", "b", "b"], seed=0, validation=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leave_one_subject_out(["s1"] * 3, list("aab"), seed=0), "at least 2 subjects"),
        (lambda: grouped_k_fold(SUBJECTS, CLASSES, seed=0, k=27), "from 2 to .* 26 and.*27"),
        (lambda: grouped_k_fold(SUBJECTS, CLASSES, seed=0, k=1), "Received: 1"),
        (lambda: grouped_k_fold(SUBJECTS, CLASSES[1:], seed=0), r"\(255,\) and \(254,\)"),
        (lambda: leave_one_subject_out([], [], seed=0), "there must be clips"),
        (lambda: leave_one_subject_out(["s1", "s2"], ["a", None], seed=0), "1 clips without"),
        (lambda: leave_one_subject_out([1, np.nan], [1, 2], seed=0), "have a subject.*1 clips"),
    ],
)
def test_what_cannot_be_folded_is_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_subjects_and_classes_may_be_numbers():
    subjects = np.unique(SUBJECTS, return_inverse=True)[1]
    labels = np.unique(CLASSES, return_inverse=True)[1]
    for protocol in CROSS.values():
        ours, theirs = (
            protocol(*given, seed=2) for given in ((subjects, labels), (SUBJECTS, CLASSES))
        )
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.test, b.test)
            assert np.array_equal(a.validation, b.validation)
    assert leave_one_subject_out(subjects, labels, seed=0)[3].name == "3"


def unevenness(folds: list) -> float:
    """Largest difference of a fold's share of a class from an equal one, in clips."""
    counts = np.array([[(CLASSES[f.test] == c).sum() for c in np.unique(CLASSES)] for f in folds])
    return float(np.abs(counts - counts.mean(0)).max())


@pytest.mark.parametrize("seed", range(5))
def test_folds_have_similar_shares_of_every_class(seed):
    assert unevenness(grouped_k_fold(SUBJECTS, CLASSES, seed=seed)) < 12


@pytest.mark.parametrize("people", range(2, 9))
def test_no_fold_is_empty_even_with_as_many_folds_as_subjects(people):
    table = np.random.default_rng(people).integers(1, 4, (people, 3))
    table[0] += 50
    subjects = np.repeat(np.arange(people), table.sum(1))
    classes = np.concatenate([np.repeat([0, 1, 2], row) for row in table])
    folds = grouped_k_fold(subjects, classes, seed=0, k=people, validation=False)
    assert [len(fold.test_subjects) for fold in folds] == [1] * people


def validation_of(table: np.ndarray, seed: int) -> list[str]:
    """The validation subjects where one more subject, with every class, is left out."""
    table = np.concatenate([table, np.ones_like(table[:1])])
    subjects = np.repeat(np.arange(len(table)), table.sum(1))
    classes = np.concatenate([np.repeat(np.arange(table.shape[1]), row) for row in table])
    fold = leave_one_subject_out(subjects, classes, seed=seed)[-1]
    return sorted(set(subjects[fold.validation].tolist()))


def test_validation_has_the_classes_that_can_be_had():
    table = np.array([[6, 0], [6, 0], [6, 0], [6, 1], [6, 1]])
    for seed in range(10):
        assert len({3, 4} & set(validation_of(table, seed))) == 1


def test_subjects_that_can_be_spared_are_found_among_many_that_cannot():
    table = np.zeros((20, 17), dtype=int)
    table[:, 0] = 3
    table[np.arange(16), np.arange(16) + 1] = 1  # a class of their own each
    for seed in range(5):
        chosen = validation_of(table, seed)
        assert chosen
        assert set(chosen) <= {16, 17, 18, 19}


def test_no_validation_where_each_subject_has_a_class_alone():
    with pytest.raises(UserError, match="must have a validation subject"):
        validation_of(np.eye(3, dtype=int), 0)


def test_databases_are_left_out_whole_in_the_order_in_which_they_come():
    subjects = np.array(["smic/hs/s01", "smic/hs/s02", "samm/006", "samm/007", "casme2/sub01"] * 4)
    subjects = subjects[np.argsort([subject[:2] for subject in subjects], kind="stable")[::-1]]
    classes = np.tile(["negative", "surprise"], 10)
    folds = PROTOCOLS["leave-one-database-out"](subjects, classes, seed=1, validation=False)
    assert [fold.name for fold in folds] == ["smic/hs", "samm", "casme2"]
    for fold in folds:
        assert all(subject.startswith(f"{fold.name}/") for subject in subjects[fold.test])
        assert not any(subject.startswith(f"{fold.name}/") for subject in subjects[fold.train])
    (held,) = PROTOCOLS["holdout-database"](subjects, classes, seed=1, validation=False)
    np.testing.assert_array_equal(held.test, folds[-1].test)
    with pytest.raises(UserError, match=r"needs clips of several\. Received: samm"):
        PROTOCOLS["holdout-database"](["samm/006", "samm/007"], [0, 1], seed=1)
