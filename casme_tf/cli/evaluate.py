"""Measuring a run or its artifacts: the options, one call, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from casme_tf.cli import keywords
from casme_tf.errors import UserError
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a run, or one of its artifacts, on clips that did not train it."""

    run: str | None = None
    """Name of the run."""
    model: Path | None = None
    """A .keras file, a SavedModel folder or a .tflite file. Default: the run's model.keras."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: the one that the run was trained on."""
    runs: Path = RUNS
    """Folder of all runs."""
    part: Literal["test", "validation", "train"] = "test"
    """Which part of the run's split to measure on."""
    out: Path | None = None
    """Folder for metrics.json, predictions.csv and pictures. Default: the run's folder, or a folder
    in its `evaluations` if --model or another --part was requested."""
    resamples: int = 2000
    """Draws of subjects for the 95% intervals."""
    artifacts: bool = False
    """Measure the run's model and all its exported artifacts, side by side."""


def run(options: EvaluateConfig) -> None:
    """Measure a run or an artifact, or a run and all its artifacts."""
    from casme_tf.evaluation.evaluate import evaluate, evaluate_artifacts
    from casme_tf.evaluation.reports.html import draw_pictures
    from casme_tf.export.model_card import refresh_model_card

    if options.artifacts:
        if options.run is None or options.model is not None:
            raise UserError("--artifacts needs --run NAME, and no --model. Give the run alone.")
        table = evaluate_artifacts(**keywords(options, "model", "artifacts"))
        print("figures, and points above model.keras (_change)")
        print(table.to_string(float_format="%.3f"))
        return
    done = evaluate(**keywords(options, "artifacts"))
    draw_pictures(done.metrics, done.predictions, done.frames, done.run, done.folder)
    refresh_model_card(done.run)
    print(done.describe())
    print(done.folder)
