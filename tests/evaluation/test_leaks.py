from dataclasses import replace

import numpy as np
import pytest

from casme_tf.datasets.splits import PROTOCOLS, Split
from casme_tf.errors import LeakError, UserError
from casme_tf.evaluation.leaks import (
    guard_folds,
    number_frames,
    require_disjoint,
    require_distinct_frames,
    require_tested_once,
)

RNG = np.random.default_rng(0)
SUBJECTS = np.sort(RNG.choice([f"sub{i:02d}" for i in range(1, 10)], 72))
CLASSES = RNG.choice(["negative", "other", "positive"], 72)
CLIPS = np.array([f"EP{i:02d}" for i in range(72)])
NOTHING = np.array([], int)


def frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.integers(0, 255, (72, 6, 5, 3), np.uint8) for name in ("onset", "apex")}


def folds(protocol: str = "loso", **options) -> list[Split]:
    return PROTOCOLS[protocol](SUBJECTS, CLASSES, seed=1, **options)


def clip_of(subject: str, number: int = 0) -> int:
    return int(np.flatnonzero(subject == SUBJECTS)[number])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("validation", [True, False])
def test_the_folds_of_every_protocol_pass(protocol, validation):
    subjects = np.array([f"{'abc'[int(subject[3:]) % 3]}/{subject}" for subject in SUBJECTS])
    given = PROTOCOLS[protocol](subjects, CLASSES, seed=1, validation=validation)
    guard_folds(given, subjects, clips=CLIPS, frames=frames())


@pytest.mark.parametrize(
    ("here", "there"), [("train", "test"), ("train", "validation"), ("validation", "test")]
)
@pytest.mark.parametrize("protocol", ["loso", "kfold", "subject-holdout"])
def test_one_clip_moved_to_another_part_is_found_and_its_subject_named(protocol, here, there):
    given = folds(protocol)
    split = given[-1]
    moved, stay = getattr(split, there)[:1], getattr(split, there)[1:]
    person = SUBJECTS[moved[0]]
    assert person in SUBJECTS[stay]  # else the split would stay one by subject
    larger = np.append(getattr(split, here), moved)
    given[-1] = replace(split, **{here: larger, there: stay})
    part = {"train": "Training", "validation": "Validation", "test": "Test"}
    with pytest.raises(LeakError, match=f"{part[here]} and .*{there}.*Received: {person} in both"):
        guard_folds(given, SUBJECTS, clips=CLIPS)


def test_a_declared_leak_may_share_subjects_but_never_training_clips():
    (split,) = folds("random")
    guard_folds([split], SUBJECTS)
    with pytest.raises(LeakError, match=r"must have different subjects.*and \d more in both"):
        guard_folds([replace(split, leak=None)], SUBJECTS)
    for part in ("test", "validation"):
        clip = split.train[4]
        leaking = replace(split, **{part: np.append(getattr(split, part), clip)})
        wanted = f"{SUBJECTS[clip]}/{CLIPS[clip]} in both"
        with pytest.raises(LeakError, match=wanted):
            require_disjoint(leaking, SUBJECTS, clips=CLIPS)


def test_a_fold_is_named_and_a_message_is_one_line():
    split = folds()[2]
    with pytest.raises(LeakError, match="fold sub03") as caught:
        require_disjoint(replace(split, train=np.arange(72)), SUBJECTS)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_empty_parts_and_clips_that_are_none_are_refused():
    split = folds()[0]
    with pytest.raises(UserError, match="test part of fold sub01 must have clips"):
        require_disjoint(replace(split, test=NOTHING), SUBJECTS)
    with pytest.raises(UserError, match="training part"):
        require_disjoint(replace(split, train=np.array([])), SUBJECTS)
    with pytest.raises(UserError, match=r"from 0 to 59\. Received: 0 to 71"):
        require_disjoint(split, SUBJECTS[:60])
    with pytest.raises(UserError, match="Received: -1"):
        require_disjoint(replace(split, test=np.array([-1])), SUBJECTS)
    with pytest.raises(UserError, match="at least one fold"):
        guard_folds([], SUBJECTS)


def test_equal_frames_have_equal_numbers_and_others_not():
    images = frames()
    images["onset"][3] = images["apex"][50]
    numbers = number_frames(images)
    assert numbers["onset"][3] == numbers["apex"][50]
    assert len(np.unique(np.concatenate(list(numbers.values())))) == 2 * 72 - 1
    flipped = images["apex"][:, :, ::-1]  # a view that is not contiguous
    assert np.array_equal(
        number_frames({"a": flipped})["a"], number_frames({"a": flipped.copy()})["a"]
    )


def test_frames_of_other_shape_or_type_are_not_equal():
    values = np.arange(24, dtype=np.uint8)
    shapes = {"a": values.reshape(1, 4, 6), "b": values.reshape(1, 6, 4)}
    shapes["c"] = values.view(np.int8).reshape(1, 4, 6)
    assert len({int(number[0]) for number in number_frames(shapes).values()}) == 3


@pytest.mark.parametrize("seed", range(10))
def test_a_frame_planted_in_another_subjects_clip_is_found_with_both_names(seed):
    rng = np.random.default_rng(seed)
    images = frames()
    source, target = rng.choice(72, 2, replace=False)
    while SUBJECTS[source] == SUBJECTS[target]:
        target = rng.integers(72)
    here, there = rng.choice(["onset", "apex"], 2)
    images[there][target] = images[here][source]
    names = {
        f"{here} of {SUBJECTS[source]}/{CLIPS[source]}",
        f"{there} of {SUBJECTS[target]}/{CLIPS[target]}",
    }
    with pytest.raises(LeakError, match="the same frame") as caught:
        guard_folds(folds(), SUBJECTS, clips=CLIPS, frames=images)
    said = str(caught.value).split("Received: ")[1].split(". Leave")[0]
    assert set(said.split(" is ")) == names


def test_one_changed_pixel_makes_another_frame():
    images = frames()
    source, target = clip_of("sub01"), clip_of("sub02")
    images["apex"][target] = images["onset"][source]
    images["apex"][target, 5, 4, 2] ^= 1
    guard_folds(folds(), SUBJECTS, frames=images)


def test_frames_of_one_person_may_recur_and_a_clip_may_hold_no_motion():
    images = frames()
    images["onset"][clip_of("sub04", 1)] = images["apex"][clip_of("sub04", 0)]
    images["apex"][clip_of("sub05")] = images["onset"][clip_of("sub05")]
    guard_folds(folds(), SUBJECTS, frames=images)


def test_a_declared_leak_covers_frames_of_one_person_but_not_of_two():
    (split,) = folds("random")
    images = frames()
    trained = next(i for i in split.train if SUBJECTS[i] in SUBJECTS[split.test])
    same = next(i for i in split.test if SUBJECTS[i] == SUBJECTS[trained])
    images["onset"][same] = images["onset"][trained]
    guard_folds([split], SUBJECTS, frames=images)
    other = next(i for i in split.test if SUBJECTS[i] != SUBJECTS[trained])
    images["onset"][other] = images["onset"][trained]
    with pytest.raises(LeakError, match=f"{SUBJECTS[trained]}/{trained} is onset of"):
        guard_folds([split], SUBJECTS, frames=images)


def test_validation_and_test_are_compared_too_and_many_finds_are_counted():
    split = folds()[0]
    images = frames()
    for i, j in zip(split.validation[:5], split.test[:5], strict=True):
        images["apex"][i] = images["apex"][j]
    with pytest.raises(LeakError, match=r"Validation and test part of .* and 2 more\."):
        require_distinct_frames(split, number_frames(images), SUBJECTS)


def test_frames_of_any_shape_are_taken_and_single_values_are_not():
    rng = np.random.default_rng(3)
    flat = {"flow": rng.random((72, 40), np.float32), "clip": rng.random((72, 3, 4, 4, 2))}
    guard_folds(folds(), SUBJECTS, frames=flat)
    with pytest.raises(UserError, match=r"Received: label of shape \(72,\)"):
        number_frames({**flat, "label": np.zeros(72)})
    with pytest.raises(UserError, match="one row a clip"):
        number_frames({"onset": flat["flow"], "apex": flat["flow"][:50]})
    with pytest.raises(UserError, match="one row a clip"):
        number_frames({})


@pytest.mark.parametrize("protocol", ["loso", "kfold"])
def test_a_clip_that_is_tested_twice_or_never_is_named(protocol):
    given = folds(protocol)
    lost = given[1].test[0]
    cut = [*given[:1], replace(given[1], test=given[1].test[1:]), *given[2:]]
    with pytest.raises(LeakError, match=f"{SUBJECTS[lost]}/{CLIPS[lost]} 0 times"):
        require_tested_once(cut, SUBJECTS, clips=CLIPS)
    with pytest.raises(LeakError, match=f"{SUBJECTS[lost]}/{lost} 0 times"):
        guard_folds(cut, SUBJECTS)
    with pytest.raises(LeakError, match=r"2 times, .* more"):
        guard_folds([*given, given[0]], SUBJECTS)
    with pytest.raises(LeakError, match="0 times"):
        guard_folds(given[:-1], SUBJECTS)
    twice = [replace(given[0], test=np.append(given[0].test, given[0].test[0])), *given[1:]]
    with pytest.raises(LeakError, match="2 times"):
        guard_folds(twice, SUBJECTS)
