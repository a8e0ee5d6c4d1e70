import numpy as np
import pytest

from casme_tf.errors import UserError
from casme_tf.protocols import SPLITS, random_split, subject_holdout

# Subjects and class names of a corpus of CASME II's size; every subject has most classes.
RNG = np.random.default_rng(0)
SUBJECTS = np.sort(RNG.choice([f"sub{i:02d}" for i in range(1, 27)], 255))
CLASSES = RNG.choice(["negative", "other", "positive", "surprise"], 255, p=[0.39, 0.39, 0.12, 0.1])


@pytest.mark.parametrize("seed", range(10))
def test_subject_holdout_shares_no_subject_and_loses_no_clip(seed):
    split = subject_holdout(SUBJECTS, CLASSES, seed=seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts)) == list(range(255))
    people = [set(SUBJECTS[part]) for part in parts]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert split.leak is None
    assert all(set(CLASSES[part]) == set(CLASSES) for part in parts)
    assert 0.15 < len(split.test) / 255 < 0.35


@pytest.mark.parametrize("protocol", SPLITS)
def test_a_split_depends_on_its_seed_alone(protocol):
    first, again, other = (SPLITS[protocol](SUBJECTS, CLASSES, seed=s) for s in (3, 3, 4))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_random_split_is_three_to_one_and_says_that_it_leaks():
    split = random_split(SUBJECTS, CLASSES, seed=12)
    assert len(split.test) == 64
    assert np.array_equal(split.test, split.validation)
    shared = len(set(SUBJECTS[split.train]) & set(SUBJECTS[split.test]))
    assert shared > 0
    assert f"{shared} subjects are in both" in split.leak


def test_parts_name_each_clip_once():
    split = subject_holdout(SUBJECTS, CLASSES, seed=0)
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
    with pytest.raises(UserError, match="no clip of class surprise in the"):
        subject_holdout(SUBJECTS, classes, seed=0)


def test_a_handful_of_clips_is_refused_in_one_line():
    people = np.array(["sub01", "sub02", "sub03", "sub04"])
    with pytest.raises(UserError, match="Received: at most one clip a class"):
        subject_holdout(people, np.array(["a", "b", "c", "d"]), seed=0)
    with pytest.raises(UserError):
        subject_holdout(np.repeat(people, 2), np.tile(["a", "b", "c", "d"], 2), seed=0)
