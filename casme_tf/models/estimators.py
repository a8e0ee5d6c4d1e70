"""Architectures that are scikit-learn estimators: fitted on motion in one step, without epochs."""

from __future__ import annotations

from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import cho_factor
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from casme_tf.errors import UserError
from casme_tf.layers import LocalKernels, NormalizeMotion
from casme_tf.layers.local_kernels import blocks_of, local_kernels
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.motion_net import (
    CHANNELS,
    CLASS_HEADS,
    SIZE,
    motion_model,
    motion_network,
    pair_motion,
)

__all__ = [
    "MotionKernel",
    "MotionSVM",
    "ZeroShot",
    "kernel_classifier",
]


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
        return _zero_shot_model(self.classes, self.weights).predict(motion, verbose=0)

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
def _zero_shot_model(classes: int, weights: str) -> keras.Model:
    return motion_model(classes=classes, weights=weights)


SIGNS = {
    "motion": np.array([-1, 1, 1], np.float32),
    "image": np.array([-1, 1, 1, 1, -1], np.float32),
}
"""What mirroring does to the channels of each kind of image, besides turning it round."""

RIDGES = (0.05, 0.1, 0.15, 0.3, 0.6)
"""Variances of the noise that the classes may be taken to have."""

PRIORS = (0.0, 0.15, 0.3, 0.45, 0.6)
"""Shares of the drawn weights' probabilities that may be kept."""

_ROWS = 256  # of the kernel at a time


class MotionKernel(ClassifierMixin, BaseEstimator):
    """Gaussian-process regression of the classes, which starts from what drawn weights predict.

    The kernel compares two clips region by region (see `LocalKernels`), in two images of them:
    motion as it is, and motion that `NormalizeMotion` has freed of the head's own and of its unit;
    each channel is scaled as a whole. What is fitted is the difference of the true classes from a
    share of the probabilities of motion_net with drawn weights, so that a clip unlike all those it
    was fitted on is classified as without them. Rare classes count as much as frequent ones. A clip
    and its mirror image are the same. Fitting solves systems of linear equations: nothing is drawn
    at random, and there are no epochs.

    The share, the variance of the noise and the temperature of the softmax are those at which the
    predictions of each clip it is fitted on, without that clip (in closed form), have the lowest
    log loss, each class counting as much as another.

    Args:
        classes: Number of classes. Default 4.
        weights: Drawn weights: "drawn" (default), the path of a weights.npz, or "none" to start
            from equal probabilities.

    Example:
        >>> motion = np.random.default_rng(0).random((12, 28 * 28 * 3), "float32")
        >>> kernel = MotionKernel(3, weights="none").fit(motion, np.repeat([0, 1, 2], 4))
        >>> kernel.predict_proba(motion).shape
        (12, 3)

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2,
        2.7 and 5.4.2.
    """

    def __init__(self, classes: int = 4, weights: str = "drawn") -> None:
        self.classes = classes
        self.weights = weights

    def fit(self, X: np.ndarray, y: np.ndarray) -> MotionKernel:
        """Fit to `(n, 28 · 28 · 3)` flattened motion and its `(n,)` int classes."""
        y = np.asarray(y)
        images = _images(X)
        self.classes_ = np.arange(self.classes)
        spread = {kind: x.std(axis=(0, 1, 2), dtype=np.float64) for kind, x in images.items()}
        self.mean_ = {kind: x.mean(axis=(0, 1, 2), dtype=np.float64) for kind, x in images.items()}
        self.spread_ = {kind: np.where(x > 0, x, 1.0) for kind, x in spread.items()}
        self.known_ = {kind: self._scaled(kind, x) for kind, x in images.items()}
        counts = np.bincount(y, minlength=self.classes)
        kernel, expected = self._kernel(images, among=True), self._expected(images)
        truth = np.eye(self.classes)[y] - 1 / self.classes
        least = np.inf
        for ridge in RIDGES:
            noise = ridge * counts[y] * np.count_nonzero(counts) / len(y)
            inverse = _inverse(kernel + np.diag(noise))
            for prior in PRIORS if self._starts_drawn else (0.0,):
                coefficients = inverse @ (truth - prior * expected)
                # What each clip would be given, were it left out.
                without_itself = truth - coefficients / np.diag(inverse)[:, None]
                temperature, loss = _temperature(without_itself, y)
                if loss < least:
                    least, self.ridge_, self.prior_ = loss, ridge, prior
                    self.coefficients_, self.temperature_ = coefficients, temperature
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return `(n, C)` probabilities."""
        check_is_fitted(self)
        images = _images(X)
        scores = self._kernel(images) @ self.coefficients_
        scores += self.prior_ * self._expected(images)
        return softmax(scores / self.temperature_, axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return `(n,)` classes: those of the largest probability."""
        return self.predict_proba(X).argmax(axis=1)

    def network(self) -> keras.Model:
        """Return the fitted model as a Keras model.

        Returns:
            From a dictionary of `motion` `(B, 28, 28, 3)` and `image`, the same normalized by
            `NormalizeMotion`, `(B, 28, 28, 6)`, to probabilities `(B, C)`.
        """
        check_is_fitted(self)
        motion = keras.Input((SIZE, SIZE, 3), name="motion")
        image = keras.Input((SIZE, SIZE, CHANNELS), name="image")
        scores = []
        for kind, x in {"motion": motion, "image": image[..., :-1]}.items():
            mean, variance = self.mean_[kind], self.spread_[kind] ** 2
            scale = keras.layers.Normalization(mean=mean, variance=variance, name=f"{kind}_scaled")
            kernels = LocalKernels(len(self.coefficients_), self.classes, name=f"{kind}_kernels")
            mirrored = keras.ops.flip(x, axis=2) * SIGNS[kind]
            scores += [kernels(scale(each)) for each in (x, mirrored)]
            kernels.know(self.known_[kind], 0.25 * self.coefficients_)
        if self._starts_drawn:
            likely = _drawn_network(self.classes, self.weights)(image)
            even = -self.prior_ / self.classes
            scores.append(keras.layers.Rescaling(self.prior_, even, name="prior")(likely))
        total = keras.layers.Add(name="scores")(scores)
        total = keras.layers.Rescaling(1 / self.temperature_, name="tempered")(total)
        answer = keras.layers.Softmax(name="probabilities")(total)
        return keras.Model({"motion": motion, "image": image}, answer, name="network")

    @property
    def _starts_drawn(self) -> bool:
        return self.weights != "none" and self.classes in CLASS_HEADS

    def _expected(self, images: dict[str, np.ndarray]) -> np.ndarray:
        """Return how far drawn weights' probabilities are from equal ones, `(n, C)`."""
        if not self._starts_drawn:
            return np.zeros((len(images["motion"]), self.classes))
        likely = _drawn_model(self.classes, self.weights).predict(images["motion"], verbose=0)
        return likely.astype(np.float64) - 1 / self.classes

    def _scaled(self, kind: str, images: np.ndarray) -> np.ndarray:
        return ((images - self.mean_[kind]) / self.spread_[kind]).astype(np.float32)

    def _kernel(self, images: dict[str, np.ndarray], *, among: bool = False) -> np.ndarray:
        """Return the kernel between clips and those that it was fitted on, `(m, n)`.

        Among those it was fitted on it is symmetric, and half of it is computed.
        """
        total = np.zeros((len(images["motion"]), len(self.known_["motion"])))
        for kind, x in images.items():
            known = blocks_of(tf.constant(self.known_[kind]))
            for each in (x, x[:, :, ::-1] * SIGNS[kind]):
                scaled = self._scaled(kind, each)
                for i in range(0, len(scaled), _ROWS):
                    first = i if among else 0
                    part = tf.constant(scaled[i : i + _ROWS])
                    rows = local_kernels(part, known[:, first:]).numpy()
                    total[i : i + _ROWS, first:] += 0.25 * rows
        return np.triu(total) + np.triu(total, 1).T if among else total


def kernel_classifier(
    machine: MotionKernel, *, frame_size: int = 224, head_motion: str | None = None
) -> keras.Model:
    """Build the classifier of pairs of frames from a fitted `MotionKernel`.

    Args:
        machine: The fitted model.
        frame_size: Side of the frames, px; flow is computed at this size.
        head_motion: What `UVStrain` subtracts, as in the motion it was fitted on.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, frame_size, frame_size, 3)` uint8 RGB.

    Output shape:
        `(B, classes)` float32 probabilities.
    """
    inputs = pair_inputs(frame_size)
    motion = keras.Input((SIZE, SIZE, 3), name="cells")
    outputs = {"motion": motion, "image": NormalizeMotion(name="normalized")(motion)}
    encoding = keras.Model(motion, outputs, name="encoding")
    features = encoding(pair_motion(frame_size, head_motion=head_motion)(inputs))
    return keras.Model(inputs, machine.network()(features), name="kernel")


def _images(X: np.ndarray) -> dict[str, np.ndarray]:
    """Return motion and normalized motion (without its level) of flattened motion."""
    motion = np.asarray(X, np.float32).reshape(-1, SIZE, SIZE, 3)
    parts = (motion[i : i + _ROWS] for i in range(0, len(motion), _ROWS))
    return {
        "motion": motion,
        "image": np.concatenate([NormalizeMotion()(part).numpy()[..., :-1] for part in parts]),
    }


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Invert a symmetric positive definite matrix."""
    factor, _ = cho_factor(matrix)
    inverse, _ = dpotri(factor)
    return np.triu(inverse) + np.triu(inverse, 1).T


def _temperature(scores: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the temperature of the lowest log loss, classes counting alike, and that loss."""
    weights = 1 / np.bincount(y)[y]

    def loss(logarithm: float) -> float:
        likely = log_softmax(scores / np.exp(logarithm), axis=1)[np.arange(len(y)), y]
        return -float(np.average(likely, weights=weights))

    found = minimize_scalar(loss, bounds=(np.log(0.02), np.log(2.0)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def _drawn_network(classes: int, weights: str) -> keras.Model:
    """Return motion_net from its image to the classes of drawn clips."""
    network = motion_network(classes=classes, weights=weights)
    network.trainable = False
    return keras.Model(network.input, network.get_layer("class_if_any").output, name="drawn")


@lru_cache
def _drawn_model(classes: int, weights: str) -> keras.Model:
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    image = NormalizeMotion(name="encoding")(motion)
    return keras.Model(motion, _drawn_network(classes, weights)(image))
