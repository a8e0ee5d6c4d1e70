"""What a fold needs of a model: fit on some clips, predict probabilities for others."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import BaseEstimator, clone

from casme_tf.arrays import Inputs, rows_of
from casme_tf.datasets.splits import Split
from casme_tf.errors import UserError


class Learner(Protocol):
    """What can be fitted on clips and predict others; each fit starts from the beginning."""

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> pd.DataFrame | None:
        """Fit on arrays `(n, ...)` by name and `(n,)` int classes; return one row per epoch."""
        ...

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return the probability of each class, `(m, C)`, for arrays `(m, ...)` by name."""
        ...


def as_learner(
    make_model: Callable[[], Any],
    *,
    classes: int,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
) -> Learner:
    """Wrap the models that a function makes in a common interface."""
    _require_maker(make_model)
    model = make_model()
    if isinstance(model, BaseEstimator):
        return SklearnLearner(make_model, classes=classes)
    import keras  # a scikit-learn classifier needs no TensorFlow

    if isinstance(model, keras.Model):
        from casme_tf.training.keras_learner import KerasLearner

        return KerasLearner(
            make_model,
            classes=classes,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
    raise UserError(
        "make_model must return a keras.Model or a scikit-learn classifier. "
        f"Received: {type(model).__name__}."
    )


def _require_maker(make_model: Any) -> None:
    if callable(make_model) and not isinstance(make_model, BaseEstimator):
        keras = sys.modules.get("keras")
        if keras is None or not isinstance(make_model, keras.Model):
            return
    raise UserError(
        "make_model must be a function that makes a new model for each fold, such as "
        f"lambda: {type(make_model).__name__}(…). Received: a {type(make_model).__name__} itself."
    )


class SklearnLearner:
    """Fits scikit-learn classifiers on the inputs laid out as one row of numbers a clip."""

    def __init__(self, make_model: Callable[[], Any], *, classes: int) -> None:
        self._make_model = make_model
        self._classes = classes

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> None:
        """Fit a new classifier; see `Learner`."""
        model = clone(self._make_model())  # what was fitted before is forgotten
        drawn = [
            name
            for name, value in model.get_params().items()
            if name.split("__")[-1] == "random_state" and value is None
        ]
        model.set_params(**dict.fromkeys(drawn, seed))
        self.model = model.fit(_flatten(inputs), labels)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities; see `Learner`."""
        rows = _flatten(inputs)
        probabilities = np.zeros((len(rows), self._classes))
        probabilities[:, self.model.classes_] = _probabilities(self.model, rows)
        return probabilities


def _probabilities(model: Any, rows: np.ndarray) -> np.ndarray:
    """Return `(m, C)` for the classes that a fitted classifier knows."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    if hasattr(model, "decision_function"):
        scores = np.asarray(model.decision_function(rows))
        if scores.ndim == 1:  # two classes
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        return softmax(scores, axis=1)
    return (model.predict(rows)[:, None] == model.classes_).astype(float)


def _flatten(inputs: Inputs) -> np.ndarray:
    """Lay out every clip as one row, `(n, numbers)`."""
    return np.concatenate([np.reshape(array, (len(array), -1)) for array in inputs.values()], 1)


Transform = Callable[[Inputs], Inputs]


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Result of one fold."""

    name: str
    probabilities: np.ndarray
    history: pd.DataFrame | None


def run_fold(
    learner: Learner,
    inputs: Inputs,
    labels: np.ndarray,
    split: Split,
    *,
    classes: int,
    seed: int,
    mirror: Transform | None,
) -> FoldResult:
    """Fit a learner on copies of a fold's training clips, then predict its test clips."""
    validation = None
    if len(split.validation):
        validation = rows_of(inputs, split.validation), labels[split.validation]
    history = learner.fit(
        *training_side(inputs, labels, split.train, mirror),
        validation=validation,
        seed=fold_seed(seed, split.name),
    )
    probabilities = np.asarray(learner.predict(rows_of(inputs, split.test)))
    wanted = (len(split.test), classes)
    if probabilities.shape != wanted:
        raise UserError(
            f"A model must return one probability a clip and class, {wanted} in fold "
            f"{split.name}. Received: shape {probabilities.shape}."
        )
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(1), 1, atol=1e-3):
        raise UserError(
            f"A clip's probabilities must be from 0 to 1 and add up to 1. Received in fold "
            f"{split.name}: rows that add up to {probabilities.sum(1).min():.3g} and more. "
            "End the network in a softmax, and see whether its loss is a number."
        )
    return FoldResult(split.name, probabilities, history)


def training_side(
    inputs: Inputs, labels: np.ndarray, train: np.ndarray, mirror: Transform | None
) -> tuple[Inputs, np.ndarray]:
    """Return copies of the training clips and their classes, then their mirrored copies if any."""
    rows = rows_of(inputs, train)
    if mirror is None:
        return rows, labels[train]
    mirrored = mirror(rows)
    shapes = [{name: np.shape(x) for name, x in each.items()} for each in (rows, mirrored)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "mirror must return arrays of the same names and shapes. "
            f"Received: {shapes[1]} for {shapes[0]}."
        )
    both = {name: np.concatenate([x, mirrored[name]]) for name, x in rows.items()}
    return both, np.tile(labels[train], 2)


def fold_seed(seed: int, fold: str) -> int:
    """Return a seed for each fold that does not depend on the other folds."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(fold.encode())])
    return int(sequence.generate_state(1)[0])
