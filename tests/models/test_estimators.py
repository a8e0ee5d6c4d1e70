"""The architecture kernel: its closed forms, and the Keras model made of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit, softmax

from casme_tf.layers import NormalizeMotion
from casme_tf.models.estimators import (
    PRIORS,
    RIDGES,
    SIGNS,
    MotionKernel,
    ZeroShot,
    _images,
    _temperature,
)

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
    assert (kernel.predict(flat(fresh)) == wanted).mean() > 0.8


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_mirrored_clip_is_the_same_clip(weights):
    field, labels = motion()
    kernel = MotionKernel(3, weights).fit(flat(field), labels)
    mirrored = field[:, :, ::-1] * SIGNS["motion"]
    np.testing.assert_allclose(
        kernel.predict_proba(flat(mirrored)), kernel.predict_proba(flat(field)), atol=1e-4
    )
    again = MotionKernel(3, weights).fit(flat(mirrored), labels)
    fresh, _ = motion(9, seed=1)
    np.testing.assert_allclose(
        again.predict_proba(flat(fresh)), kernel.predict_proba(flat(fresh)), atol=1e-3
    )


def plain_kernel(one: np.ndarray, other: np.ndarray) -> float:
    """The kernel of two scaled images, region by region, in every size."""
    kernels = []
    for side in (8, 16, 28):
        starts = range(0, 29 - side, 4)
        parts = [(slice(i, i + side), slice(j, j + side)) for i in starts for j in starts]
        kernels.append(np.mean([np.exp(-np.mean((one[p] - other[p]) ** 2)) for p in parts]))
    return float(np.mean(kernels))


def test_the_scores_are_those_of_the_weighted_system():
    """Against the definition, clip by clip: kernel, noise by class, and solution."""
    field, labels = motion(12)
    labels = np.where(np.arange(12) < 8, labels, 0)  # one class is frequent
    kernel = MotionKernel(3, "none").fit(flat(field), labels)
    fresh, _ = motion(4, seed=1)
    normal = [NormalizeMotion()(x).numpy()[..., :5] for x in (field, fresh)]
    matrices = []
    for known, new, kind in ((field, fresh, "motion"), (*normal, "image")):
        mean, spread = known.mean((0, 1, 2)), known.std((0, 1, 2))
        for turned in (known, known[:, :, ::-1] * SIGNS[kind]):
            rows = np.concatenate([known, new])
            matrices.append(
                [
                    [plain_kernel((x - mean) / spread, (z - mean) / spread) for z in turned]
                    for x in rows
                ]
            )
    both = np.mean(matrices, axis=0)
    noise = kernel.ridge_ * np.bincount(labels)[labels] * 3 / 12
    target = np.eye(3)[labels] - 1 / 3
    coefficients = np.linalg.solve(both[:12] + np.diag(noise), target)
    expected = softmax(both[12:] @ coefficients / kernel.temperature_, axis=1)
    np.testing.assert_allclose(kernel.predict_proba(flat(fresh)), expected, atol=1e-4)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_is_chosen_predicts_clips_left_out_best(weights):
    """In closed form as by solving again without each clip, for every choice."""
    field, labels = motion(15)
    labels[[3, 4, 9]] = 2, 0, 0  # some are unlike their class
    kernel = MotionKernel(3, weights).fit(flat(field), labels)
    images = _images(flat(field))
    whole, drawn = kernel._kernel(images), kernel._expected(images)
    counts = np.bincount(labels)[labels]
    losses = {}
    for ridge in RIDGES:
        noisy = whole + np.diag(ridge * counts * 3 / 15)
        for prior in PRIORS:
            target = np.eye(3)[labels] - 1 / 3 - prior * drawn
            scores = []
            for i in range(15):
                rest = np.arange(15) != i
                solved = np.linalg.solve(noisy[np.ix_(rest, rest)], target[rest])
                scores.append(whole[i, rest] @ solved + prior * drawn[i])
            losses[ridge, prior] = _temperature(np.array(scores), labels)
    least = min(losses, key=lambda choice: losses[choice][1])
    assert (kernel.ridge_, kernel.prior_) == least
    assert kernel.temperature_ == pytest.approx(losses[least][0], rel=1e-3)
    assert len({loss for _, loss in losses.values()}) > 4


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
    images = _images(flat(field))
    assert kernel._kernel({kind: 50 * x for kind, x in images.items()}).max() < 1e-3
    # What is left then is what the drawn weights say.
    expected = kernel._expected(images)
    np.testing.assert_array_equal(expected.argmax(axis=1), ZeroShot(3).predict(flat(field)))
    assert np.abs(expected).max() <= 2 / 3 + 1e-6


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
