"""Cross-validation: a model for each fold, asked once about the clips that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.arrays import Inputs
from casme_tf.datasets.splits import PROTOCOLS, Split, check_clips
from casme_tf.errors import UserError
from casme_tf.evaluation.engines import ENGINES
from casme_tf.evaluation.fold_files import FoldFiles, FoldResult
from casme_tf.evaluation.fold_task import FoldTask, Transform
from casme_tf.evaluation.leaks import guard_folds
from casme_tf.evaluation.provenance import Fitted
from casme_tf.progress import progress


def cross_validate(
    make_model: Callable[[], Any],
    inputs: Mapping[str, np.ndarray] | np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    *,
    protocol: str | Sequence[Split] = "loso",
    seed: int = 0,
    clips: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    validation: bool = False,
    k: int = 5,
    mirror: Transform | None = None,
    preprocess: Callable[[Inputs], Transform] | Fitted[Transform] | None = None,
    frames: Mapping[str, np.ndarray] | None = None,
    folder: Path | str | None = None,
    engine: str = "local",
    workers: int = 1,
) -> pd.DataFrame:
    """Test a model on people that it has not seen, fold by fold.

    Before anything is fitted, folds are refused in which a subject, a clip or a frame is on both
    sides. Of a fold's clips, model code is given copies of the training clips (and of those that
    choose the epoch) until it is fitted; then, once, the test clips without their classes. A
    fold's result depends on its clips, the settings and the seed, not on the folds before it.

    What a fold computes from data must be inside it. A `make_model` that has all clips at hand, or
    weights that were trained on some of them, cannot be seen through from here.

    Args:
        make_model: Makes a new `keras.Model`, scikit-learn classifier or `Learner`; see
            `KerasLearner` and `SklearnLearner` for what is required.
        inputs: Arrays `(n, ...)` by name, clips first; or one array.
        labels: `(n,)` int classes, from 0; or names of classes.
        subjects: `(n,)` subject of each clip.
        protocol: One of `PROTOCOLS`, or the folds themselves. Default "loso".
        seed: Of everything that is drawn: folds, weights, order. Default 0.
        clips: `(n,)` name of each clip. Default: its number.
        class_names: Names of the classes. Default: those in `labels`, sorted; of int labels their
            numbers, up to the largest.
        epochs: Number of epochs of a Keras model; with validation clips, the largest. Default 100.
        batch_size: Clips in a step of a Keras model. Default 32.
        learning_rate: Of a Keras model's Adam. Default 1e-3.
        validation: Set subjects of the training side apart that choose the epoch. Default False.
        k: Number of folds of the protocol `kfold`. Default 5.
        mirror: Mirrors arrays of clips left and right. Mirrored copies are added to the training
            clips alone. Default: none are added.
        preprocess: Computes from the training clips' inputs (and their mirrored copies) a function
            that is applied to the inputs of all parts. Or such a function from `fit_on`, which is
            refused in a fold whose test clips it was computed from. Default: none.
        frames: Arrays `(n, ...)` by name in which copies of frames are looked for. Default: those
            of `inputs` with several values a clip.
        folder: Where finished folds are kept. Called again with the same settings, it goes on with
            the folds that are missing; in the end histories.csv is written there. Default: folds
            are not kept.
        engine: One of `ENGINES`: "local" (default) or "ray".
        workers: How many folds are computed at a time: threads of this process, or Ray's
            processes. It does not change the result. A learner of one's own must bear threads.
            Default 1.

    Returns:
        One row a tested clip, in the order of the data: columns subject, clip, fold, y_true,
        y_pred (class names) and one probability a class.

    Raises:
        LeakError: If something of a test clip would reach the training side.
        UserError: If what is given does not fit together, or `folder` holds folds of other
            settings.

    Example:
        >>> from sklearn.naive_bayes import GaussianNB
        >>> flow = np.random.default_rng(0).normal(size=(12, 4, 4, 2))
        >>> table = cross_validate(GaussianNB, flow, np.tile([0, 1], 6), np.repeat(list("abc"), 4))
        >>> table.columns.tolist()
        ['subject', 'clip', 'fold', 'y_true', 'y_pred', '0', '1']
    """
    if np.asarray(labels).dtype.kind in "OSU" and class_names is None:
        found, labels = np.unique(np.asarray(labels, str), return_inverse=True)
        class_names = found.tolist()
    arrays, labels, subjects, clips = _checked(inputs, labels, subjects, clips)
    names = _class_names(class_names, labels)
    for what, number in (("epochs", epochs), ("batch_size", batch_size), ("workers", workers)):
        if number < 1:
            raise UserError(f"{what} must be at least 1. Received: {number}.")
    if engine not in ENGINES:
        raise UserError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}.")
    splits = _splits(protocol, subjects, labels, seed=seed, validation=validation, k=k)
    compared = _frames(arrays) if frames is None else frames
    guard_folds(splits, subjects, clips=clips, frames=compared or None)

    task = FoldTask(
        make_model=make_model,
        inputs=arrays,
        labels=labels,
        classes=len(names),
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        mirror=mirror,
        preprocess=preprocess,
    )
    files = None if folder is None else FoldFiles(Path(folder), task.describe(splits))
    kept = [files.read(split.name) for split in splits] if files else []
    results = {result.name: result for result in kept if result is not None}
    missing = [split for split in splits if split.name not in results]
    with progress(
        total=len(splits), initial=len(results), desc="cross-validation", unit="fold"
    ) as bar:
        for result in ENGINES[engine](task.start, missing, workers) if missing else ():
            if files is not None:
                files.write(result)
            results[result.name] = result
            bar.update()
    if files is not None:
        files.write_histories(results[split.name] for split in splits)
    return _tabulate(splits, results, labels, subjects, clips, names)


def _checked(
    inputs: Mapping[str, np.ndarray] | np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    clips: np.ndarray | None,
) -> tuple[Inputs, np.ndarray, np.ndarray, np.ndarray]:
    """Return everything as arrays, if each has one row a clip."""
    subjects, labels = check_clips(subjects, labels)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        received = f"{labels.dtype}" + (
            f" from {labels.min()}" if labels.dtype.kind in "if" else ""
        )
        raise UserError(
            "labels must be classes as whole numbers from 0, or names without class_names. "
            f"Received: {received}."
        )
    named = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
    arrays = {str(name): np.asarray(array) for name, array in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if not arrays or any(shape[:1] != (len(labels),) for shape in shapes.values()):
        raise UserError(
            f"inputs must be arrays with one row for each of {len(labels)} clips. "
            f"Received: {shapes}."
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            clip = int(np.argwhere(~np.isfinite(array))[0][0])
            raise UserError(
                f"inputs must be finite numbers. Received: NaN or infinity in {name!r}, first in "
                f"row {clip}. Leave such clips out, or fill in what is missing."
            )
    given = np.arange(len(labels)) if clips is None else np.asarray(clips)
    if given.shape != labels.shape:
        raise UserError(
            f"clips must name each of {len(labels)} clips. Received: shape {given.shape}."
        )
    return arrays, labels.astype(np.int64), subjects.astype(str), given.astype(str)


def _class_names(class_names: Sequence[str] | None, labels: np.ndarray) -> list[str]:
    names = [str(i) for i in range(labels.max() + 1)] if class_names is None else list(class_names)
    reserved = {"subject", "clip", "fold", "y_true", "y_pred"}
    if len(names) <= labels.max() or len(set(names)) < len(names) or reserved & set(names):
        raise UserError(
            f"class_names must be {labels.max() + 1} different names or more, none of them "
            f"{', '.join(sorted(reserved))}. Received: {names}."
        )
    return names


def _splits(
    protocol: str | Sequence[Split],
    subjects: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    validation: bool,
    k: int,
) -> list[Split]:
    """Return the folds, each with a name of its own."""
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise UserError(
                f"protocol must be one of {', '.join(PROTOCOLS)}, or folds. Received: {protocol!r}."
            )
        options = {"k": k} if protocol == "kfold" else {}
        return PROTOCOLS[protocol](subjects, labels, seed=seed, validation=validation, **options)
    splits = [
        replace(split, name=split.name or f"fold-{number}")
        for number, split in enumerate(protocol, start=1)
    ]
    names = [split.name for split in splits]
    if len(set(names)) < len(names):
        raise UserError(f"Folds must have different names. Received: {', '.join(names)}.")
    return splits


def _frames(inputs: Inputs) -> Inputs:
    """Return the arrays in which two clips are alike only if one is a copy of the other."""
    return {name: x for name, x in inputs.items() if x.ndim > 1 and x[0].size > 1}


def _tabulate(
    splits: Sequence[Split],
    results: Mapping[str, FoldResult],
    labels: np.ndarray,
    subjects: np.ndarray,
    clips: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    tested = np.concatenate([split.test for split in splits])
    order = np.argsort(tested, kind="stable")
    probabilities = np.concatenate([results[split.name].probabilities for split in splits])[order]
    folds = np.repeat([split.name for split in splits], [len(split.test) for split in splits])
    rows, of_class = tested[order], np.asarray(names)
    table = pd.DataFrame({"subject": subjects[rows], "clip": clips[rows], "fold": folds[order]})
    table["y_true"] = of_class[labels[rows]]
    table["y_pred"] = of_class[probabilities.argmax(axis=1)]
    return table.assign(**{name: probabilities[:, i] for i, name in enumerate(names)})
