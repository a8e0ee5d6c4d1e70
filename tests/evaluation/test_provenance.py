import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from casme_tf.arrays import rows_of
from casme_tf.datasets.splits import PROTOCOLS
from casme_tf.errors import LeakError
from casme_tf.evaluation.leaks import guard_folds
from casme_tf.evaluation.provenance import Fitted, fit_on, require_training_only
from casme_tf.training.learners import FreshModels

RNG = np.random.default_rng(0)
SUBJECTS = np.repeat([f"sub{i:02d}" for i in range(8)], 6)
LABELS = RNG.integers(0, 3, 48)
FEATURES = RNG.normal(size=(48, 5)) + LABELS[:, None]
FOLDS = PROTOCOLS["loso"](SUBJECTS, LABELS, seed=0)


def class_weights(labels: np.ndarray) -> dict[int, float]:
    classes = np.unique(labels)
    weights = compute_class_weight("balanced", classes=classes, y=labels)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def median(rows: np.ndarray) -> np.ndarray:
    return np.median(rows, axis=0)


STATISTICS = {
    "estimator": lambda part: fit_on(StandardScaler(), part, FEATURES),
    "method": lambda part: fit_on(StandardScaler().fit, part, FEATURES),
    "dictionary": lambda part: fit_on(class_weights, part, LABELS),
    "array": lambda part: fit_on(median, part, FEATURES),
    "function": lambda part: fit_on(lambda x: lambda y: y - x.mean(0), part, FEATURES),
}


@pytest.mark.parametrize("kind", STATISTICS)
def test_statistics_of_the_training_side_pass_and_all_others_do_not(kind):
    split = FOLDS[3]
    fitted = STATISTICS[kind](split.train)
    assert require_training_only(fitted, split) is fitted.value
    everyone = np.arange(48)
    for part, count, tested in (
        (everyone, 48 - len(split.train), 6),
        (split.test, 6, 6),
        (np.append(split.train, split.test[-1]), 1, 1),
        (np.append(split.train, split.validation[:2]), 2, 0),
    ):
        wanted = f"{count} other clips, {tested} of them test clips"
        with pytest.raises(LeakError, match=wanted) as caught:
            require_training_only(STATISTICS[kind](part), split)
        assert split.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_statistic_equals_the_one_computed_by_hand():
    train = FOLDS[0].train
    scaler = fit_on(StandardScaler(), train, FEATURES)
    assert np.array_equal(scaler.value.mean_, StandardScaler().fit(FEATURES[train]).mean_)
    assert fit_on(class_weights, train, LABELS).value == class_weights(LABELS[train])
    model = fit_on(make_pipeline(StandardScaler(), LogisticRegression()), train, FEATURES, LABELS)
    by_hand = make_pipeline(StandardScaler(), LogisticRegression())
    by_hand.fit(FEATURES[train], LABELS[train])
    assert np.array_equal(model.value.predict(FEATURES), by_hand.predict(FEATURES))
    assert (model.name, scaler.name) == ("Pipeline", "StandardScaler")
    pair = {"onset": FEATURES, "apex": 2 * FEATURES}
    both = fit_on(lambda rows: rows["apex"].sum() - rows["onset"].sum(), train, pair)
    assert both.value == pytest.approx(FEATURES[train].sum())


def test_the_statistic_of_one_fold_is_refused_in_the_others():
    folds = PROTOCOLS["loso"](SUBJECTS, LABELS, seed=0, validation=False)
    fitted = fit_on(StandardScaler(), folds[0].train, FEATURES)
    require_training_only(fitted, folds[0])
    for split in folds[1:]:
        with pytest.raises(LeakError, match="StandardScaler must be computed from the training"):
            require_training_only(fitted, split)


def test_a_guarded_loop_over_plain_arrays_answers_as_scikit_learn_does():
    folds = PROTOCOLS["loso"](SUBJECTS, LABELS, seed=0, validation=False)
    guard_folds(folds, SUBJECTS, frames={"features": FEATURES})
    models = FreshModels(LogisticRegression)
    answers = np.full(len(LABELS), -1)
    for split in folds:
        fitted = fit_on(StandardScaler(), split.train, FEATURES)
        scaler = require_training_only(fitted, split)
        train = rows_of({"x": FEATURES, "y": LABELS}, split.train)
        model = models().fit(scaler.transform(train["x"]), train["y"])
        answers[split.test] = model.predict(scaler.transform(rows_of(FEATURES, split.test)))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    groups = {"groups": SUBJECTS, "cv": LeaveOneGroupOut()}
    assert np.array_equal(answers, cross_val_predict(pipeline, FEATURES, LABELS, **groups))


def test_calibration_may_see_validation_clips_where_that_is_said_but_never_test_clips():
    split = FOLDS[2]
    fitted = fit_on(median, split.validation, FEATURES, name="temperature")
    assert require_training_only(fitted, split, validation=True) is fitted.value
    with pytest.raises(LeakError, match=r"temperature .* 0 of them test clips"):
        require_training_only(fitted, split)
    seen = fit_on(median, np.append(split.validation, split.test[0]), FEATURES)
    with pytest.raises(LeakError, match="1 of them test clips"):
        require_training_only(seen, split, validation=True)


def test_in_a_leaking_split_validation_clips_are_test_clips():
    (split,) = PROTOCOLS["random"](SUBJECTS, LABELS, seed=0)
    require_training_only(fit_on(median, split.train, FEATURES), split)
    with pytest.raises(LeakError, match="12 of them test clips"):
        require_training_only(fit_on(median, split.validation, FEATURES), split, validation=True)


def test_what_has_no_record_is_refused():
    for bare in (StandardScaler().fit(FEATURES), {0: 1.0}, FEATURES.mean(0), None):
        with pytest.raises(LeakError, match=f"Received: {type(bare).__name__}"):
            require_training_only(bare, FOLDS[0])


@pytest.mark.parametrize("kind", ["estimator", "method", "dictionary", "array"])
def test_what_was_changed_after_fitting_is_refused(kind):
    split = FOLDS[1]
    fitted = STATISTICS[kind](split.train)
    if kind == "dictionary":
        fitted.value[0] = 5.0
    elif kind == "array":
        fitted.value[:] += 1
    else:
        fitted.value.transform(FEATURES)
        require_training_only(fitted, split)  # using it is no change
        fitted.value.partial_fit(FEATURES)
    with pytest.raises(LeakError, match="changed since"):
        require_training_only(fitted, split)


def test_one_estimator_given_in_each_fold_is_fitted_anew_each_time():
    scaler = StandardScaler()
    for what in (scaler, scaler.fit):
        fitted = [fit_on(what, split.train, FEATURES) for split in FOLDS]
        for statistic, split in zip(fitted, FOLDS, strict=True):
            value = require_training_only(statistic, split)
            assert value.mean_ == pytest.approx(FEATURES[split.train].mean(0))
    assert not hasattr(scaler, "mean_")


def test_rows_of_a_part_with_clips_counted_anew_are_refused():
    split = FOLDS[0]
    assert split.test.tolist() == [0, 1, 2, 3, 4, 5]
    part = FEATURES[split.train]
    fitted = fit_on(StandardScaler(), np.arange(len(part)), part)
    with pytest.raises(LeakError, match=f"computed from {len(part)} clips, used in sub00"):
        require_training_only(fitted, split)


def test_the_function_is_given_the_rows_asked_for_and_no_way_to_the_others():
    whole = FEATURES.copy()
    seen = []

    def spoil(rows: np.ndarray) -> float:
        seen.append(rows.copy())
        owner = rows if rows.base is None else rows.base
        assert owner.size == rows.size
        rows[:] = np.nan
        return 1.0

    fit_on(spoil, np.array([4, 2]), whole)
    assert np.array_equal(seen[0], FEATURES[[4, 2]])
    assert np.array_equal(whole, FEATURES)
    in_place = fit_on(PCA(2, copy=False), FOLDS[0].train, whole)
    assert np.array_equal(whole, FEATURES)
    assert in_place.value.components_.shape == (2, 5)


def test_the_record_cannot_be_written_over():
    fitted = fit_on(median, np.array([3, 1, 3]), FEATURES)
    assert fitted.clips.tolist() == [1, 3]
    assert isinstance(fitted, Fitted)
    with pytest.raises(ValueError, match="read-only"):
        fitted.clips[0] = 2
    with pytest.raises(AttributeError):
        fitted.clips = np.array([0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit_on(median, [0, 48], FEATURES), ValueError, "clips 0 to 47"),
        (lambda: fit_on(median, [-1], FEATURES), ValueError, "from -1 to -1"),
        (lambda: fit_on(median, [], FEATURES), ValueError, "Received: 0 indices"),
        (lambda: fit_on(median, [0.5], FEATURES), ValueError, "from 0.5"),
        (lambda: fit_on(max, [0], FEATURES, LABELS[1:]), ValueError, r"lengths \[47, 48\]"),
        (lambda: fit_on(median, [0]), ValueError, r"lengths \[\]"),
        (lambda: fit_on(print, [0], FEATURES), TypeError, "print must return"),
        (lambda: fit_on({"a": 1}, [0], FEATURES), TypeError, "Received: dict"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
