"""Cross-validation: one model per fold, which predicts the clips it has not seen once."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config

from casme_tf.arrays import Inputs, digest
from casme_tf.clips.mediapipe_face import network_shut
from casme_tf.datasets.splits import PROTOCOLS, Split, check_clips
from casme_tf.errors import UserError
from casme_tf.evaluation.leaks import guard_folds
from casme_tf.files import atomic_file
from casme_tf.progress import progress
from casme_tf.runs import HISTORIES, versions
from casme_tf.training.learners import FoldResult, Learner, Transform, as_learner, run_fold

__all__ = ["cross_validate"]

ENGINES = ("local", "ray")
"""Where folds are computed: threads of this process, or Ray's processes."""

_SETTINGS = "settings.json"
_HISTORY = "history/"
_NUMBERS_DEPEND_ON = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


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
    frames: Mapping[str, np.ndarray] | None = None,
    folder: Path | str | None = None,
    engine: str = "local",
    workers: int = 1,
) -> pd.DataFrame:
    """Test a model on subjects that it has not seen, fold by fold.

    Before anything is fitted, folds are refused in which a subject, a clip or a frame is on both
    sides. A model gets copies of a fold's training clips (and of those that choose the epoch) until
    it is fitted; then, once, the test clips without their classes. A fold's result depends on its
    clips, the settings and the seed, not on other folds.

    What is computed from clips must be computed inside the model (such as a scikit-learn
    `Pipeline`). A `make_model` that has all clips at hand, or weights that were trained on some of
    them, cannot be detected here.

    Args:
        make_model: Makes a new `keras.Model` or scikit-learn classifier; see `KerasLearner` and
            `SklearnLearner` for what is required.
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
        validation: Hold out subjects of the training side that choose the epoch. Default False.
        k: Number of folds of the protocol `kfold`. Default 5.
        mirror: Mirrors arrays of clips left and right. Mirrored copies are added to the training
            clips alone. Default: none are added.
        frames: Arrays `(n, ...)` by name in which copies of frames are looked for. Default: those
            of `inputs` with several values a clip.
        folder: Where finished folds are kept. Called again with the same settings, it goes on with
            the folds that are missing; in the end histories.csv is written there. Default: folds
            are not kept.
        engine: One of `ENGINES`: "local" (default) or "ray".
        workers: Number of folds computed at a time, in threads of this process or Ray's processes.
            It does not change the result. Default 1.

    Returns:
        One row a tested clip, in the order of the data: columns subject, clip, fold, y_true,
        y_pred (class names) and one probability a class.

    Raises:
        LeakError: If something of a test clip would reach the training side.
        UserError: If arguments do not fit together, or `folder` holds folds of other
            settings.

    Example:
        >>> from sklearn.naive_bayes import GaussianNB
        >>> flow = np.random.default_rng(0).normal(size=(12, 4, 4, 2))
        >>> table = cross_validate(GaussianNB, flow, np.tile([0, 1], 6), np.repeat(list("abc"), 4))
        >>> table.columns.tolist()
        ['subject', 'clip', 'fold', 'y_true', 'y_pred', '0', '1']
    """
    if np.asarray(labels).dtype.kind in "OSU" and class_names is None:
        names, labels = np.unique(np.asarray(labels, str), return_inverse=True)
        class_names = names.tolist()
    arrays, labels, subjects, clips = _checked(inputs, labels, subjects, clips)
    class_names = _class_names(class_names, labels)
    for what, number in (("epochs", epochs), ("batch_size", batch_size), ("workers", workers)):
        if number < 1:
            raise UserError(f"{what} must be at least 1. Received: {number}.")
    if engine not in ENGINES:
        raise UserError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}.")
    splits = _splits(protocol, subjects, labels, seed=seed, validation=validation, k=k)
    compared = _frames(arrays) if frames is None else frames
    guard_folds(splits, subjects, clips=clips, frames=compared or None)

    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    classes = len(class_names)
    make_learner = partial(as_learner, make_model, classes=classes, **options)
    task = FoldTask(make_learner, arrays, labels, classes, seed, mirror)
    if folder is not None:
        folder = Path(folder)
        parts = [[s.name, s.train, s.validation, s.test] for s in splits]
        described = {
            "data": digest([arrays, labels, classes]),
            "folds": digest(parts),
            "seed": seed,
            **options,
            "mirror": getattr(mirror, "__qualname__", type(mirror).__qualname__),
            "versions": versions(),
        }
        _require_same_settings(folder, described)
    results = run_folds(task, splits, folder=folder, engine=engine, workers=workers)
    return tabulate(splits, results, labels, subjects, clips, class_names)


@dataclass(frozen=True, eq=False)
class FoldTask:
    """Everything that decides the result of a fold; it can be sent to another process."""

    make_learner: Callable[[], Learner]
    inputs: Inputs
    labels: np.ndarray
    classes: int
    seed: int
    mirror: Transform | None
    key: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, split: Split) -> FoldResult:
        """Compute one fold."""
        # Building and tracing a network takes longer than fitting it, so it is kept.
        if getattr(_THREAD, "key", None) != self.key:
            _THREAD.learner, _THREAD.key = self.make_learner(), self.key
        return run_fold(
            _THREAD.learner,
            self.inputs,
            self.labels,
            split,
            classes=self.classes,
            seed=self.seed,
            mirror=self.mirror,
        )


_THREAD = threading.local()


def run_folds(
    task: FoldTask,
    splits: Sequence[Split],
    *,
    folder: Path | None = None,
    engine: str = "local",
    workers: int = 1,
) -> list[FoldResult]:
    """Compute folds, those that are not in `folder` already, and keep them there."""
    results: dict[str, FoldResult] = {}
    for split in splits:
        if folder is not None and (result := _read_fold(folder, split.name)) is not None:
            results[split.name] = result
    missing = [split for split in splits if split.name not in results]
    with (
        _ray(task, workers) if engine == "ray" and missing else nullcontext(),
        progress(
            total=len(splits), initial=len(results), desc="cross-validation", unit="fold"
        ) as bar,
    ):
        for result in _compute(task, missing, engine, workers):
            if folder is not None:
                _write_fold(folder, result)
            results[result.name] = result
            bar.update()
    ordered = [results[split.name] for split in splits]
    histories = [r.history.assign(fold=r.name) for r in ordered if r.history is not None]
    if folder is not None and histories:
        table = pd.concat(histories, ignore_index=True)
        table.insert(0, "fold", table.pop("fold"))
        with atomic_file(folder / HISTORIES) as temporary:
            table.to_csv(temporary, index=False)
    return ordered


def _compute(
    task: FoldTask, splits: Sequence[Split], engine: str, workers: int
) -> Iterator[FoldResult]:
    """Yield each fold's result when it is finished."""
    if engine == "local":
        if workers == 1:
            yield from map(task, splits)
            return
        parallel = Parallel(workers, backend="threading", return_as="generator_unordered")
        yield from parallel(delayed(task)(split) for split in splits)
        return
    # Ray's backend returns results all at once, so it is given some folds at a time.
    size = 4 * workers
    for start in range(0, len(splits), size):
        some = splits[start : start + size]
        yield from Parallel(workers, batch_size=-(-len(some) // workers))(
            delayed(task)(split) for split in some
        )


@contextmanager
def _ray(task: FoldTask, workers: int) -> Iterator[None]:
    """Let joblib compute with Ray, started here or running at RAY_ADDRESS."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise UserError(
            "The engine 'ray' needs Ray, which is not installed. Install it with: "
            "pip install 'casme-tf[ray]'"
        ) from None
    address = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # As later versions of Ray do it: whether workers see a GPU is not changed.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    started = not ray.is_initialized()
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "runtime_env": {"env_vars": _environment()},
    }
    if not address:
        memory = 2 * len(ray.cloudpickle.dumps(task)) + 128 * 2**20
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
        options |= {"object_store_memory": memory}
    try:
        if started:
            with nullcontext() if address else network_shut():  # it looks for a cloud provider
                ray.init(**options)
        register_ray()
        with parallel_config(backend="ray"):
            yield
    except (ConnectionError, TimeoutError, ray.exceptions.RaySystemError) as error:
        what = f"be running at RAY_ADDRESS={address}" if address else "start on this machine"
        raise UserError(f"Ray must {what}. Received: {error}.") from error
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"Ray's workers must start, and live until the last fold. Received: {reason} What "
            "they are sent must be importable there; if memory ran out, use fewer workers. Run it "
            "again; finished folds are not repeated."
        ) from error
    finally:
        if started:
            ray.shutdown()


def _environment() -> dict[str, str]:
    """Return what workers must have in common with this process for the same numbers."""
    # Otherwise Ray sets the number of BLAS threads to the CPUs of a worker.
    found = {"OMP_NUM_THREADS": str(cores())}
    found |= {name: os.environ[name] for name in _NUMBERS_DEPEND_ON if name in os.environ}
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        threads = tensorflow.config.threading
        counts = {
            "TF_NUM_INTRAOP_THREADS": threads.get_intra_op_parallelism_threads(),
            "TF_NUM_INTEROP_THREADS": threads.get_inter_op_parallelism_threads(),
        }
        found |= {name: str(count) for name, count in counts.items() if count}
    return found


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _read_fold(folder: Path, name: str) -> FoldResult | None:
    """Return a kept fold's result bit for bit, or None if it is not finished."""
    path = folder / f"{quote(name, safe='')}.npz"
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            columns: dict[str, np.ndarray] = {
                key.removeprefix(_HISTORY): saved[key]
                for key in saved.files
                if key.startswith(_HISTORY)
            }
            history = pd.DataFrame(columns) if columns else None
            return FoldResult(name, saved["probabilities"], history)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} must hold a fold's result. Received: {error}. Delete the file, and the "
            "fold is repeated."
        ) from error


def _write_fold(folder: Path, result: FoldResult) -> None:
    arrays = {"probabilities": result.probabilities}
    if result.history is not None:
        arrays |= {f"{_HISTORY}{name}": x.to_numpy() for name, x in result.history.items()}
    with atomic_file(folder / f"{quote(result.name, safe='')}.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def _require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings in a folder of folds, or require those that are noted there."""
    path = folder / _SETTINGS
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n")
        return
    try:
        begun = dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must have the settings of the folds next to it. Received: {error}. "
            "Delete the folder, or choose another."
        ) from error
    differing = [name for name in {**settings, **begun} if begun.get(name) != settings.get(name)]
    if differing:
        raise UserError(
            f"{folder} must hold folds of the same cross-validation, or none. Received: "
            f"folds with other settings ({', '.join(differing)}). Repeat its command to continue "
            "it, delete the folder, or choose another."
        )


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
    """Return the arrays in which two clips are equal only if one is a copy of the other."""
    return {name: x for name, x in inputs.items() if x.ndim > 1 and x[0].size > 1}


def tabulate(
    splits: Sequence[Split],
    results: Sequence[FoldResult],
    labels: np.ndarray,
    subjects: np.ndarray,
    clips: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    """Return the table of predictions, one row per tested clip, in the order of the data."""
    tested = np.concatenate([split.test for split in splits])
    order = np.argsort(tested, kind="stable")
    probabilities = np.concatenate([result.probabilities for result in results])[order]
    folds = np.repeat([split.name for split in splits], [len(split.test) for split in splits])
    rows, of_class = tested[order], np.asarray(names)
    table = pd.DataFrame({"subject": subjects[rows], "clip": clips[rows], "fold": folds[order]})
    table["y_true"] = of_class[labels[rows]]
    table["y_pred"] = of_class[probabilities.argmax(axis=1)]
    return table.assign(**{name: probabilities[:, i] for i, name in enumerate(names)})
