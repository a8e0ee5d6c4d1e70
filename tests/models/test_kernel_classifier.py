"""The architecture kernel: its closed forms, and the Keras model made of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit, softmax

from casme_tf.layers import NormalizeMotion
from casme_tf.models.kernel_classifier import MIRROR_SIGNS, MotionKernel

WEIGHTS = ("drawn", "none")


def motion(count: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Motion of three classes, each of which moves another part of the face, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[:28, :28]
    field = 0.1 * rng.standard_normal((count, 28, 28, 3))
    for i, label in enumerate(labels):
        hill = np.exp(-(((x - 9) / 4) ** 2 + ((y - 6 - 8 * label) / 3) ** 2))
        field[i, ..., 1] -= rng.uniform(0.3, 2.0) * hill
    field[..., 2] = np.abs(field[..., 2])
    return field.astype(np.float32), labels


def flat(field: np.ndarray) -> np.ndarray:
    return field.reshape(len(field), -1)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_classes_are_learned_and_probabilities_add_up(weights):
    field, labels = motion()
    kernel = MotionKernel(3, weights).fit(flat(field), labels)
    fresh, wanted = motion(30, seed=1)
    answer = kernel.predict_proba(flat(fresh))
    np.testing.assert_allclose(answer.sum(axis=1), 1)
    assert (kernel.predict(flat(fresh)) == wanted).mean() > 0.9


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_mirrored_clip_is_the_same_clip(weights):
    field, labels = motion()
    kernel = MotionKernel(3, weights).fit(flat(field), labels)
    mirrored = field[:, :, ::-1] * MIRROR_SIGNS
    np.testing.assert_allclose(
        kernel.predict_proba(flat(mirrored)), kernel.predict_proba(flat(field)), atol=1e-4
    )
    again = MotionKernel(3, weights).fit(flat(mirrored), labels)
    fresh, _ = motion(9, seed=1)
    np.testing.assert_allclose(
        again.predict_proba(flat(fresh)), kernel.predict_proba(flat(fresh)), atol=1e-3
    )


def test_the_closed_form_solves_the_weighted_system():
    """Against scikit-learn's Gaussian process with the same kernel and the same noise."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    field, labels = motion()
    labels = np.where(np.arange(len(labels)) < 15, labels, 0)  # one class is frequent
    mirrored = field[:, :, ::-1] * MIRROR_SIGNS
    kernel = MotionKernel(3, "none", ridge=0.2).fit(flat(field), labels)
    both = np.concatenate([kernel._cells(field), kernel._cells(mirrored)])
    counts = np.bincount(labels)
    noise = 2 * 0.2 * np.tile(counts[labels], 2) * 3 / len(labels)  # each half of a clip
    rbf = RBF(np.sqrt(28 * 28 * 3 / 2))
    target = np.tile(np.eye(3)[labels] - 1 / 3, (2, 1))
    process = GaussianProcessRegressor(rbf, alpha=noise, optimizer=None).fit(both, target)
    fresh, _ = motion(9, seed=1)
    scores = process.predict(kernel._cells(fresh))
    expected = softmax(scores / kernel.temperature_, axis=1)
    np.testing.assert_allclose(kernel.predict_proba(flat(fresh)), expected, atol=1e-6)


def test_the_temperature_makes_predictions_of_other_clips_believable():
    rng = np.random.default_rng(0)
    field, labels = motion(90)
    labels = np.where(rng.random(90) < 0.4, rng.integers(3, size=90), labels)
    kernel = MotionKernel(3, "none").fit(flat(field), labels)
    fresh, wanted = motion(300, seed=1)
    wanted = np.where(rng.random(300) < 0.4, rng.integers(3, size=300), wanted)
    answer = kernel.predict_proba(flat(fresh))
    right = (answer.argmax(axis=1) == wanted).mean()
    assert 0.6 < right < 0.85
    assert abs(answer.max(axis=1).mean() - right) < 0.1


def test_a_clip_unlike_all_others_is_predicted_as_without_them():
    field, labels = motion()
    kernel = MotionKernel(3, "drawn").fit(flat(field), labels)
    far = np.random.default_rng(3).normal(size=(2, 28, 28, 3)).astype(np.float32) * 50
    embedding, expected = kernel._drawn(far)
    near = kernel._kernel(far, embedding)
    scores = np.log(kernel.predict_proba(flat(far))) * kernel.temperature_
    scores -= scores.mean(axis=1, keepdims=True)
    rest = scores - (expected - expected.mean(axis=1, keepdims=True))
    assert np.abs(rest).max() <= near.max() * np.abs(kernel.coefficients_).sum() + 1e-5
    assert kernel._kernel(far, embedding)[:, :].max() < 0.51  # the motion's half is gone


def test_without_clips_of_a_class_it_is_unlikely():
    field, labels = motion()
    kept = labels < 2
    kernel = MotionKernel(3, "none").fit(flat(field[kept]), labels[kept])
    assert logit(kernel.predict_proba(flat(field))[:, 2]).max() < 0


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("classes", [3, 5])
def test_the_keras_model_predicts_the_same(weights, classes):
    field, labels = motion()
    kernel = MotionKernel(classes, weights).fit(flat(field), labels)
    image = NormalizeMotion()(field).numpy()
    answer = kernel.network().predict({"motion": field, "image": image}, verbose=0)
    np.testing.assert_allclose(answer, kernel.predict_proba(flat(field)), atol=1e-4)
