"""Baselines: a support vector machine on motion, and motion_net as the package brings it."""

from __future__ import annotations

from functools import lru_cache

import keras
import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from casme_tf.errors import UserError
from casme_tf.models.motion_net import CLASS_HEADS, SIZE, motion_model

__all__ = ["MotionSVM", "ZeroShot"]


class MotionSVM(ClassifierMixin, BaseEstimator):
    """RBF support vector machine on flattened images, each channel scaled as a whole.

    One mean and one spread a channel, learned from the clips it is fitted on, bring displacement
    and strain to one scale and leave still parts of the face still; scaling each pixel by itself
    would enlarge their noise.

    Probabilities are the softmax of the machine's decision values. Their order is the machine's,
    the largest is always the class predicted, and they are NOT calibrated: scikit-learn calibrates
    by a cross-validation that knows no subjects and takes a mirrored copy for another clip, which
    makes them too sure.

    Args:
        C: Price of a clip on the wrong side. Default 1.
        gamma: Width of the kernel, as for `sklearn.svm.SVC`. Default "scale".
        channels: Channels of the images, which come last in the flattened order. Default 3.

    Example:
        >>> motion = np.random.default_rng(0).normal(size=(12, 28 * 28 * 3))
        >>> machine = MotionSVM().fit(motion, np.repeat([0, 1, 2], 4))
        >>> machine.predict_proba(motion).shape
        (12, 3)

    Source: Boser, Guyon, Vapnik, A training algorithm for optimal margin classifiers, 1992.
    """

    def __init__(self, C: float = 1.0, gamma: float | str = "scale", channels: int = 3) -> None:
        self.C = C
        self.gamma = gamma
        self.channels = channels

    def fit(self, X: np.ndarray, y: np.ndarray) -> MotionSVM:
        """Fit to `(n, d)` flattened images and their `(n,)` classes."""
        pixels = np.asarray(X, dtype=np.float64).reshape(-1, self.channels)
        self.mean_ = pixels.mean(axis=0)
        spread = pixels.std(axis=0)
        self.spread_ = np.where(spread > 0, spread, 1.0)
        # Balanced: rare classes count as much as frequent ones, as in the figures UF1 and UAR.
        self.machine_ = SVC(
            C=self.C, gamma=self.gamma, class_weight="balanced", break_ties=True
        ).fit(self._scaled(X), y)
        self.classes_ = self.machine_.classes_
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return `(n, C)` uncalibrated probabilities."""
        check_is_fitted(self)
        scores = self.machine_.decision_function(self._scaled(X))
        if scores.ndim == 1:  # of two classes, the second's alone
            scores = np.stack([-scores, scores], axis=1)
        return softmax(scores, axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return `(n,)` classes: those of the largest probability."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        rows = np.asarray(X, dtype=np.float64)
        pixels = rows.reshape(len(rows), -1, self.channels)
        return ((pixels - self.mean_) / self.spread_).reshape(rows.shape)


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
    """Require weights that know so many classes without learning from clips."""
    if classes not in CLASS_HEADS or weights == "none":
        raise UserError(
            "zero_shot must have drawn weights for the classes of "
            f"{', '.join(CLASS_HEADS.values())}. Received: {classes} classes, weights {weights!r}. "
            "Choose another --scheme, or let motion_net learn from the clips."
        )


@lru_cache
def _model(classes: int, weights: str) -> keras.Model:
    return motion_model(classes=classes, weights=weights)
