"""What a run scored: its record, its figures and its predictions, checked against one another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.errors import UserError, command
from casme_tf.evaluation import metrics
from casme_tf.evaluation.comparison import join_predictions
from casme_tf.runs import CONFIG, METRICS, PREDICTIONS, RunRecord

_KEYS = ["subject", "clip"]
_ANSWERS = ["y_true", "y_pred"]
_TEXT = {name: str for name in (*_KEYS, *_ANSWERS, "fold")}
_REQUIRED = {"part", "protocol", "leak", "clips", "subjects", "largest_class", "figures"}
_REQUIRED |= {"classes", "confusion", "seed", "versions", "f1", "interval"}


@dataclass(frozen=True)
class RunResults:
    """The results of an evaluated run.

    Attributes:
        folder: The run's folder.
        record: Content of config.json.
        metrics: Content of metrics.json.
        predictions: Content of predictions.csv: subject, clip, y_true, y_pred (class names), one
            probability a class, and `fold` if it is of a cross-validation.
        classes: Names of the classes, in the order of the confusion matrix.
    """

    folder: Path
    record: RunRecord
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.resolve().name

    @property
    def subjects(self) -> np.ndarray:
        """`(n,)` subject of each clip."""
        return self.predictions["subject"].to_numpy(dtype=object)

    @property
    def y_true(self) -> np.ndarray:
        """`(n,)` int index of each clip's true class."""
        return self._index("y_true")

    @property
    def y_pred(self) -> np.ndarray:
        """`(n,)` int index of the class answered for each clip."""
        return self._index("y_pred")

    @property
    def probabilities(self) -> np.ndarray:
        """`(n, C)` float probability of each class."""
        return self.predictions[list(self.classes)].to_numpy(dtype=float)

    @property
    def folds(self) -> int:
        """Number of models whose answers these are."""
        return self.predictions["fold"].nunique() if "fold" in self.predictions else 1

    @property
    def corpus(self) -> str:
        """Corpus of the clips, one of `prepared.CORPORA`, or "unknown" in older runs."""
        return self.record.split.get("corpus", "unknown")

    @classmethod
    def load(cls, run: Path) -> RunResults:
        """Read the results of a run.

        Args:
            run: The run's folder.

        Returns:
            The results.

        Raises:
            UserError: If there is no such run, it is not evaluated, or a file in it is broken or
                of another evaluation than the rest.
        """
        record = RunRecord.load(run / CONFIG)
        for name in (METRICS, PREDICTIONS):
            if not (run / name).is_file():
                raise UserError(
                    f"A run must have been evaluated. Received: {run}, which has no {name}. "
                    f"Evaluate it with: "
                    f"{command('casme-tf', 'evaluate', '--run', run.name, '--runs', run.parent)}"
                )
        measured = _read_metrics(run / METRICS)
        classes = tuple(measured["classes"])
        predictions = _read_predictions(run / PREDICTIONS, classes)
        results = cls(run, record, measured, predictions, classes)
        matrix = metrics.confusion(results.y_true, results.y_pred, len(classes))
        if matrix.tolist() != measured["confusion"]:
            raise UserError(
                f"{METRICS} and {PREDICTIONS} must be of one evaluation. Received: {run}, where "
                "their confusion matrices differ. Evaluate the run again."
            )
        return results

    def join(self, other: RunResults) -> pd.DataFrame:
        """Join the answers of another run to the same clips; see `comparison.join_predictions`.

        Raises:
            UserError: If the other run answered other clips, or has other classes.
        """
        corpora = {self.corpus, other.corpus} - {"unknown"}
        if len(corpora) > 1:  # the stand-in has the names of the real one's clips
            raise UserError(
                "Two runs can be compared on one corpus only. Received: "
                f"{self.name} on {self.corpus} and {other.name} on {other.corpus}. "
                "Train both on one."
            )
        return join_predictions(self.predictions, other.predictions)

    def _index(self, column: str) -> np.ndarray:
        places = {name: i for i, name in enumerate(self.classes)}
        return self.predictions[column].map(places).to_numpy(dtype=np.int64)


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        # NaN is a figure that could not be computed, as null is.
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be JSON. Received: {error}. Evaluate the run again."
        ) from None
    missing = _REQUIRED - set(content) if isinstance(content, dict) else _REQUIRED
    if missing:
        raise UserError(
            f"{path} must be what this version writes. Received: no {', '.join(sorted(missing))}. "
            "Evaluate the run again."
        )
    return content


def _read_predictions(path: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    try:
        # A subject 01 keeps its zero, and a class or clip called NA its name.
        table = pd.read_csv(path, dtype=_TEXT, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be a table of predictions. Received: {error}. Evaluate the run again."
        ) from None
    missing = [name for name in (*_KEYS, *_ANSWERS, *classes) if name not in table]
    if missing or table.empty:
        received = f"no column {', '.join(missing)}" if missing else "no clips"
        raise UserError(
            f"{path} must have the answers for each clip. Received: {received}. "
            "Evaluate the run again."
        )
    strangers = np.setdiff1d(table[_ANSWERS].to_numpy(dtype=str), classes)
    if strangers.size:
        raise UserError(
            f"{path} must have classes of {METRICS}, {', '.join(classes)}. "
            f"Received: {strangers[0]!r}. Evaluate the run again."
        )
    numbers = table[list(classes)].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy(dtype=float)).all():
        raise UserError(
            f"{path} must have a probability for each clip and class. Received: a cell that is no "
            "number. Evaluate the run again."
        )
    return table.assign(**{name: numbers[name] for name in classes})
