"""What a cross-validation is worth, in the form of metrics.json and of the table of all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.datasets.splits import PROTOCOLS
from casme_tf.errors import UserError, command
from casme_tf.evaluation.calibration import brier_score, expected_calibration_error, reliability
from casme_tf.evaluation.comparison import join_predictions
from casme_tf.evaluation.evaluate import summarize
from casme_tf.evaluation.metrics import subject_table
from casme_tf.evaluation.results import RunResults
from casme_tf.evaluation.settings import BASELINES
from casme_tf.files import atomic_file
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.runs import CONFIG, METRICS


def measure(
    predictions: pd.DataFrame, classes: Sequence[str], *, resamples: int = 2000
) -> dict[str, Any]:
    """Compute everything in metrics.json that follows from the predictions.

    The class that most of the tested clips have stands beside each figure. It is a baseline that
    knows the tested clips' classes; what training clips alone give is the architecture `majority`.

    Args:
        predictions: Table as from `cross_validate`.
        classes: Names of the classes, in order.
        resamples: Draws of subjects for the intervals. Default 2000.

    Returns:
        As `evaluate.summarize`, and `class_names`, `folds` (their number), `by_subject`,
        `calibration`, `f1` and `interval` (what these words mean).
    """
    index = {name: i for i, name in enumerate(classes)}
    y_true, y_pred = (predictions[name].map(index).to_numpy() for name in ("y_true", "y_pred"))
    probabilities = predictions[list(classes)].to_numpy(dtype=float)
    largest = classes[int(np.bincount(y_true).argmax())]
    bins = reliability(y_true, probabilities)
    return {
        "f1": "uf1: plain mean of the classes' F1 over the predictions of all folds together; "
        "weighted_f1: mean weighted by the number of clips of each class",
        "interval": f"95%, percentile bootstrap over subjects, {resamples} draws",
        **summarize(predictions, largest, classes=classes, resamples=resamples),
        "class_names": list(classes),
        "folds": int(predictions["fold"].nunique()),
        "by_subject": _records(subject_table(y_true, y_pred, predictions["subject"].to_numpy())),
        "calibration": {
            "ece": expected_calibration_error(y_true, probabilities),
            "brier": brier_score(y_true, probabilities),
            "bins": _records(bins),
        },
    }


def figures_of(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what another run's metrics.json tells of this one: value and interval by figure."""
    return {
        name: {"value": figure["model"], "interval": figure["interval"]}
        for name, figure in measured["figures"].items()
    }


def comparable_runs(run: Path) -> list[RunResults]:
    """Return the other runs in a run's folder that answered the same clips.

    Args:
        run: Folder of an evaluated run.

    Returns:
        Runs of the same protocol and part, with the same clips and true classes.

    Raises:
        UserError: If `run` itself is broken; others that are, are passed over.
    """
    ours = RunResults.load(run)
    found = []
    for folder in sorted(run.parent.iterdir()):
        if folder.name.startswith(".") or folder == run or not (folder / CONFIG).is_file():
            continue
        try:
            other = RunResults.load(folder)
            join_predictions(ours.predictions, other.predictions)
        except UserError:
            continue
        if other.classes == ours.classes and all(
            other.metrics[key] == ours.metrics[key] for key in ("protocol", "part")
        ):
            found.append(other)
    return found


def missing_baselines(run: Path, others: Iterable[RunResults]) -> str | None:
    """Say which baselines no run beside this one is, and how to make them; None if none lacks.

    Args:
        run: Folder of an evaluated run.
        others: From `comparable_runs`.
    """
    results = RunResults.load(run)
    present = {each.metrics.get("arch") for each in (results, *others)}
    missing = [arch for arch in BASELINES if arch not in present]
    protocol = results.metrics["protocol"]
    if not missing or protocol not in PROTOCOLS:
        return None
    settings = results.record.train
    options = {
        "run": f"{results.name}-beside",
        "protocol": protocol,
        "folds": settings.get("folds"),
        "scheme": settings.get("scheme"),
        "seed": results.metrics["seed"],
        "data-dir": settings.get("data_dir"),
        "runs": run.parent,
    }
    given = [(f"--{name}", value) for name, value in options.items() if value is not None]
    words = [
        "casme-tf",
        "crossval",
        "--arch",
        *BASELINES,
        *(word for pair in given for word in pair),
    ]
    return (
        f"no {', '.join(missing)} on these clips to stand beside {results.name}. Make them with: "
        f"{command(*words)}"
    )


def write_beside(run: Path, others: Iterable[RunResults]) -> None:
    """Tell in a run's metrics.json what other runs scored on the same clips.

    Args:
        run: The run's folder.
        others: From `comparable_runs`.
    """
    results = RunResults.load(run)
    beside = {other.name: figures_of(other.metrics) for other in others}
    with atomic_file(run / METRICS) as temporary:
        text = json.dumps(results.metrics | {"beside": beside}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


def tabulate_runs(rows: dict[str, dict[str, Any]]) -> str:
    """Lay out figures and intervals of several runs, one row each.

    Args:
        rows: By name of the run, what `figures_of` returns.

    Returns:
        The table as text.
    """
    table = {
        name: {FIGURE_NAMES.get(key, key): _cell(figure) for key, figure in figures.items()}
        for name, figures in rows.items()
    }
    return pd.DataFrame.from_dict(table, orient="index").to_string()


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    bounds = "too few subjects" if None in (low, high) else f"{low:.3f}, {high:.3f}"
    return f"{figure['value']:.3f} [{bounds}]"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows, fit for JSON."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
