"""The architecture kernel: few real clips correct what drawn ones have taught."""

from __future__ import annotations

from functools import lru_cache

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from casme_tf.layers import NormalizeMotion
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.motion_net import CHANNELS, CLASS_HEADS, SIZE, motion_network, pair_motion

__all__ = ["MotionKernel", "kernel_classifier"]

MIRROR_SIGNS = np.array([-1, 1, 1], np.float32)
"""What mirroring does to dx, dy and strain, beside turning the image round."""

_CELLS = SIZE * SIZE * 3


class MotionKernel(ClassifierMixin, BaseEstimator):
    """Gaussian-process regression of the classes, which starts from what drawn weights predict.

    The kernel is the mean of two Gaussian ones: on motion (each channel scaled as a whole), and on
    the embedding of it by motion_net with drawn weights. What is fitted is the difference of the
    true classes from `prior` times the drawn weights' own probabilities, so that a clip unlike all
    those it was fitted on is classified as without them. Rare classes count as much as frequent
    ones. A clip and its mirror image are the same. Fitting solves one system of linear equations:
    nothing is drawn at random, and there are no epochs.

    Probabilities are the softmax of the scores, divided by the temperature at which the
    predictions of each clip without itself (also in closed form) have the lowest log loss.

    Args:
        classes: Number of classes. Default 4.
        weights: Drawn weights: "drawn" (default), the path of a weights.npz, or "none" for motion
            alone.
        ridge: Variance of the noise that the classes are taken to have. Default 0.15.
        prior: Share of the drawn weights' probabilities that is kept. Default 0.3.

    Example:
        >>> motion = np.random.default_rng(0).normal(size=(12, 28 * 28 * 3))
        >>> kernel = MotionKernel(3, weights="none").fit(motion, np.repeat([0, 1, 2], 4))
        >>> kernel.predict_proba(motion).shape
        (12, 3)

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2,
        2.7 and 5.4.2.
    """

    def __init__(
        self,
        classes: int = 4,
        weights: str = "drawn",
        ridge: float = 0.15,
        prior: float = 0.3,
    ) -> None:
        self.classes = classes
        self.weights = weights
        self.ridge = ridge
        self.prior = prior

    def fit(self, X: np.ndarray, y: np.ndarray) -> MotionKernel:
        """Fit to `(n, 28 · 28 · 3)` flattened motion and its `(n,)` int classes."""
        motion, y = _images(X), np.asarray(y)
        self.classes_ = np.arange(self.classes)
        self.mean_ = motion.mean(axis=(0, 1, 2), dtype=np.float64)
        spread = motion.std(axis=(0, 1, 2), dtype=np.float64)
        self.spread_ = np.where(spread > 0, spread, 1.0)
        embedding, expected = self._drawn(motion)
        self.embedding_mean_ = embedding.mean(axis=0)
        spread = embedding.std(axis=0)
        # A number that hardly moved in these clips must not outweigh the others in the next one.
        self.embedding_spread_ = np.maximum(spread, 0.1 * spread.mean()) + 1e-6
        self.cells_ = self._cells(motion)
        self.embedding_ = self._scaled(embedding)
        kernel = self._kernel(motion, embedding)
        counts = np.bincount(y, minlength=self.classes)
        noise = self.ridge * counts[y] * np.count_nonzero(counts) / len(y)
        inverse = np.linalg.inv(kernel + np.diag(noise))
        target = np.eye(self.classes)[y] - 1 / self.classes - expected
        self.coefficients_ = inverse @ target
        # What each clip would be given, were it left out.
        residual = self.coefficients_ / np.diag(inverse)[:, None]
        without_itself = np.eye(self.classes)[y] - 1 / self.classes - residual
        self.temperature_ = _temperature(without_itself, y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return `(n, C)` probabilities."""
        check_is_fitted(self)
        motion = _images(X)
        embedding, expected = self._drawn(motion)
        scores = self._kernel(motion, embedding) @ self.coefficients_ + expected
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
        scale = keras.layers.Normalization(mean=self.mean_, variance=self.spread_**2, name="scaled")
        flat = keras.layers.Flatten(name="cells")
        turned = keras.layers.Flatten(name="mirrored_cells")
        cells = scale(motion)
        mirrored = scale(keras.ops.flip(motion, axis=2) * MIRROR_SIGNS)
        share = 0.25 if self._knows else 0.5  # of each orientation, of each kernel
        machine = _Machine(self.cells_, share * self.coefficients_, "motion")
        scores = [machine(flat(cells)), machine(turned(mirrored))]
        if self._knows:
            drawn = self._network()
            embedding, likely = drawn(image)
            mean, variance = self.embedding_mean_, self.embedding_spread_**2
            scaled = keras.layers.Normalization(mean=mean, variance=variance, name="embedded")
            known = _Machine(self.embedding_, 0.5 * self.coefficients_, "embedding")
            scores.append(known(scaled(embedding)))
            if self._classifies:
                even = -self.prior / self.classes
                scores.append(keras.layers.Rescaling(self.prior, even, name="prior")(likely))
        total = keras.layers.Add(name="scores")(scores)
        total = keras.layers.Rescaling(1 / self.temperature_, name="tempered")(total)
        answer = keras.layers.Softmax(name="probabilities")(total)
        return keras.Model({"motion": motion, "image": image}, answer, name="network")

    @property
    def _knows(self) -> bool:
        return self.weights != "none"

    @property
    def _classifies(self) -> bool:
        return self._knows and self.classes in CLASS_HEADS

    def _network(self) -> keras.Model:
        """Return motion_net, from its image to its embedding and the classes of drawn clips."""
        network = motion_network(classes=self.classes, weights=self.weights)
        network.trainable = False
        outputs = [network.get_layer(name).output for name in ("even", "class_if_any")]
        return keras.Model(network.input, outputs, name="drawn")

    def _drawn(self, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what drawn weights know: the embedding `(n, 80)`, and scores `(n, C)` from it."""
        if not self._knows:
            return np.zeros((len(motion), 1)), np.zeros((len(motion), self.classes))
        embedding, likely = _drawn_model(self.classes, self.weights).predict(motion, verbose=0)
        expected = self.prior * (likely - 1 / self.classes) if self._classifies else 0 * likely
        return embedding.astype(np.float64), expected

    def _cells(self, motion: np.ndarray) -> np.ndarray:
        return ((motion - self.mean_) / self.spread_).reshape(len(motion), _CELLS)

    def _scaled(self, embedding: np.ndarray) -> np.ndarray:
        return (embedding - self.embedding_mean_) / self.embedding_spread_

    def _kernel(self, motion: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """Return the kernel between clips and those that it was fitted on, `(m, n)`."""
        mirrored = motion[:, :, ::-1] * MIRROR_SIGNS
        both = [_gaussian(self._cells(x), self.cells_) for x in (motion, mirrored)]
        kernel = 0.5 * (both[0] + both[1])
        if not self._knows:
            return kernel
        return 0.5 * (kernel + _gaussian(self._scaled(embedding), self.embedding_))


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


class _Machine:
    """Gaussian kernels around centers, times coefficients, in layers that any runtime has."""

    def __init__(self, centers: np.ndarray, coefficients: np.ndarray, name: str) -> None:
        count, width = centers.shape
        # -|x - c|² / d = 2 x·c / d - |c|² / d - |x|² / d; of the Gaussian that is the exponent.
        self._product = keras.layers.Dense(count, name=f"{name}_product")
        self._square = keras.layers.Dense(1, use_bias=False, name=f"{name}_square")
        self._sum = keras.layers.Dense(coefficients.shape[1], use_bias=False, name=f"{name}_sum")
        scale = _width(width)
        for layer, shape, values in (
            (self._product, width, [2 * centers.T / scale, -(centers**2).sum(axis=1) / scale]),
            (self._square, width, [np.full((width, 1), 1 / scale)]),
            (self._sum, count, [coefficients]),
        ):
            layer.build((None, shape))
            layer.set_weights(values)

    def __call__(self, x: keras.KerasTensor) -> keras.KerasTensor:
        exponent = self._product(x) - self._square(x * x)
        return self._sum(keras.ops.exp(keras.ops.minimum(exponent, 0.0)))  # above 0 by rounding


def _gaussian(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1) - 2 * x @ centers.T
    return np.exp(-np.maximum(squares, 0) / _width(x.shape[1]))


def _width(numbers: int) -> float:
    """Return what squared distances are divided by: of motion its length, of embeddings twice."""
    return float(numbers) if numbers == _CELLS else 2.0 * numbers


def _images(X: np.ndarray) -> np.ndarray:
    return np.asarray(X, np.float32).reshape(-1, SIZE, SIZE, 3)


def _temperature(scores: np.ndarray, y: np.ndarray) -> float:
    def loss(logarithm: float) -> float:
        likely = log_softmax(scores / np.exp(logarithm), axis=1)
        return -float(likely[np.arange(len(y)), y].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.02), np.log(2.0)), method="bounded")
    return float(np.exp(found.x))


@lru_cache
def _drawn_model(classes: int, weights: str) -> keras.Model:
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    drawn = MotionKernel(classes, weights)._network()
    return keras.Model(motion, drawn(NormalizeMotion(name="encoding")(motion)))
