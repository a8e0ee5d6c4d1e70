"""What a model answers on clips that it has not seen, and what that is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.datasets.pairs import Pairs, load_pairs
from casme_tf.errors import UserError, command
from casme_tf.evaluation import metrics
from casme_tf.export.artifacts import load_artifact
from casme_tf.files import atomic_file
from casme_tf.labels import CLASSES
from casme_tf.runs import (
    ARTIFACTS,
    CONFIG,
    METRICS,
    MODEL,
    PREDICTIONS,
    RUNS,
    RunRecord,
    model_file,
    read_split,
    run_folder,
)

Part = Literal["test", "validation", "train"]
"""A part of a run's split."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured and where it was written.

    Attributes:
        metrics: The content of metrics.json.
        predictions: Table as from `tabulate`.
        frames: `onset` and `apex` of the same clips in the same order, `(n, S, S, 3)` uint8.
        run: Folder of the run that the model belongs to.
        folder: Folder with metrics.json and predictions.csv.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    frames: dict[str, np.ndarray]
    run: Path
    folder: Path

    def describe(self) -> str:
        """Return what was measured, on whom, and the figures, for the terminal."""
        measured = self.metrics
        rows = {
            name: {
                "model": f"{figure['model']:.3f}",
                "95% interval": _format_interval(figure["interval"], ".3f"),
                "largest class": f"{figure['largest_class']:.3f}",
                "gain, 95% interval": _format_interval(figure["difference"], "+.3f"),
            }
            for name, figure in measured["figures"].items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index").to_string()
        head = (
            f"{measured['clips']} {measured['part']} clips of {measured['subjects']} subjects, "
            f"protocol {measured['protocol']}, largest class {measured['largest_class']!r}; "
            "intervals by resampling subjects"
        )
        leak = measured["leak"]
        warning = [f"LEAKS: {leak}; these figures are too good"] if leak else []
        return "\n".join([head, *warning, table])


def evaluate(
    run: str | None = None,
    *,
    model: Path | None = None,
    runs: Path = RUNS,
    data_dir: Path | None = None,
    part: Part = "test",
    out: Path | None = None,
    resamples: int = 2000,
) -> Evaluation:
    """Measure a run or an artifact and write metrics.json and predictions.csv.

    Args:
        run: Name of the run; None for the one in whose folder `model` lies.
        model: A .keras file, a SavedModel folder or a .tflite file; None for the run's model.keras.
        runs: Folder of all runs.
        data_dir: Folder that `tfds build` wrote to; None for the run's own.
        part: Part of the run's split to measure on.
        out: Folder to write to; None for the run's folder, or one in its `evaluations`.
        resamples: Draws of subjects for the 95% intervals.

    Returns:
        What was measured.

    Raises:
        UserError: If there is no such run or model, or the data set has none of its clips.
    """
    if resamples < 1:
        raise UserError(f"--resamples must be at least 1. Received: {resamples}.")
    model_path, folder = _locate(run, model, runs)
    record = RunRecord.load(folder / CONFIG)
    artifact = load_artifact(model_path)
    pairs = load_pairs(data_dir or record.data_dir, artifact.frame_size)
    trained_on = record.split.get("corpus", pairs.corpus)
    if trained_on != pairs.corpus:
        raise UserError(
            f"{folder.name} must be measured on the corpus that it was trained on, {trained_on}. "
            f"Received: a data set of {pairs.corpus}. Give another with --data-dir."
        )
    split = read_split(folder)
    parts = pairs.clips.merge(split, on=["subject", "clip"], how="left")["part"]
    chosen = np.flatnonzero((parts == part).to_numpy())
    wanted = int((split["part"] == part).sum())
    if not wanted:
        raise UserError(
            f"The split of {folder.name} ({record.split['protocol']}) must have clips in the part. "
            f"Received: --part {part}, which has none. Choose another."
        )
    if len(chosen) < wanted:
        raise UserError(
            f"The data set must hold the {wanted} {part} clips of {folder.name}. Received: a "
            f"data set with {len(chosen)} of them. Give the one that the run was trained on with "
            "--data-dir."
        )
    frames = {name: array[chosen] for name, array in pairs.frames.items()}
    predictions = tabulate(pairs, chosen, artifact(frames))
    largest = record.split["train"]["classes"]
    result = {
        "model": str(model_path),
        "part": part,
        "protocol": record.split["protocol"],
        "leak": record.split["leak"],
        "epoch_chosen_on": _epoch_chosen_on(record),
        "f1": "uf1: plain mean of the classes' F1 over pooled predictions; weighted_f1: mean "
        "weighted by the number of clips of each class",
        "interval": f"95%, percentile bootstrap over subjects, {resamples} draws",
        "seed": record.train["seed"],
        "versions": record.versions,
        **summarize(predictions, max(largest, key=largest.get), resamples=resamples),
    }
    target = out or _default_folder(folder, model_path, part, own=model is None)
    _write(target, result, predictions)
    return Evaluation(result, predictions, frames, folder, target)


def evaluate_artifacts(
    run: str,
    *,
    runs: Path = RUNS,
    data_dir: Path | None = None,
    part: Part = "test",
    out: Path | None = None,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Measure a run's model and each of its artifacts on the same clips.

    Args:
        run: Name of the run.
        runs: Folder of all runs.
        data_dir: Folder that `tfds build` wrote to; None for the run's own.
        part: Part of the run's split to measure on.
        out: Folder to write to, one folder a model file; None for the run's own.
        resamples: Draws of subjects for the 95% intervals.

    Returns:
        One row a model file: the figures, and in columns that end in `_change` how many points
        (hundredths) they are above model.keras.

    Raises:
        UserError: If there is no such run, it is not exported, or the data set has none of its
            clips.
    """
    folder = run_folder(runs, run)
    exported = [name for name in ARTIFACTS if (folder / name).exists()]
    if not exported:
        raise UserError(
            f"A run must be exported to compare its artifacts. Received: {folder}, without any. "
            f"Export it with: "
            f"{command('casme-tf', 'export', '--run', folder.name, '--runs', folder.parent)}"
        )
    rows = {}
    for name in (MODEL, *exported):
        own = None if name == MODEL else folder / name
        done = evaluate(
            run,
            model=own,
            runs=runs,
            data_dir=data_dir,
            part=part,
            out=out and out / name,
            resamples=resamples,
        )
        figures = done.metrics["figures"]
        rows[name] = {figure: values["model"] for figure, values in figures.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    change = (table - table.loc[MODEL]) * 100
    return table.join(change.add_suffix("_change"))


def tabulate(pairs: Pairs, indices: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Make the table of predictions, keyed by subject and clip.

    Args:
        pairs: The data set.
        indices: `(n,)` which clips were asked about.
        probabilities: `(n, classes)`.

    Returns:
        Columns subject, clip, y_true, y_pred (class names) and one probability a class.
    """
    names = np.asarray(CLASSES)
    table = pairs.clips.iloc[indices][["subject", "clip"]].reset_index(drop=True)
    table["y_true"] = names[pairs.labels[indices]]
    table["y_pred"] = names[probabilities.argmax(axis=1)]
    return table.assign(**{name: probabilities[:, i] for i, name in enumerate(CLASSES)})


def summarize(
    predictions: pd.DataFrame,
    largest_class: str,
    *,
    classes: Sequence[str] = CLASSES,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute every figure, its interval, and the same for always answering the largest class.

    Args:
        predictions: Table as from `tabulate`.
        largest_class: The most frequent class of the training part.
        classes: Names of the classes, in the order of the confusion matrix.
        resamples: Draws of subjects.
        seed: Seed of the draws.

    Returns:
        `clips`, `subjects`, `largest_class`, `figures` by name, `classes` with precision, recall
        and F1, and `confusion` (rows: true class).
    """
    index = {name: i for i, name in enumerate(classes)}
    y_true = predictions["y_true"].map(index).to_numpy()
    y_pred = predictions["y_pred"].map(index).to_numpy()
    subjects = predictions["subject"].to_numpy()
    ours = metrics.by_subject(y_true, y_pred, subjects, len(index))
    constant = np.full_like(y_true, index[largest_class])
    baseline = metrics.by_subject(y_true, constant, subjects, len(index))

    interval = partial(metrics.subject_interval, resamples=resamples, seed=seed)
    figures = {}
    for name, statistic in metrics.STATISTICS.items():
        figures[name] = {
            "model": float(statistic(ours.sum(0))),
            "interval": [_or_none(x) for x in interval(statistic, ours)],
            "largest_class": float(statistic(baseline.sum(0))),
            "difference": [_or_none(x) for x in interval(statistic, ours, baseline)],
        }
    total = ours.sum(0)
    by_class = {
        "precision": metrics.class_precision(total),
        "recall": metrics.class_recall(total),
        "f1": metrics.class_f1(total),
    }
    return {
        "clips": len(predictions),
        "subjects": len(ours),
        "largest_class": largest_class,
        "figures": figures,
        "classes": {
            name: {key: _or_none(values[i]) for key, values in by_class.items()}
            for name, i in index.items()
        },
        "confusion": total.tolist(),
    }


def _locate(run: str | None, model: Path | None, runs: Path) -> tuple[Path, Path]:
    """Return the model and the run whose split it belongs to."""
    if model is None:
        if run is None:
            raise UserError("Give --run NAME or --model PATH. Received: neither.")
        folder = run_folder(runs, run)
        RunRecord.load(folder / CONFIG)
        return model_file(folder), folder
    home = next((x for x in model.resolve().parents if (x / CONFIG).is_file()), None)
    if run is not None:
        folder = run_folder(runs, run)
        if home is not None and home != folder.resolve():
            raise UserError(
                "A model must be measured on clips that did not train it, which its own run knows. "
                f"Received: {model}, which is of {home.name}, with --run {run}. "
                "Leave --run out."
            )
        return model, folder
    if home is not None:
        return model, home
    raise UserError(
        "A model must lie in its run's folder, which knows the clips that did not train it. "
        f"Received: {model}. Name the run with --run."
    )


def _default_folder(run: Path, model: Path, part: str, *, own: bool) -> Path:
    """The run's folder holds what its own model scored on test; all else goes beside that."""
    if own and part == "test":
        return run
    name = "saved_model" if model.is_dir() else model.name
    return run / "evaluations" / f"{name}-{part}"


def _epoch_chosen_on(record: RunRecord) -> str:
    return "the test clips" if record.split["protocol"] == "random" else "validation subjects"


def _format_interval(interval: Sequence[float | None], form: str) -> str:
    if None in interval:
        return formatting.NO_INTERVAL
    return "[" + ", ".join(format(bound, form) for bound in interval) + "]"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _write(folder: Path, result: dict[str, Any], predictions: pd.DataFrame) -> None:
    with atomic_file(folder / METRICS) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    with atomic_file(folder / PREDICTIONS) as temporary:
        predictions.to_csv(temporary, index=False, float_format="%.6f")
