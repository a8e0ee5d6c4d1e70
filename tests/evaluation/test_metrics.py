"""Figures of merit against scikit-learn and against cases computed by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
)

from casme_tf.evaluation import metrics
from casme_tf.evaluation.metrics import GRID, precision_recall

RNG = np.random.default_rng(7)


def answers(count: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y_true = RNG.integers(0, 4, count)
    y_pred = np.where(RNG.random(count) < 0.5, y_true, RNG.integers(0, 4, count))
    return y_true, y_pred, RNG.integers(0, 9, count)


def test_figures_equal_those_of_scikit_learn():
    y_true, y_pred, _ = answers()
    matrix = metrics.confusion(y_true, y_pred, 4)
    assert np.array_equal(matrix, confusion_matrix(y_true, y_pred))
    assert metrics.accuracy(matrix) == pytest.approx(accuracy_score(y_true, y_pred))
    assert metrics.weighted_f1(matrix) == pytest.approx(
        f1_score(y_true, y_pred, average="weighted")
    )
    assert metrics.uf1(matrix) == pytest.approx(f1_score(y_true, y_pred, average="macro"))
    assert metrics.uar(matrix) == pytest.approx(balanced_accuracy_score(y_true, y_pred))
    by_class = {"average": None, "zero_division": np.nan}
    assert metrics.class_precision(matrix) == pytest.approx(
        precision_score(y_true, y_pred, **by_class)
    )
    assert metrics.class_recall(matrix) == pytest.approx(recall_score(y_true, y_pred, **by_class))


def test_a_class_without_clips_and_answers_does_not_count():
    y_true, y_pred, _ = answers()
    y_true, y_pred = y_true % 3, y_pred % 3
    matrix = metrics.confusion(y_true, y_pred, 4)
    assert np.isnan(metrics.class_f1(matrix)[3])
    assert metrics.uf1(matrix) == pytest.approx(f1_score(y_true, y_pred, average="macro"))
    assert metrics.weighted_f1(matrix) == pytest.approx(
        f1_score(y_true, y_pred, average="weighted")
    )


def test_matrices_by_subject_add_up_to_the_whole():
    y_true, y_pred, subjects = answers()
    matrices = metrics.by_subject(y_true, y_pred, subjects, 4)
    assert len(matrices) == len(np.unique(subjects))
    assert np.array_equal(matrices.sum(0), metrics.confusion(y_true, y_pred, 4))
    third = np.unique(subjects)[2]
    assert matrices[2].sum() == (subjects == third).sum()


def test_the_interval_equals_a_plain_loop_over_draws_of_subjects():
    y_true, y_pred, subjects = answers()
    matrices = metrics.by_subject(y_true, y_pred, subjects, 4)
    low, high = metrics.subject_interval(metrics.uf1, matrices, resamples=2000, seed=1)
    rng = np.random.default_rng(2)
    names = np.unique(subjects)
    draws = []
    for _ in range(2000):
        drawn = np.concatenate(
            [np.flatnonzero(subjects == name) for name in rng.choice(names, len(names))]
        )
        draws.append(f1_score(y_true[drawn], y_pred[drawn], average="macro"))
    assert (low, high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.01)


def test_the_interval_of_a_difference_is_paired():
    y_true, y_pred, subjects = answers()
    matrices = metrics.by_subject(y_true, y_pred, subjects, 4)
    assert metrics.subject_interval(metrics.accuracy, matrices, matrices) == (0, 0)
    perfect = metrics.by_subject(y_true, y_true, subjects, 4)
    low, high = metrics.subject_interval(metrics.accuracy, perfect, matrices)
    assert 0 < low < 1 - metrics.accuracy(matrices.sum(0)) < high


def test_one_subject_has_no_interval():
    matrices = metrics.by_subject(np.arange(4), np.arange(4), np.zeros(4), 4)
    assert np.isnan(metrics.subject_interval(metrics.accuracy, matrices)).all()


@pytest.mark.parametrize("seed", range(15))
def test_figures_equal_those_of_scikit_learn_on_answers_of_every_kind(seed):
    """Rare classes, classes never answered, classes that do not occur."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 40))
    y_true = rng.choice(5, count, p=rng.dirichlet(np.full(5, 0.4)))
    y_pred = rng.choice(5, count, p=rng.dirichlet(np.full(5, 0.4)))
    matrix = metrics.confusion(y_true, y_pred, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that do not occur
        weighted = f1_score(y_true, y_pred, average="weighted", zero_division=0)
        macro = f1_score(y_true, y_pred, average="macro", zero_division=0)
        balanced = balanced_accuracy_score(y_true, y_pred)
    assert metrics.weighted_f1(matrix) == pytest.approx(weighted)
    assert metrics.uf1(matrix) == pytest.approx(macro)
    assert metrics.uar(matrix) == pytest.approx(balanced)
    by_class = {"average": None, "zero_division": np.nan, "labels": range(5)}
    for ours, theirs in (
        (metrics.class_precision, precision_score),
        (metrics.class_recall, recall_score),
        (metrics.class_f1, f1_score),
    ):
        assert ours(matrix) == pytest.approx(theirs(y_true, y_pred, **by_class), nan_ok=True)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 1], [0], r"\(2,\) and \(1,\)"),
        ([0, -1], [0, 1], "from 0 to 1. Received: -1"),
        ([0, 1], [0, 2], "from 0 to 1. Received: 2"),
        ([0, 1], [0, 0.5], "Received: 0.5"),
    ],
)
def test_classes_that_are_none_are_refused_not_counted_elsewhere(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion(y_true, y_pred, 2)


def test_the_table_of_subjects_is_a_group_by():
    y_true, y_pred, subjects = answers()
    table = metrics.subject_table(y_true, y_pred, subjects)
    right = pd.Series(y_true == y_pred).groupby(subjects)
    assert table["subject"].tolist() == sorted(set(subjects))
    assert table["clips"].tolist() == right.size().tolist()
    assert table["right"].tolist() == right.sum().tolist()
    assert table["accuracy"].to_numpy() == pytest.approx(right.mean().to_numpy())
    assert table["right"].sum() / table["clips"].sum() == accuracy_score(y_true, y_pred)


def drawn(seed: int, *, decimals: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(90) < 0.2
    return positive, (rng.random(90) + 0.4 * positive).round(decimals), rng.integers(0, 9, 90)


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct", "tied"])
def test_curve_and_average_precision_are_those_of_scikit_learn(decimals):
    positive, scores, subjects = drawn(0, decimals=decimals)
    curve = precision_recall(positive, scores, subjects, resamples=50)
    precision, recall, _ = precision_recall_curve(positive, scores)
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1])
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
    assert curve.average_precision == pytest.approx(average_precision_score(positive, scores))
    assert curve.share == positive.mean()


def test_the_interval_is_that_of_repeating_the_clips_of_the_subjects_drawn():
    positive, scores, subjects = drawn(1)
    curve = precision_recall(positive, scores, subjects, resamples=400, seed=5)
    people = np.unique(subjects)
    rng = np.random.default_rng(6)
    averages, at_half = [], []
    for _ in range(400):
        clips = np.concatenate(
            [np.flatnonzero(subjects == person) for person in rng.choice(people, len(people))]
        )
        averages.append(average_precision_score(positive[clips], scores[clips]))
        precision, recall, _ = precision_recall_curve(positive[clips], scores[clips])
        at_half.append(precision[np.flatnonzero(recall >= 0.5)[-1]])
    np.testing.assert_allclose(curve.interval, np.percentile(averages, [2.5, 97.5]), atol=0.05)
    half = curve.band[:, np.flatnonzero(GRID == 0.5)[0]]
    np.testing.assert_allclose(half, np.percentile(at_half, [2.5, 97.5]), atol=0.07)
    assert curve.interval[0] < curve.average_precision < curve.interval[1]


def test_one_subject_with_the_class_gives_a_curve_and_no_interval():
    curve = precision_recall([True, True, False], [0.9, 0.2, 0.5], ["a", "a", "b"])
    assert curve.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert np.isnan(curve.interval).all()
    assert np.isnan(curve.band).all()


def test_draws_without_the_class_are_left_out():
    positive = np.array([True, True, False, False, False, False])
    curve = precision_recall(positive, np.linspace(1, 0, 6), np.arange(6), resamples=300)
    assert curve.interval == (1, 1)
    assert (curve.band == 1).all()


@pytest.mark.parametrize(
    ("positive", "subjects", "message"),
    [([False, False], ["a", "b"], "of the class"), ([True, False], ["a"], "shapes")],
)
def test_what_has_no_curve_is_refused(positive, subjects, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(positive, [0.5, 0.4], subjects)
