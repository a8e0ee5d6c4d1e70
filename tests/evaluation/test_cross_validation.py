"""Cross-validation on plain arrays: what is answered, what is refused, what survives a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from support import motion_clips as motion_clips_module
from support.motion_clips import motion_clips, small_network

from casme_tf.datasets.splits import PROTOCOLS, Split
from casme_tf.errors import LeakError, UserError
from casme_tf.evaluation.cross_validation import cross_validate
from casme_tf.training.inputs import mirror_motion

MOTION, LABELS, SUBJECTS = motion_clips(signal=1.5)
PROBABILITIES = ["0", "1", "2"]

logistic = partial(LogisticRegression, max_iter=2000)
quick = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}


def test_scikit_learn_answers_as_in_its_own_cross_validation():
    table = cross_validate(logistic, MOTION, LABELS, SUBJECTS)
    expected = cross_val_predict(
        logistic(),
        MOTION.reshape(len(MOTION), -1),
        LABELS,
        groups=SUBJECTS,
        cv=LeaveOneGroupOut(),
        method="predict_proba",
    )
    np.testing.assert_allclose(table[PROBABILITIES], expected, atol=1e-9)
    assert table["subject"].tolist() == table["fold"].tolist() == SUBJECTS.tolist()
    assert table["clip"].tolist() == [str(i) for i in range(len(LABELS))]
    assert table["y_true"].tolist() == LABELS.astype(str).tolist()
    assert (table["y_pred"] == expected.argmax(1).astype(str)).all()
    assert (table["y_true"] == table["y_pred"]).mean() > 0.6


def test_a_keras_model_learns_what_there_is_to_learn():
    clips = motion_clips(people=4, signal=4.0)
    table = cross_validate(
        small_network,
        {"motion": clips[0]},
        *clips[1:],
        class_names=["negative", "positive", "surprise"],
        mirror=mirror_motion,
        **(quick | {"epochs": 12}),
    )
    assert set(table["y_pred"]) == {"negative", "positive", "surprise"}
    assert (table["y_true"] == table["y_pred"]).mean() > 0.8
    np.testing.assert_allclose(
        table[["negative", "positive", "surprise"]].sum(axis=1), 1, atol=1e-5
    )


@pytest.mark.parametrize("make_model", [logistic, small_network])
def test_labels_at_random_are_answered_by_chance(make_model):
    """Were a test clip's class to reach the training side, it would be answered."""
    motion, labels, subjects = motion_clips(people=10, each=12, signal=0.0, seed=3)
    table = cross_validate(make_model, {"motion": motion}, labels, subjects, **quick)
    right = (table["y_true"] == table["y_pred"]).mean()
    assert abs(right - 1 / 3) < 2.5 * np.sqrt(2 / 9 / len(labels))


def test_copies_reach_the_training_side_alone():
    seen = []

    class Recorder(LogisticRegression):
        def fit(self, X, y):
            seen.append((len(X), len(y)))
            return super().fit(X, y)

        def predict_proba(self, X):
            seen.append(len(X))
            return super().predict_proba(X)

    cross_validate(Recorder, {"m": MOTION}, LABELS, SUBJECTS, mirror=mirror_motion)
    assert seen == 8 * [(84, 84), 6]


def test_a_subject_on_both_sides_is_refused():
    clips = np.arange(len(LABELS))
    test = np.flatnonzero(SUBJECTS == "sub03")
    split = Split("mine", clips[~np.isin(clips, test[:3])], np.array([], int), test[:3])
    with pytest.raises(LeakError, match=r"different subjects\. Received: sub03 in both"):
        cross_validate(logistic, MOTION, LABELS, SUBJECTS, protocol=[split])


def test_one_frame_in_two_folds_is_refused():
    motion = MOTION.copy()
    one, other = np.flatnonzero(SUBJECTS == "sub01")[0], np.flatnonzero(SUBJECTS == "sub02")[0]
    motion[one] = motion[other]
    with pytest.raises(LeakError, match=r"same frame\. Received: motion of sub0\d/.*is motion of"):
        cross_validate(logistic, {"motion": motion}, LABELS, SUBJECTS)
    # What a model is given may be equal where frames are not: two faces that do not move.
    frames = {"onset": np.random.default_rng(0).integers(0, 255, (len(LABELS), 8, 8))}
    table = cross_validate(logistic, {"motion": motion}, LABELS, SUBJECTS, frames=frames)
    assert len(table) == len(LABELS)


def test_a_model_that_knows_people_shines_on_the_random_split_alone():
    """Each person has one class and a look of their own."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"sub{i:02d}" for i in range(24)], 10)
    labels = np.repeat(np.arange(24) % 3, 10)
    look = rng.normal(size=(24, 40))[np.repeat(np.arange(24), 10)]
    inputs = {"look": look + 0.3 * rng.normal(size=look.shape)}
    right = {}
    for protocol in ("loso", "random"):
        table = cross_validate(logistic, inputs, labels, subjects, protocol=protocol)
        right[protocol] = (table["y_true"] == table["y_pred"]).mean()
    assert right["random"] > 0.95
    assert right["loso"] < 0.6


def keras_table(**options) -> pd.DataFrame:
    return cross_validate(
        small_network,
        {"motion": MOTION},
        LABELS,
        SUBJECTS,
        mirror=mirror_motion,
        **quick,
        **options,
    )


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    return keras_table(seed=4)


def test_neither_threads_nor_other_folds_change_a_fold(expected):
    pd.testing.assert_frame_equal(keras_table(seed=4, workers=3), expected, check_exact=True)
    last = PROTOCOLS["loso"](SUBJECTS, LABELS, seed=4, validation=False)[-1]
    alone = keras_table(seed=4, protocol=[replace(last, protocol="one fold")])
    rows = expected[expected["fold"] == last.name].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, rows, check_exact=True)
    assert not np.allclose(keras_table(seed=5)[PROBABILITIES], expected[PROBABILITIES])


@pytest.mark.slow
def test_ray_gives_the_same_predictions(expected):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(motion_clips_module)  # workers cannot import it
    spread = keras_table(seed=4, engine="ray", workers=2)
    pd.testing.assert_frame_equal(spread, expected, check_exact=True)


KILLED = """
import sys
sys.path[:0] = {tests!r}
from test_cross_validation import Doomed, table_of_26

table_of_26(Doomed({folder!r}), {folder!r})
"""


class Doomed:
    """Makes the network; once six folds are finished, it kills the process instead."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self) -> keras.Model:
        if len(list(self.folder.glob("*.npz"))) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return small_network()


def table_of_26(make_model: Callable[[], keras.Model], folder: str | None) -> pd.DataFrame:
    motion, labels, subjects = motion_clips(people=26, each=3, seed=7)
    options = {"seed": 2, "folder": folder, **quick}
    return cross_validate(make_model, {"motion": motion}, labels, subjects, **options)


@pytest.mark.slow
def test_a_kill_in_the_seventh_of_26_folds_costs_that_fold_alone(tmp_path):
    folder = tmp_path / "cv"
    here = [str(path) for path in Path(__file__).parents[:2]]
    code = KILLED.format(tests=here, folder=str(folder))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert sorted(path.stem for path in finished) == [f"sub{i:02d}" for i in range(1, 7)]

    resumed = table_of_26(small_network, str(folder))
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    pd.testing.assert_frame_equal(resumed, table_of_26(small_network, None), check_exact=True)
    assert pd.read_csv(folder / "histories.csv")["fold"].nunique() == 26


def test_folds_of_other_settings_are_in_the_way(tmp_path):
    options = {"folder": tmp_path / "cv", "epochs": 1}
    cross_validate(logistic, MOTION, LABELS, SUBJECTS, seed=1, **options)
    with pytest.raises(UserError, match=r"other settings \(seed\)"):
        cross_validate(logistic, MOTION, LABELS, SUBJECTS, seed=2, **options)
    changed = MOTION + 1
    with pytest.raises(UserError, match=r"other settings \(data\)"):
        cross_validate(logistic, changed, LABELS, SUBJECTS, seed=1, **options)
    broken = next((tmp_path / "cv").glob("*.npz"))
    broken.write_bytes(b"not a fold")
    with pytest.raises(UserError, match=r"Delete the file, and the fold is repeated"):
        cross_validate(logistic, MOTION, LABELS, SUBJECTS, seed=1, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS.astype(float)}, "whole numbers from 0.*float64 from 0"),
        ({"labels": np.array(list("ab"))[LABELS % 2], "class_names": ["a", "b"]}, "whole numbers"),
        ({"inputs": np.where(MOTION.max() == MOTION, np.nan, MOTION)}, "finite.*first in row"),
        ({"inputs": {"x": np.full((48, 2), np.inf)}}, "infinity in 'x', first in row 0"),
        ({"labels": LABELS - 1}, "whole numbers from 0"),
        ({"inputs": MOTION[:5]}, r"one row for each of 48 clips.*\(5, 28, 28, 3\)"),
        ({"inputs": {}}, "one row for each of 48 clips"),
        ({"clips": np.arange(3)}, "name each of 48 clips"),
        ({"class_names": ["a", "b"]}, r"3 different names or more"),
        ({"class_names": ["a", "b", "clip"]}, "none of them"),
        ({"protocol": "loocv"}, "one of loso"),
        ({"protocol": []}, "at least one fold"),
        ({"engine": "dask"}, "one of local, ray"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"mirror": lambda inputs: {"other": inputs["inputs"]}}, "mirror must return arrays"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    given = {"inputs": MOTION, "labels": LABELS, "subjects": SUBJECTS} | changes
    with pytest.raises(UserError, match=message) as refused:
        cross_validate(logistic, **given)
    assert "\n" not in str(refused.value)


def test_subjects_may_have_any_name(tmp_path):
    names = np.array(["casme2/sub01", "../etc", "a b", "ü", ".", "x" * 40])
    named = names[np.unique(SUBJECTS, return_inverse=True)[1] % len(names)]
    folder = tmp_path / "folds"
    plain = {"subjects": np.unique(named, return_inverse=True)[1].astype(str)}
    table = cross_validate(logistic, MOTION, LABELS, named, folder=folder)
    assert sorted(set(table["fold"])) == sorted(set(named))
    assert len(list(folder.glob("*.npz"))) == len(set(named))
    assert [path.name for path in tmp_path.iterdir()] == ["folds"]
    again = cross_validate(logistic, MOTION, LABELS, named, folder=folder)
    pd.testing.assert_frame_equal(table, again)
    expected = cross_validate(logistic, MOTION, LABELS, plain["subjects"])
    np.testing.assert_array_equal(table["y_pred"], expected["y_pred"])


def test_labels_may_be_names():
    words = np.array(["positive", "negative", "surprise"])[LABELS]
    table = cross_validate(logistic, MOTION, words, SUBJECTS)
    assert table.columns[-3:].tolist() == ["negative", "positive", "surprise"]
    assert table["y_true"].tolist() == words.tolist()


def test_nothing_is_found_in_noise():
    motion = np.random.default_rng(0).normal(size=(60, 28, 28, 3))
    labels, subjects = np.tile([0, 1, 2], 20), np.repeat(["anna", "ben", "cleo", "dan"], 15)
    table = cross_validate(RandomForestClassifier, motion, labels, subjects, protocol="loso")
    assert (table["y_true"] == table["y_pred"]).mean() < 0.6
