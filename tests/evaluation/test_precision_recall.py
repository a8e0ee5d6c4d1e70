import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from casme_tf.evaluation.metrics import GRID, precision_recall


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
