"""Where a statistic comes from: every number learnt from clips carries the clips it saw.

Scaling, class weights, thresholds and calibration are fitted too. `fit_on` computes them and
records the clips; `require_training_only` hands them out where the record fits the split.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone

from casme_tf.arrays import rows_of
from casme_tf.datasets.splits import Split
from casme_tf.errors import LeakError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Fitted(Generic[T]):
    """A statistic and the clips that it was computed from; made by `fit_on`.

    Attributes:
        value: The statistic: a fitted transformer, a dictionary, an array, a function.
        name: What it is, for messages.
        clips: `(m,)` int indices of the clips it was computed from, sorted, read-only.
        count: Number of clips of the data set that the indices belong to.
        seal: Digest of the value when it was fitted, which notices later changes; None if the
            value is not an estimator, an array, a number, a text or a container of those.
    """

    value: T
    name: str
    clips: np.ndarray
    count: int
    seal: bytes | None


def fit_on(
    what: Any, indices: np.ndarray, *arrays: Any, name: str | None = None, **options: Any
) -> Fitted[Any]:
    """Compute a statistic from some clips and record which.

    The function is given copies of those clips' rows and nothing else. Of a scikit-learn estimator,
    or of its `fit` method, an unfitted copy is fitted, so that a later fold does not change what an
    earlier one uses.

    Args:
        what: Function of the rows of the arrays, or scikit-learn estimator.
        indices: `(m,)` int indices of the clips to compute from.
        arrays: Arrays `(n, ...)` of ALL clips, clips first, or dictionaries of such arrays.
        name: What it is, for messages. Default: the name of the function or estimator.
        options: Passed on to the function or to the estimator's `fit`.

    Returns:
        The statistic with its record.

    Raises:
        TypeError: If `what` cannot be called or fitted, or returns nothing.
        ValueError: If the arrays differ in length, or the indices are not clips of them.

    Example:
        >>> from sklearn.preprocessing import StandardScaler
        >>> scaler = fit_on(StandardScaler(), np.array([0, 1]), np.array([[1.0], [3.0], [99.0]]))
        >>> float(scaler.value.mean_[0]), scaler.clips.tolist()
        (2.0, [0, 1])
        >>> fit_on(lambda y: {"most": int(y.max())}, np.array([0]), np.array([4, 9])).value
        {'most': 4}
    """
    lengths = {len(array) for given in arrays for array in _leaves(given)}
    if len(lengths) != 1:
        raise ValueError(f"Arrays must have one row a clip. Received: lengths {sorted(lengths)}.")
    count = lengths.pop()
    indices = np.asarray(indices)
    if not indices.size or not np.isin(indices, np.arange(count)).all():
        raise ValueError(
            f"A statistic must be computed from clips 0 to {count - 1}, at least one. "
            f"Received: {indices.size} indices{_span(indices)}."
        )
    rows = [rows_of(given, indices, read_only=False) for given in arrays]
    function, default_name = _function(what)
    value = function(*rows, **options)
    if value is None:
        raise TypeError(f"{default_name} must return the statistic. Received: None.")
    clips = np.unique(indices)
    clips.setflags(write=False)
    return Fitted(value, name or default_name, clips, count, _seal(value))


def require_training_only(statistic: Fitted[T], split: Split, *, validation: bool = False) -> T:
    """Return a statistic's value if nothing but training clips made it.

    Args:
        statistic: From `fit_on`.
        split: The split that it is used in.
        validation: Validation clips may have made it too, as for calibrating probabilities.
            Default False.

    Returns:
        The value.

    Raises:
        LeakError: If other clips made it, it belongs to another data set, it has no record, or it
            has changed since it was fitted.

    Example:
        >>> split = Split("mine", np.array([0]), np.array([], int), np.array([1]))
        >>> require_training_only(fit_on(np.mean, split.train, np.array([4.0, 9.0])), split)
        np.float64(4.0)
    """
    if not isinstance(statistic, Fitted):
        raise LeakError(
            "A statistic must say which clips it was computed from. "
            f"Received: {type(statistic).__name__}. Compute it with fit_on."
        )
    fold = split.name or split.protocol
    parts = (split.train, split.validation, split.test)
    everyone = np.concatenate(parts).astype(np.int64)
    if everyone.max() >= statistic.count:
        raise LeakError(
            f"{statistic.name} must be computed from the clips of the data set that is split. "
            f"Received: computed from {statistic.count} clips, used in {fold} with clips up to "
            f"number {everyone.max()}. Give fit_on the arrays of all clips."
        )
    allowed = np.union1d(split.train, split.validation) if validation else split.train
    # In a split that leaks, validation clips can be test clips too.
    foreign = np.setdiff1d(statistic.clips, np.setdiff1d(allowed, split.test))
    if foreign.size:
        tested = np.intersect1d(foreign, split.test).size
        raise LeakError(
            f"{statistic.name} must be computed from the training side alone in {fold}. Received: "
            f"computed from {foreign.size} other clips, {tested} of them test clips, the first "
            f"number {foreign[0]}. Compute it with fit_on on split.train."
        )
    if statistic.seal is not None and statistic.seal != _seal(statistic.value):
        raise LeakError(
            f"{statistic.name} must be as it was fitted. Received: changed since, so that nobody "
            "knows by which clips. Compute it with fit_on in each fold and fit it no further."
        )
    return statistic.value


def _leaves(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else [given]


def _function(what: Any) -> tuple[Callable[..., Any], str]:
    """Return what to call and its name; an estimator is copied unfitted."""
    if isinstance(what, BaseEstimator):
        return clone(what).fit, type(what).__name__
    owner = getattr(what, "__self__", None)
    if isinstance(owner, BaseEstimator):
        return getattr(clone(owner), what.__name__), type(owner).__name__
    if not callable(what):
        raise TypeError(
            "What is fitted must be a function or a scikit-learn estimator. "
            f"Received: {type(what).__name__}."
        )
    return what, getattr(what, "__name__", type(what).__name__)


def _seal(value: Any) -> bytes | None:
    return hashlib.blake2b(pickle.dumps(value), digest_size=16).digest() if _plain(value) else None


def _plain(value: Any) -> bool:
    """Whether pickling gives the same bytes for as long as nobody changes the value."""
    if isinstance(value, dict):
        return all(map(_plain, value.keys())) and all(map(_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    numbers = (bool, int, float, str, bytes, np.generic, type(None))
    return isinstance(value, (*numbers, BaseEstimator)) or (
        isinstance(value, np.ndarray) and not value.dtype.hasobject
    )


def _span(indices: np.ndarray) -> str:
    return f" from {indices.min()} to {indices.max()}" if indices.size else ""
