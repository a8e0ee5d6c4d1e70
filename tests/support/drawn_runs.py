"""Folders of cross-validated runs, whose answers are drawn and whose figures are computed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.evaluation import metrics
from casme_tf.evaluation.results import summarize
from casme_tf.labels import CLASSES
from casme_tf.runs import RunRecord, versions


def draw_predictions(
    skill: float, seed: int, *, subjects: int = 12, clips: int = 8
) -> pd.DataFrame:
    """Draw answers of a leave-one-subject-out run; the clips are the same for each seed."""
    of_clip = np.random.default_rng(99)
    names = np.repeat([f"sub{i + 1:02d}" for i in range(subjects)], clips)
    y_true = of_clip.choice(4, len(names), p=[0.4, 0.35, 0.15, 0.1])
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(len(names), 4)) + skill * np.eye(4)[y_true]
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    shares = shares.round(6)
    table = pd.DataFrame(
        {
            "subject": names,
            "clip": [f"EP{i % clips + 1:02d}" for i in range(len(names))],
            "fold": names,
            "y_true": np.asarray(CLASSES)[y_true],
            "y_pred": np.asarray(CLASSES)[shares.argmax(1)],
        }
    )
    return table.assign(**{name: shares[:, i] for i, name in enumerate(CLASSES)})


def draw_histories(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Draw a training of 5 to 8 epochs for each fold."""
    rng = np.random.default_rng(seed)
    tables = []
    for fold in predictions["fold"].unique():
        epochs = np.arange(rng.integers(5, 9))
        values = {name: rng.random(len(epochs)) for name in ("loss", "val_loss", "accuracy")}
        tables.append(pd.DataFrame({"fold": fold, "epoch": epochs, **values}))
    return pd.concat(tables, ignore_index=True)


def write_run(
    folder: Path, predictions: pd.DataFrame, *, corpus: str = "stand-in", **changes: Any
) -> Path:
    """Write config.json, predictions.csv and metrics.json of a leave-one-subject-out run.

    Args:
        folder: The run's folder, to be made.
        predictions: Its answers.
        corpus: Corpus in its record.
        **changes: Content of metrics.json to replace.
    """
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False, float_format="%.6f")
    leak = changes.get("leak")
    record = RunRecord(
        {"arch": "ststnet", "data_dir": str(folder / "nowhere"), "seed": 3, "epochs": 8},
        list(CLASSES),
        {"corpus": corpus, "protocol": "loso", "leak": leak},
        versions(),
    )
    record.save(folder / "config.json")
    index = {name: i for i, name in enumerate(CLASSES)}
    y_true, y_pred = (predictions[name].map(index).to_numpy() for name in ("y_true", "y_pred"))
    shares = predictions[list(CLASSES)].to_numpy()
    table = metrics.subject_table(y_true, y_pred, predictions["subject"].to_numpy())
    content = {
        "model": str(folder / "folds"),
        "part": "test",
        "protocol": "loso",
        "leak": leak,
        "epoch_chosen_on": None,
        "epochs": 8,
        "f1": "uf1: plain mean of the classes' F1 over pooled predictions",
        "interval": "95%, percentile bootstrap over subjects, 300 draws",
        "seed": 3,
        "versions": versions(),
        **summarize(predictions, "negative", classes=CLASSES, resamples=300),
        "arch": "ststnet",
        "scheme": "four",
        "class_names": list(CLASSES),
        "folds": predictions["fold"].nunique(),
        "by_subject": table.to_dict("records"),
        "calibration": {
            "ece": metrics.expected_calibration_error(y_true, shares),
            "brier": metrics.brier_score(y_true, shares),
            "bins": metrics.reliability(y_true, shares).to_dict("records"),
        },
    }
    (folder / "metrics.json").write_text(json.dumps(content | changes))
    return folder
