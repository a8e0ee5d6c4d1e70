"""What the report says, in numbers and words, gathered from the results of runs; draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.errors import UserError
from casme_tf.evaluation import metrics
from casme_tf.evaluation.calibration import (
    Consistency,
    brier_score,
    consistency,
    expected_calibration_error,
    reliability,
)
from casme_tf.evaluation.comparison import compare
from casme_tf.evaluation.metrics import precision_recall
from casme_tf.evaluation.results import RunResults
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.runs import HISTORY

HISTORIES = "histories.csv"
"""Loss and accuracy by fold and epoch, where there are several folds."""

_PROTOCOLS = {
    "loso": "each person in turn is left out of training and tested by a model that never saw them",
    "kfold": "groups of people in turn are left out of training and tested",
    "subject-holdout": "some people are kept for the test and are in no other part",
    "random": "a quarter of the clips, drawn at random, is tested; people are in both parts",
}
_CORPORA = {"casme2": "CASME II", "stand-in": "stand-in for CASME II, drawn"}
_PARTS = ("train", "validation", "test")
_EPOCHS = {
    None: "fixed beforehand",
    "validation subjects": "the one with the lowest loss on validation subjects",
    "the test clips": "the one with the lowest loss on the test clips themselves",
}
_NOT_SETTINGS = {"arch", "run", "runs", "data_dir", "seed", "overwrite"}


def result_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return each figure with its interval and what always answering one class gives."""
    return [
        {
            "key": key,
            "title": FIGURE_NAMES.get(key, key),
            "value": figure["model"],
            "interval": figure["interval"],
            "baseline": figure["largest_class"],
            "difference": figure["model"] - figure["largest_class"],
            "gain": figure["difference"],
        }
        for key, figure in results.metrics["figures"].items()
    ]


def beside_rows(results: RunResults, others: Sequence[RunResults]) -> list[dict[str, Any]]:
    """Return the figures of other runs, and how far this one is above those given whole.

    Args:
        results: This run.
        others: Other runs; they must have answered the same clips.

    Raises:
        UserError: If another run answered other clips, or has other classes.
    """
    rows = []
    for other in others:
        try:
            joined = results.join(other)
        except UserError as error:
            raise UserError(f"{other.name} cannot stand beside {results.name}. {error}") from None
        index = {name: i for i, name in enumerate(results.classes)}
        y_true, ours, theirs = (
            joined[name].map(index).to_numpy(dtype=np.int64)
            for name in ("y_true", "first", "second")
        )
        subjects = joined["subject"].to_numpy()
        paired = compare(y_true, ours, theirs, subjects, len(results.classes))
        figures = {
            key: {"value": figure["model"], "interval": figure["interval"]}
            for key, figure in other.metrics["figures"].items()
        }
        rows.append(
            {
                "name": other.name,
                "leak": bool(other.metrics["leak"]),
                "figures": figures,
                "minus": {"difference": paired["uf1"].difference, "gain": paired["uf1"].interval},
            }
        )
    told = {row["name"] for row in rows} | {results.name}
    for name, figures in results.metrics.get("beside", {}).items():
        if name not in told:
            rows.append({"name": name, "leak": False, "figures": figures, "minus": None})
    return rows


def class_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return for each class its clips, people, figures, and curve (None if it has no clip)."""
    y_true, probabilities, subjects = results.y_true, results.probabilities, results.subjects
    rows = []
    for i, (name, values) in enumerate(results.metrics["classes"].items()):
        positive = y_true == i
        curve = None
        if positive.any():
            curve = precision_recall(positive, probabilities[:, i], subjects)
        rows.append(
            {
                "name": name,
                "clips": int(positive.sum()),
                "subjects": len(set(subjects[positive])),
                "answered": int((results.y_pred == i).sum()),
                **{key: values[key] for key in ("precision", "recall", "f1")},
                "curve": curve,
            }
        )
    return rows


def operating_point(row: dict[str, Any]) -> tuple[float, float]:
    """Return recall and precision of a class's answers, NaN where there is none."""
    recall, precision = (
        float("nan") if row[name] is None else row[name] for name in ("recall", "precision")
    )
    return recall, precision


def subject_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return how each person fared, best first, and what always answering one class gives."""
    table = metrics.subject_table(results.y_true, results.y_pred, results.subjects)
    constant = np.full(len(results.y_true), results.classes.index(results.metrics["largest_class"]))
    table["baseline"] = metrics.subject_table(results.y_true, constant, results.subjects)[
        "accuracy"
    ]
    ranked = table.sort_values(["accuracy", "clips", "subject"], ascending=[False, False, True])
    return [{str(key): value for key, value in row.items()} for row in ranked.to_dict("records")]


def spread(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarize the accuracy by person."""
    values = np.array([row["accuracy"] for row in rows])
    low, median, high = np.percentile(values, [25, 50, 75])
    return {
        "least": values.min(),
        "low": low,
        "median": median,
        "high": high,
        "most": values.max(),
        "mean": values.mean(),
        "behind": sum(row["accuracy"] < row["baseline"] for row in rows),
    }


def calibration_facts(results: RunResults) -> dict[str, Any]:
    """Return error and score of the probabilities, the bins, and what chance alone would make."""
    y_true, probabilities = results.y_true, results.probabilities
    told = results.metrics.get("calibration")
    if told is None:
        bins = reliability(y_true, probabilities)
        error = expected_calibration_error(y_true, probabilities)
        brier = brier_score(y_true, probabilities)
    else:
        bins, error, brier = pd.DataFrame(told["bins"], dtype=float), told["ece"], told["brier"]
    edges = np.append(bins["low"], bins["high"].iloc[-1])
    chance: Consistency = consistency(np.minimum(probabilities.max(1), 1.0), edges)
    shares = np.bincount(y_true, minlength=len(results.classes)) / len(y_true)
    return {
        "error": error,
        "brier": brier,
        "brier_shares": 1 - float((shares**2).sum()),
        "bins": bins,
        "chance": chance,
        "confidence": float(probabilities.max(1).mean()),
        "accuracy": float((results.y_true == results.y_pred).mean()),
    }


def read_histories(run: Path) -> pd.DataFrame | None:
    """Read loss and accuracy by fold and epoch, or None if the run has none.

    Raises:
        UserError: If the table is broken.
    """
    for path in (run / HISTORIES, run / HISTORY):
        if not path.is_file():
            continue
        try:
            table = pd.read_csv(path, dtype={"fold": str})
            table = table if "fold" in table else table.assign(fold="")
            table = table.astype({"epoch": int, "loss": float})
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} must be a table of epochs. Received: {error}. Train the run again."
            ) from None
        if table.duplicated(["fold", "epoch"]).any():
            raise UserError(
                f"{path} must have each epoch of a fold once. Received: one twice. "
                "Train the run again."
            )
        return None if table.empty else table
    return None


def about(results: RunResults, corpus: str) -> list[tuple[str, str]]:
    """Return what was run, as terms and what they were."""
    measured, record = results.metrics, results.record
    protocol = measured["protocol"]
    words = _PROTOCOLS.get(protocol)
    folds = "one model" if results.folds == 1 else f"{results.folds} folds, one model each"
    scheme = measured.get("scheme") or record.train.get("scheme")
    names = ", ".join(results.classes)
    chosen = measured.get("epoch_chosen_on")
    return [
        ("Protocol", f"{protocol}: {words}" if words else protocol),
        ("Models", folds),
        ("Architecture", str(measured.get("arch") or record.train.get("arch", "not recorded"))),
        ("Classes", f"{scheme}: {names}" if scheme else names),
        ("Epochs", _EPOCHS.get(chosen, str(chosen))),
        ("Seed", str(measured["seed"])),
        ("Data", _CORPORA.get(corpus, "not recorded")),
    ]


def part_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return clips, people and classes of each part, if there is one division into parts."""
    split = results.record.split
    parts = {name: split[name] for name in _PARTS if isinstance(split.get(name), dict)}
    return [
        {
            "name": name,
            "clips": part["clips"],
            "subjects": len(part["subjects"]),
            "classes": [part["classes"].get(label, 0) for label in results.classes],
        }
        for name, part in parts.items()
        if part.get("clips")
    ]


def settings(results: RunResults) -> list[tuple[str, str]]:
    """Return the settings of the command, without folders, which are of one machine alone."""
    given = results.record.train
    return [(name, _setting(given[name])) for name in given if name not in _NOT_SETTINGS]


def _setting(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    text = str(value)
    return Path(text).name if Path(text).is_absolute() else text
