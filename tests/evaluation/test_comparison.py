import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score

from casme_tf.errors import UserError
from casme_tf.evaluation import metrics
from casme_tf.evaluation.comparison import compare, discordant_clips, join_predictions, mcnemar


def answers(seed: int, *, good: float, subjects: int = 9) -> tuple[np.ndarray, ...]:
    """True classes, a run that is right as often as `good`, one that is right half the time."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 3, 120)
    runs = [np.where(rng.random(120) < p, y_true, rng.integers(0, 3, 120)) for p in (good, 0.5)]
    return y_true, *runs, rng.integers(0, subjects, 120)


def test_differences_are_those_of_scikit_learn_and_carry_the_interval_of_metrics():
    y_true, first, second, subjects = answers(0, good=0.8)
    found = compare(y_true, first, second, subjects, 3)
    scores = {
        "accuracy": accuracy_score,
        "weighted_f1": lambda t, p: f1_score(t, p, average="weighted"),
        "weighted_precision": lambda t, p: precision_score(t, p, average="weighted"),
        "uf1": lambda t, p: f1_score(t, p, average="macro"),
        "uar": balanced_accuracy_score,
    }
    assert set(found) == set(scores) == set(metrics.STATISTICS)
    ours, theirs = (metrics.by_subject(y_true, run, subjects, 3) for run in (first, second))
    for name, score in scores.items():
        assert found[name].first == pytest.approx(score(y_true, first))
        assert found[name].second == pytest.approx(score(y_true, second))
        assert found[name].difference == pytest.approx(score(y_true, first) - score(y_true, second))
        interval = metrics.subject_interval(metrics.STATISTICS[name], ours, theirs)
        assert found[name].interval == interval
        assert interval[0] < found[name].difference < interval[1]


def test_the_p_value_is_that_of_all_ways_of_swapping_the_runs_subject_by_subject():
    y_true, first, second, subjects = answers(4, good=0.7, subjects=7)
    people = np.unique(subjects)
    observed = f1_score(y_true, first, average="macro") - f1_score(y_true, second, average="macro")
    differences = []
    for bits in range(2 ** len(people)):
        swapped = np.isin(subjects, people[[bits >> i & 1 == 1 for i in range(len(people))]])
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        differences.append(
            f1_score(y_true, one, average="macro") - f1_score(y_true, other, average="macro")
        )
    tails = [np.mean(np.array(differences) >= observed - 1e-12)]
    tails.append(np.mean(np.array(differences) <= observed + 1e-12))
    found = compare(y_true, first, second, subjects, 3)["uf1"].p_value
    assert 0.01 < found < 0.5
    assert found == pytest.approx(min(1, 2 * min(tails)))


def test_with_one_clip_a_subject_the_p_value_of_accuracy_is_the_sign_test():
    y_true, first, second = np.zeros(10, int), np.zeros(10, int), np.array([1] * 7 + [0] * 3)
    found = compare(y_true, first, second, np.arange(10), 2)["accuracy"]
    assert found.p_value == pytest.approx(stats.binomtest(7, 7).pvalue)
    assert found.p_value == pytest.approx(mcnemar(y_true, first, second).p_value)


def test_a_run_compared_with_itself_differs_in_nothing():
    y_true, first, _, subjects = answers(2, good=0.7)
    for difference in compare(y_true, first, first, subjects, 3).values():
        assert (difference.difference, difference.interval) == (0, (0, 0))
        assert difference.p_value == 1


def test_swapping_the_runs_turns_the_sign_alone():
    y_true, first, second, subjects = answers(3, good=0.7)
    there = compare(y_true, first, second, subjects, 3)
    back = compare(y_true, second, first, subjects, 3)
    for name in there:
        assert there[name].difference == -back[name].difference
        assert there[name].interval == pytest.approx([-x for x in back[name].interval[::-1]])
        assert there[name].p_value == pytest.approx(back[name].p_value, abs=0.03)


def test_p_values_are_level_where_two_runs_are_alike():
    """Of 60 comparisons of equally good runs, about one in ten is below 0.1."""
    levels = []
    for seed in range(60):
        y_true, first, second, subjects = answers(seed + 100, good=0.5, subjects=8)
        levels.append(compare(y_true, first, second, subjects, 3)["accuracy"].p_value)
    assert np.mean(np.array(levels) < 0.1) < 0.25
    assert np.mean(np.array(levels) < 0.5) > 0.25
    clear = compare(*answers(5, good=0.95), 3)["accuracy"]
    assert clear.p_value < 0.02


def test_one_subject_has_neither_interval_nor_p_value():
    found = compare([0, 1], [0, 1], [1, 1], ["s1", "s1"], 2)["accuracy"]
    assert found.difference == 0.5
    assert np.isnan([*found.interval, found.p_value]).all()


@pytest.mark.parametrize(
    ("alone", "other", "p_value"),
    # By hand: 2 * sum of C(n, i) for i up to the smaller, over 2^n, and at most 1.
    [(5, 0, 2 / 32), (1, 6, 16 / 128), (8, 2, 112 / 1024), (3, 3, 1), (1, 0, 1), (0, 0, 1)],
)
def test_mcnemar_is_the_exact_test_as_worked_out_by_hand(alone, other, p_value):
    both_right, both_wrong = 4, 2
    cells = np.repeat([0, 1, 2, 3], [both_right, alone, other, both_wrong])
    y_true = np.zeros(len(cells), int)
    first, second = np.isin(cells, [2, 3]).astype(int), np.isin(cells, [1, 3]).astype(int)
    found = mcnemar(y_true, first, second)
    assert (found.both_right, found.first_only) == (4, alone)
    assert (found.second_only, found.both_wrong) == (other, 2)
    assert found.p_value == pytest.approx(p_value)
    assert mcnemar(y_true, second, first).p_value == pytest.approx(p_value)


def test_mcnemar_refuses_answers_to_other_clips():
    with pytest.raises(ValueError, match=r"\(3,\), \(3,\) and \(2,\)"):
        mcnemar([0, 0, 0], [0, 0, 0], [0, 0])


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two runs' predictions; the second in another order, and clip names repeat over subjects."""
    first = pd.DataFrame(
        {
            "subject": ["sub02", "sub01", "sub01", "sub02"],
            "clip": ["EP01", "EP02", "EP01", "EP02"],
            "y_true": ["other", "other", "positive", "surprise"],
            "y_pred": ["other", "positive", "positive", "other"],
            "other": 0.5,
        }
    )
    second = first.iloc[[2, 0, 3, 1]].reset_index(drop=True)
    return first, second.assign(y_pred=["positive", "positive", "other", "other"])


def test_runs_are_joined_on_the_clip_in_the_order_of_the_first():
    first, second = tables()
    joined = join_predictions(first, second)
    assert joined.columns.tolist() == ["subject", "clip", "y_true", "first", "second"]
    assert joined["subject"].tolist() == first["subject"].tolist()
    assert joined["clip"].tolist() == first["clip"].tolist()
    assert joined["y_true"].tolist() == first["y_true"].tolist()
    assert joined["first"].tolist() == first["y_pred"].tolist()
    assert joined["second"].tolist() == ["positive", "other", "positive", "other"]


def test_discordant_clips_say_who_was_right():
    found = discordant_clips(join_predictions(*tables()))
    assert found[["subject", "clip", "right"]].to_numpy().tolist() == [
        ["sub02", "EP01", "first"],
        ["sub01", "EP02", "second"],
    ]
    assert found.index.tolist() == [0, 1]


def test_runs_on_other_clips_or_other_classes_are_refused_by_name():
    first, second = tables()
    with pytest.raises(UserError, match="1 clips in one table alone, such as sub01/EP02"):
        join_predictions(first, second.iloc[:3])
    with pytest.raises(UserError, match="sub02/EP01 more than once"):
        join_predictions(pd.concat([first, first.iloc[:1]]), second)
    with pytest.raises(UserError, match="1 clips that differ, such as sub02/EP02"):
        join_predictions(first, second.replace({"y_true": {"surprise": "negative"}}))
