"""Time leave-one-subject-out of STSTNet against a fresh Keras model fitted for each fold.

    python scripts/benchmarks/folds.py
    python scripts/benchmarks/folds.py --engines

Both take the same clips, folds, mirrored copies, batches, epochs and weights of classes, in turns
in one process, and both predict the same clips. Motion is drawn at random, with a mark of the class
in it, in the shape of CASME II: 255 clips of 26 subjects. Prints seconds and the ratio of each
round, and the accuracy of both. With --engines, ours is timed one fold at a time, in threads and by
Ray's processes instead; Ray's start is included.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tyro
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from casme_tf.datasets.splits import PROTOCOLS, Split
from casme_tf.evaluation.cross_validation import cross_validate
from casme_tf.models.ststnet import ststnet
from casme_tf.training.inputs import mirror_motion

CLASSES = 4


@dataclass(frozen=True)
class Arguments:
    """What to time."""

    epochs: int = 40
    """Epochs of each fold."""
    folds: int = 26
    """Number of subjects, one fold each."""
    rounds: int = 3
    """How often both are timed."""
    workers: int = os.cpu_count() or 1
    """Folds that ours computes at a time."""
    engines: bool = False
    """Compare where folds are computed, not with fresh models."""


@dataclass(frozen=True)
class Clips:
    """Clips drawn at random."""

    motion: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def draw_clips(subject_count: int) -> Clips:
    """Draw 255 clips, as unevenly over subjects as in CASME II."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(subject_count, 3.0))
    subjects = np.concatenate(
        [np.arange(subject_count), rng.choice(subject_count, 255 - subject_count, p=shares)]
    )
    labels = rng.integers(0, CLASSES, 255)
    motion = rng.normal(size=(255, 28, 28, 3)) * [0.2, 0.2, 0.01]
    for clip, label in enumerate(labels):
        motion[clip, 6 * label : 6 * label + 4, 12:16, 1] += 0.15
    return Clips(motion.astype(np.float32), labels, subjects.astype(str))


def make_model() -> keras.Model:
    """Make the network of one fold."""
    return ststnet(classes=CLASSES)


def ours(clips: Clips, arguments: Arguments, engine: str = "local") -> np.ndarray:
    """Answer for all clips with one traced step for all folds."""
    table = cross_validate(
        make_model,
        {"motion": clips.motion},
        clips.labels,
        clips.subjects,
        epochs=arguments.epochs,
        batch_size=32,
        mirror=mirror_motion,
        engine=engine,
        workers=arguments.workers,
    )
    return table["y_pred"].to_numpy(dtype=int)


def fresh(clips: Clips, arguments: Arguments) -> np.ndarray:
    """Answer for all clips with a new model for each fold, built, compiled and fitted by Keras."""
    answers = np.empty_like(clips.labels)
    splits = PROTOCOLS["loso"](clips.subjects, clips.labels, seed=0, validation=False)
    for split in splits:
        answers[split.test] = fit_one(clips, split, arguments.epochs)
    return answers


def fit_one(clips: Clips, split: Split, epochs: int) -> np.ndarray:
    """Fit a new model on one fold's training clips, and answer for its test clips."""
    straight = {"motion": clips.motion[split.train]}
    motion = np.concatenate([straight["motion"], mirror_motion(straight)["motion"]])
    labels = np.tile(clips.labels[split.train], 2)
    present = np.unique(labels)
    weights = compute_class_weight("balanced", classes=present, y=labels)
    model = make_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        motion,
        labels,
        batch_size=32,
        epochs=epochs,
        class_weight=dict(zip(present.tolist(), weights, strict=True)),
        verbose=0,
    )
    return model.predict(clips.motion[split.test], verbose=0).argmax(1)


def compare_engines(clips: Clips, arguments: Arguments) -> None:
    """Time one fold at a time, threads and Ray in turns; print ratios to the first."""
    ways = {
        "one fold at a time": partial(ours, clips, replace(arguments, workers=1)),
        f"{arguments.workers} threads": partial(ours, clips, arguments),
        f"Ray, {arguments.workers} processes": partial(ours, clips, arguments, "ray"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers = {}
    for _ in range(arguments.rounds):
        for name, answer in ways.items():
            start = time.perf_counter()
            answers[name] = answer()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(ways))
    for name, each in seconds.items():
        ratio = np.median(np.divide(seconds[first], each))
        same = "same answers" if np.array_equal(answers[name], answers[first]) else "OTHER ANSWERS"
        print(f"{name:20} {np.median(each):6.1f} s  {ratio:.2f} times as fast  {same}")


def main(arguments: Arguments) -> None:
    """Time both in turns."""
    # As the verb `crossval` does; fresh models are not slower for it.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    clips = draw_clips(arguments.folds)
    if arguments.engines:
        compare_engines(clips, arguments)
        return
    ratios = []
    for number in range(1, arguments.rounds + 1):
        seconds, accuracy = {}, {}
        for name, answer in (("ours", ours), ("fresh Keras models", fresh)):
            start = time.perf_counter()
            answers = answer(clips, arguments)
            seconds[name] = time.perf_counter() - start
            accuracy[name] = accuracy_score(clips.labels, answers)
        ratios.append(seconds["fresh Keras models"] / seconds["ours"])
        times = ", ".join(f"{n} {s:.1f} s (accuracy {accuracy[n]:.3f})" for n, s in seconds.items())
        print(f"round {number}: {times}; {ratios[-1]:.1f} times as fast", flush=True)
    print(
        f"median of {arguments.rounds} rounds: {np.median(ratios):.1f} times as fast as a fresh "
        f"Keras model for each of {arguments.folds} folds of {arguments.epochs} epochs"
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
