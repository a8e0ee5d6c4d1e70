"""Whether one run answers the same clips better than another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from casme_tf.errors import UserError
from casme_tf.evaluation import metrics

__all__ = ["Difference", "McNemar", "compare", "mcnemar"]

KEY = ["subject", "clip"]


@dataclass(frozen=True)
class Difference:
    """The difference of two runs in one figure.

    Attributes:
        first: Figure of the first run.
        second: Figure of the second run.
        difference: First minus second; above zero the first is better.
        interval: 95% percentile interval of the difference when subjects are resampled; NaN with
            fewer than two subjects.
        p_value: Two-sided, of the permutation test that swaps the runs' answers subject by
            subject; NaN with fewer than two subjects.
    """

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class McNemar:
    """How often one of two runs alone was right.

    Attributes:
        both_right: Clips that both answered right.
        first_only: Clips that only the first answered right.
        second_only: Clips that only the second answered right.
        both_wrong: Clips that both answered wrong.
        p_value: Two-sided, of the exact test: given the clips that one alone answered right, each
            is as likely the first's as the second's. Not mid-p. 1 if there are none.
    """

    both_right: int
    first_only: int
    second_only: int
    both_wrong: int
    p_value: float


def join_predictions(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Join two runs' predictions on subject and clip, never on a position."""
    for table in (first, second):
        twice = table[table.duplicated(KEY)]
        if len(twice):
            raise UserError(
                f"A run must answer each clip once. Received: {_name(twice.iloc[0])} more than "
                "once. Give predictions of one evaluation."
            )
    joined = first[[*KEY, "y_true", "y_pred"]].merge(
        second[[*KEY, "y_true", "y_pred"]], on=KEY, how="outer", indicator=True, sort=False
    )
    lone = joined[joined["_merge"] != "both"]
    if len(lone):
        raise UserError(
            f"Two runs can be compared on the same clips only. Received: {len(lone)} clips in one "
            f"table alone, such as {_name(lone.iloc[0])}. Evaluate both with one protocol."
        )
    unlike = joined[joined["y_true_x"] != joined["y_true_y"]]
    if len(unlike):
        raise UserError(
            f"Two runs must have the same true classes. Received: {len(unlike)} clips that differ, "
            f"such as {_name(unlike.iloc[0])}. Evaluate both with one class scheme."
        )
    names = {"y_true_x": "y_true", "y_pred_x": "first", "y_pred_y": "second"}
    table = joined.rename(columns=names)[[*KEY, "y_true", "first", "second"]]
    return first[KEY].merge(table, on=KEY, how="left")  # an outer merge sorts its keys


def compare(
    y_true: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    subjects: np.ndarray,
    classes: int,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two runs on the same clips, in every figure of `metrics.STATISTICS`.

    Clips of one subject are not independent, so subjects are resampled for the interval and swapped
    for the p-value. The two need not agree at the edge: they are different methods.

    Args:
        y_true: `(n,)` int true classes.
        first: `(n,)` int answers of the first run.
        second: `(n,)` int answers of the second run.
        subjects: `(n,)` subject of each clip.
        classes: Number of classes.
        resamples: Draws for each interval and each p-value; the p-value is exact where there are
            no more ways of swapping than this. Default 2000.
        seed: Seed of the draws. Default 0.

    Returns:
        The differences by name of the figure.

    Example:
        >>> y_true, first, second = [0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]
        >>> compare(y_true, first, second, ["s1", "s1", "s2", "s2"], 2)["accuracy"].difference
        0.25

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 15.
    """
    ours = metrics.by_subject(y_true, first, subjects, classes)
    theirs = metrics.by_subject(y_true, second, subjects, classes)
    differences = {}
    for name, statistic in metrics.STATISTICS.items():
        values = float(statistic(ours.sum(0))), float(statistic(theirs.sum(0)))
        differences[name] = Difference(
            *values,
            values[0] - values[1],
            metrics.subject_interval(statistic, ours, theirs, resamples=resamples, seed=seed),
            _swap_test(statistic, ours, theirs, resamples=resamples, seed=seed),
        )
    return differences


def mcnemar(y_true: np.ndarray, first: np.ndarray, second: np.ndarray) -> McNemar:
    """Test whether two runs are right equally often, by the clips that one alone has right.

    It takes clips as independent. Clips of one subject are not, so it finds differences too
    readily; trust `compare` where they disagree.

    Args:
        y_true: `(n,)` true classes.
        first: `(n,)` answers of the first run.
        second: `(n,)` answers of the second run.

    Returns:
        The counts and the p-value.

    Example:
        >>> mcnemar([0] * 6, [0] * 6, [1] * 6).p_value
        0.03125

    Source: McNemar, Psychometrika 12, 1947 (https://doi.org/10.1007/BF02295996), as an exact
        binomial test.
    """
    right, also = _right(y_true, first, second)
    alone, other = int((right & ~also).sum()), int((~right & also).sum())
    p_value = float(stats.binomtest(alone, alone + other).pvalue) if alone + other else 1.0
    return McNemar(int((right & also).sum()), alone, other, int((~right & ~also).sum()), p_value)


def discordant_clips(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the clips that one run alone answered right."""
    y_true, first, second = (joined[name].to_numpy() for name in ("y_true", "first", "second"))
    right, also = _right(y_true, first, second)
    table = joined.assign(right=np.where(right, "first", "second"))
    return table[right != also].reset_index(drop=True)


def _right(
    y_true: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    y_true, first, second = map(np.asarray, (y_true, first, second))
    if not y_true.shape == first.shape == second.shape:
        raise ValueError(
            "Both runs must answer every clip. "
            f"Received: shapes {y_true.shape}, {first.shape} and {second.shape}."
        )
    return first == y_true, second == y_true


def _swap_test(
    statistic: metrics.Statistic, ours: np.ndarray, theirs: np.ndarray, *, resamples: int, seed: int
) -> float:
    if len(ours) < 2:
        return float("nan")
    both = np.concatenate([ours, theirs])

    def difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
        matrices = (both[np.moveaxis(drawn, axis, -1).astype(int)] for drawn in (first, second))
        one, other = (statistic(drawn.sum(-3)) for drawn in matrices)
        return one - other

    count = len(ours)
    return float(
        stats.permutation_test(
            (np.arange(count), np.arange(count, 2 * count)),
            difference,
            permutation_type="samples",
            n_resamples=resamples,
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def _name(row: pd.Series) -> str:
    return f"{row['subject']}/{row['clip']}"
