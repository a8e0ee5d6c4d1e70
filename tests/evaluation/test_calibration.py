"""Probabilities that mean what they say, and those that do not."""

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from casme_tf.evaluation.metrics import (
    brier_score,
    consistency,
    coverage,
    expected_calibration_error,
    reliability,
)


def answers(seed: int, clips: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and true classes drawn from exactly those."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), clips)
    y_true = np.array([rng.choice(classes, p=row) for row in probabilities])
    return y_true, probabilities


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_the_table_is_the_calibration_curve_of_scikit_learn(bins):
    y_true, probabilities = answers(0)
    table = reliability(y_true, probabilities, bins=bins)
    right = probabilities.argmax(1) == y_true
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=bins)
    filled = table[table["clips"] > 0]
    assert filled["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert filled["confidence"].to_numpy() == pytest.approx(confidence)
    assert table["clips"].sum() == len(y_true)
    assert len(table) == bins
    assert (
        (filled["low"] <= filled["confidence"]) & (filled["confidence"] <= filled["high"])
    ).all()


def test_bins_without_clips_have_no_figures():
    table = reliability([0, 1], [[0.9, 0.1], [0.1, 0.9]])
    assert table["clips"].tolist() == [0] * 8 + [2, 0]  # 0.9 is an edge: the bin below
    assert table["accuracy"].isna().sum() == table["confidence"].isna().sum() == 9


def test_the_error_is_worked_out_by_hand():
    # Bin (0.5, 0.6]: confidence 0.6, 1 of 2 right. Bin (0.7, 0.8]: 0.8, 3 of 3 right.
    probabilities = [[0.6, 0.4], [0.4, 0.6], [0.8, 0.2], [0.8, 0.2], [0.2, 0.8]]
    error = expected_calibration_error([0, 0, 0, 0, 1], probabilities)
    assert error == pytest.approx(2 / 5 * 0.1 + 3 / 5 * 0.2)


def test_the_error_is_small_for_true_probabilities_and_large_for_boasting_ones():
    y_true, probabilities = answers(1, clips=4000)
    boasting = np.eye(4)[probabilities.argmax(1)]
    accuracy = (probabilities.argmax(1) == y_true).mean()
    assert expected_calibration_error(y_true, probabilities) < 0.04
    assert expected_calibration_error(y_true, boasting) == pytest.approx(1 - accuracy)


def test_the_brier_score_is_the_sum_of_those_of_the_classes():
    y_true, probabilities = answers(2)
    by_class = [brier_score_loss(y_true == c, probabilities[:, c]) for c in range(4)]
    assert brier_score(y_true, probabilities) == pytest.approx(sum(by_class))
    assert brier_score(y_true, np.eye(4)[y_true]) == 0
    assert brier_score(y_true, np.eye(4)[(y_true + 1) % 4]) == 2
    assert brier_score(y_true, np.full((300, 4), 0.25)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("y_true", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"\(1, 2\).*\(2,\)"),
        ([0], [[2.0, -1.0]], "least -1"),
        ([0, 1], [[0.5, 0.5], [1.5, 3.0]], "sums to 4.5"),
        ([0], [[np.nan, 0.5]], "sum to 1"),
        ([2], [[0.5, 0.5]], "from 0 to 1. Received: 2"),
        ([-1], [[0.5, 0.5]], "Received: -1"),
        ([], np.zeros((0, 4)), r"\(0, 4\)"),
    ],
)
def test_what_are_no_probabilities_is_refused(y_true, probabilities, message):
    for call in (reliability, expected_calibration_error, brier_score):
        with pytest.raises(ValueError, match=message):
            call(y_true, probabilities)


def test_the_probabilities_of_an_int8_network_need_not_sum_to_one_exactly():
    rounded = np.round(answers(3)[1] * 256) / 256
    assert not np.allclose(rounded.sum(1), 1, atol=1e-4)
    assert 0 < brier_score(answers(3)[0], rounded) < 1
    with pytest.raises(ValueError, match="Received: 0"):
        reliability(*answers(3), bins=0)


EDGES = np.linspace(0, 1, 11)


def test_bars_are_the_quantiles_of_the_binomial_distribution():
    found = consistency(np.full(40, 0.75), EDGES, draws=20000)
    expected = stats.binom(40, 0.75).ppf([0.025, 0.975]) / 40
    assert (found.low[7], found.high[7]) == pytest.approx(tuple(expected), abs=0.026)
    others = np.delete(np.arange(10), 7)
    assert np.isnan(found.low[others]).all()
    assert np.isnan(found.high[others]).all()


def test_the_error_of_chance_is_that_of_answers_drawn_from_true_probabilities():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1, 60)
    shares = np.stack([confidence, 1 - confidence], axis=1)
    errors = [
        expected_calibration_error((rng.random(60) > confidence).astype(int), shares)
        for _ in range(600)
    ]
    found = consistency(confidence, EDGES)
    assert found.error == pytest.approx(np.mean(errors), rel=0.05)
    assert found.error_limit == pytest.approx(np.percentile(errors, 95), rel=0.08)


def test_more_clips_leave_less_to_chance_and_seeds_repeat():
    few, many = (consistency(np.full(n, 0.6), EDGES) for n in (20, 2000))
    assert many.error < few.error / 5
    assert consistency(np.full(20, 0.6), EDGES).error == few.error


@pytest.mark.parametrize("confidence", [[], [0.5, 1.2], [-0.1], [[0.5]], [np.nan]])
def test_what_is_no_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="from 0 to 1"):
        consistency(np.array(confidence), EDGES)


def test_the_surest_predictions_are_right_more_often_if_confidence_means_anything():
    y_true, probabilities = answers(2, clips=2000)
    table = coverage(y_true, probabilities)
    assert table["clips"].tolist() == [2000, 1800, 1500, 1000, 500]
    assert table["accuracy"].is_monotonic_increasing
    assert table["accuracy"][0] == pytest.approx((probabilities.argmax(1) == y_true).mean())
    surest = np.sort(probabilities.max(1))[::-1][:500]
    assert table["least"].iloc[-1] == surest[-1]
    shuffled = probabilities[np.random.default_rng(0).permutation(2000)]
    assert coverage(y_true, shuffled)["accuracy"].max() < 0.4
