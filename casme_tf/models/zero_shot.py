"""motion_net as this package brings it, in the place of a classifier that learns from clips."""

from __future__ import annotations

from functools import lru_cache

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from casme_tf.errors import UserError
from casme_tf.models.motion_classifier import motion_model
from casme_tf.models.motion_net import CLASS_HEADS, SIZE


class ZeroShot(ClassifierMixin, BaseEstimator):
    """Answers with drawn weights whatever it is fitted on.

    Args:
        classes: Number of classes: four, those of the scheme `four`, or three, those of `megc3`.
        weights: "drawn" (default) or the path of a weights.npz of `pretrain`.

    Raises:
        UserError: When fitted, if there are no drawn emotions of such classes.

    Example:
        >>> motion = np.zeros((2, 28 * 28 * 3), "float32")
        >>> ZeroShot(3).fit(motion, np.array([0, 1])).predict_proba(motion).shape
        (2, 3)
    """

    def __init__(self, classes: int = 4, weights: str = "drawn") -> None:
        self.classes = classes
        self.weights = weights

    def fit(self, X: np.ndarray, y: np.ndarray) -> ZeroShot:
        """Learn nothing."""
        require_drawn(self.classes, self.weights)
        self.classes_ = np.arange(self.classes)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return `(n, C)` probabilities for `(n, 28 · 28 · 3)` flattened motion."""
        motion = np.asarray(X, np.float32).reshape(-1, SIZE, SIZE, 3)
        return _model(self.classes, self.weights).predict(motion, verbose=0)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return `(n,)` classes: those of the largest probability."""
        return self.predict_proba(X).argmax(axis=1)


def require_drawn(classes: int, weights: str) -> None:
    """Require weights that know so many classes without learning from clips.

    Raises:
        UserError: If there are none.
    """
    if classes not in CLASS_HEADS or weights == "none":
        raise UserError(
            "zero_shot must have drawn weights for the classes of "
            f"{', '.join(CLASS_HEADS.values())}. Received: {classes} classes, weights {weights!r}. "
            "Choose another --scheme, or let motion_net learn from the clips."
        )


@lru_cache
def _model(classes: int, weights: str) -> keras.Model:
    return motion_model(classes=classes, weights=weights)
