"""What a fold needs of a model: fit on some clips, give probabilities for others."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import BaseEstimator

from casme_tf.arrays import Inputs, digest
from casme_tf.errors import LeakError, UserError


class FreshModels:
    """Make a model for each fold, and refuse one that an earlier fold may have trained.

    A function that hands out one model again and again, or new heads on one trainable backbone,
    carries what it learnt from a fold's test clips into that fold.

    Args:
        make_model: Function that makes an untrained model. What is passed to this object is
            passed on to it.

    Raises:
        LeakError: When called, if the model or one of its `trainable_variables` was in a model
            that was made before.

    Example:
        >>> from sklearn.svm import SVC
        >>> models = FreshModels(lambda: SVC(kernel="linear"))
        >>> models() is models()
        False
    """

    def __init__(self, make_model: Callable[..., Any]) -> None:
        self._make_model = make_model
        self._earlier: dict[int, Callable[[], Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the next fold's model."""
        model = self._make_model(*args, **kwargs)
        variables = list(getattr(model, "trainable_variables", None) or [])
        used = [part for part in [model, *variables] if self._seen(part)]
        if used:
            what = "a model" if used[0] is model else f"a model with {len(used)} variables"
            raise LeakError(
                "Each fold must have a model of its own. "
                f"Received: {what} that an earlier fold was given. Make everything that is "
                "trained anew inside the function that makes the model."
            )
        for part in [model, *variables]:
            self._earlier[id(part)] = _reference(part)
        return model

    def _seen(self, part: Any) -> bool:
        # An id is used again once its object is gone, so the object itself is compared.
        reference = self._earlier.get(id(part))
        return reference is not None and reference() is part


def _reference(part: Any) -> Callable[[], Any]:
    """Refer to an object without keeping its memory, where its type allows that."""
    try:
        return weakref.ref(part)
    except TypeError:
        return lambda: part


@runtime_checkable
class Learner(Protocol):
    """What can be fitted on clips and asked about others."""

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> pd.DataFrame | None:
        """Forget what was learnt before, and learn from some clips.

        Args:
            inputs: Arrays `(n, ...)` by name.
            labels: `(n,)` int classes.
            validation: Inputs and classes of the clips that choose the epoch, or None if the
                number of epochs is fixed.
            seed: All that is drawn at random is drawn from it.

        Returns:
            One row an epoch with columns epoch, loss, accuracy and, of the validation clips,
            val_loss and val_accuracy; None if there are no epochs.
        """
        ...

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return the probability of each class, `(m, C)`, for arrays `(m, ...)` by name."""
        ...


def as_learner(
    make_model: Callable[[], Any],
    *,
    classes: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> Learner:
    """Give the models that a function makes one face.

    A Keras model and a scikit-learn classifier are made anew for each fit. So is a learner: what
    it knows of earlier clips goes with it.

    Args:
        make_model: Makes a `keras.Model`, a scikit-learn classifier or a `Learner`, untrained.
        classes: Number of classes.
        epochs: Number of epochs; of Keras models alone, as the next two.
        batch_size: Clips in a step.
        learning_rate: Of Adam.

    Returns:
        The learner.

    Raises:
        UserError: If it makes something else, or a model that does not fit.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> settings = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}
        >>> learner = as_learner(LogisticRegression, classes=2, **settings)
        >>> learner.fit({"x": np.array([[-1.0], [1.0]])}, np.array([0, 1]), validation=None, seed=0)
        >>> learner.predict({"x": np.array([[9.0]])}).argmax()
        np.int64(1)
    """
    _require_maker(make_model)
    make_fresh = FreshModels(make_model)
    model = make_fresh()
    if isinstance(model, BaseEstimator):
        return SklearnLearner(make_fresh, classes=classes)
    import keras  # a scikit-learn classifier needs no TensorFlow

    if isinstance(model, keras.Model):
        from casme_tf.training.keras_learner import KerasLearner

        return KerasLearner(
            make_fresh,
            classes=classes,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
    if isinstance(model, Learner):
        return _EachFoldItsOwn(make_fresh)
    raise UserError(
        "make_model must return a keras.Model, a scikit-learn classifier or an object with fit "
        f"and predict. Received: {type(model).__name__}."
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
    """Fits scikit-learn classifiers on the inputs laid out as one row of numbers a clip.

    Of a classifier without `predict_proba`, the softmax of `decision_function` stands for the
    probabilities, or 1 for the class that it predicts: right for classes, not for confidence.

    Every `random_state` that is left open is set to the seed. Validation clips are not used: there
    is no epoch to choose.

    Args:
        make_model: Makes an unfitted classifier.
        classes: Number of classes. One that training lacks has the probability 0.
    """

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
        model = self._make_model()
        drawn = [
            name
            for name, value in model.get_params().items()
            if name.split("__")[-1] == "random_state" and value is None
        ]
        model.set_params(**dict.fromkeys(drawn, seed))
        self._model = model.fit(_flatten(inputs), labels)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities; see `Learner`."""
        rows = _flatten(inputs)
        probabilities = np.zeros((len(rows), self._classes))
        probabilities[:, self._model.classes_] = _probabilities(self._model, rows)
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


class _EachFoldItsOwn:
    """Fits a new learner each time."""

    def __init__(self, make_model: Callable[[], Learner]) -> None:
        self._make_model = make_model

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> pd.DataFrame | None:
        self._learner = self._make_model()
        return self._learner.fit(inputs, labels, validation=validation, seed=seed)

    def predict(self, inputs: Inputs) -> np.ndarray:
        return self._learner.predict(inputs)


def describe_model(make_model: Callable[[], Any], seed: int) -> dict[str, Any]:
    """Say what a function makes, the same in every process.

    Two descriptions differ if the models differ in type, in a setting, or in the weights that they
    begin with. Of a learner of one's own, attributes that are numbers or texts are settings.

    Args:
        make_model: Makes the model.
        seed: Seed of the weights that a Keras model begins with.

    Returns:
        `type`, `settings` and `weights`, a digest or None; fit for JSON.

    Example:
        >>> from sklearn.svm import SVC
        >>> describe_model(lambda: SVC(C=3.0), seed=0)["settings"]["C"]
        3.0
    """
    kind = "scikit-learn"
    model = make_model()
    weights = None
    if isinstance(model, BaseEstimator):
        settings = _plain(model.get_params())
    else:
        import keras

        if isinstance(model, keras.Model):
            from casme_tf.training.keras_learner import describe_layers, make_seeded

            model = make_seeded(make_model, seed)
            kind, settings = "Keras", describe_layers(model)
            weights = digest([np.asarray(value) for value in model.get_weights()])
        else:
            kind, settings = "learner", _plain(vars(model))
    name = f"{kind}: {type(model).__module__}.{type(model).__qualname__}"
    return {"type": name, "settings": json.loads(json.dumps(settings)), "weights": weights}


def _flatten(inputs: Inputs) -> np.ndarray:
    """Lay out every clip as one row, `(n, numbers)`."""
    return np.concatenate([np.reshape(array, (len(array), -1)) for array in inputs.values()], 1)


def _plain(value: Any) -> Any:
    """Return what of a setting is the same in every process: numbers, texts, names of the rest."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return getattr(value, "__qualname__", type(value).__qualname__)
