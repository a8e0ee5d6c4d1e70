import numpy as np
import pytest
from scipy import stats

from casme_tf.evaluation.calibration import consistency, expected_calibration_error

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
