"""What a model answers on clips that it has not seen, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.arrays import rows_of
from casme_tf.datasets.pairs import load_pairs, select_clips
from casme_tf.errors import UserError, command
from casme_tf.evaluation.results import write_results
from casme_tf.export.artifacts import load_artifact
from casme_tf.runs import (
    ARTIFACTS,
    CONFIG,
    MODEL,
    RUNS,
    RunRecord,
    model_file,
    read_split,
    run_folder,
)

__all__ = ["Evaluation", "evaluate"]

Part = Literal["test", "validation", "train"]
"""A part of a run's split."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured and where it was written.

    Attributes:
        metrics: The content of metrics.json.
        predictions: Content of predictions.csv.
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
        """Return the clips, the protocol and the figures, for the terminal."""
        measured = self.metrics
        rows = {
            name: {
                "model": formatting.number(figure["model"]),
                "95% interval": formatting.interval(figure["interval"]),
                "largest class": formatting.number(figure["largest_class"]),
                "gain, 95% interval": formatting.interval(figure["difference"], "+.3f"),
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
    pairs = load_pairs(data_dir or record.data_dir, artifact.frame_size, record.databases)
    trained_on = record.split.get("corpus", pairs.corpus)
    if trained_on != pairs.corpus:
        raise UserError(
            f"{folder.name} must be measured on the corpus that it was trained on, {trained_on}. "
            f"Received: a data set of {pairs.corpus}. Give another with --data-dir."
        )
    split = read_split(folder)
    clips = select_clips(pairs, record.train["scheme"])
    keys = pd.DataFrame({"subject": clips.subjects, "clip": clips.names})
    parts = keys.merge(split, on=["subject", "clip"], how="left")["part"]
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
    frames = rows_of(clips.frames, chosen)
    probabilities = artifact(frames)
    names = np.asarray(record.classes)
    table = pd.DataFrame({"subject": clips.subjects[chosen], "clip": clips.names[chosen]})
    table = table.assign(
        fold="",
        y_true=names[clips.labels[chosen]],
        y_pred=names[probabilities.argmax(axis=1)],
        **{name: probabilities[:, i] for i, name in enumerate(record.classes)},
    )
    counts = record.split["parts"]["train"]["classes"]
    target = out or _default_folder(folder, model_path, part, own=model is None)
    measured = write_results(
        target,
        table,
        record,
        model=str(model_path),
        part=part,
        largest_class=max(counts, key=counts.get),
        epoch_chosen_on=_epoch_chosen_on(record, split),
        resamples=resamples,
    )
    return Evaluation(measured, table, frames, folder, target)


def evaluate_artifacts(
    run: str, *, runs: Path = RUNS, out: Path | None = None, **options: Any
) -> pd.DataFrame:
    """Measure a run's model and each of its artifacts on the same clips."""
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
        done = evaluate(
            run,
            model=None if name == MODEL else folder / name,
            runs=runs,
            out=out and out / name,
            **options,
        )
        rows[name] = {key: values["model"] for key, values in done.metrics["figures"].items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    change = (table - table.loc[MODEL]) * 100
    return table.join(change.add_suffix("_change"))


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
    """Return the run's folder for the test figures of its own model, else one below it."""
    if own and part == "test":
        return run
    name = "saved_model" if model.is_dir() else model.name
    return run / "evaluations" / f"{name}-{part}"


def _epoch_chosen_on(record: RunRecord, split: pd.DataFrame) -> str | None:
    if not record.train.get("choose_epoch"):
        return None
    return "validation subjects" if (split["part"] == "validation").any() else "the test clips"
