"""Results of runs: the figures of predictions, metrics.json written and read, runs compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.datasets.splits import PROTOCOLS
from casme_tf.errors import UserError, command
from casme_tf.evaluation import metrics
from casme_tf.evaluation.comparison import join_predictions
from casme_tf.evaluation.settings import BASELINES
from casme_tf.files import atomic_file
from casme_tf.runs import CONFIG, METRICS, PREDICTIONS, RunRecord

__all__ = ["RunResults"]

_KEYS = ["subject", "clip"]
_ANSWERS = ["y_true", "y_pred"]
_TEXT = {name: str for name in (*_KEYS, *_ANSWERS, "fold")}
_REQUIRED = {"arch", "part", "protocol", "scheme", "leak", "clips", "subjects", "largest_class"}
_REQUIRED |= {"figures", "classes", "confusion", "seed", "versions", "f1", "interval"}
_REQUIRED |= {"epoch_chosen_on", "by_subject", "calibration"}


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
        """Corpus of the clips, a database, `stand-in`, `composite` or `motion-images`."""
        return self.record.split["corpus"]

    @property
    def databases(self) -> list[str]:
        """Databases of the clips, if figures are reported of each."""
        return list(self.metrics.get("by_database", {}))

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
        """Join the answers of another run to the same clips; see `comparison.join_predictions`."""
        if self.corpus != other.corpus:  # the stand-in has the names of the real one's clips
            raise UserError(
                "Two runs can be compared on one corpus only. Received: "
                f"{self.name} on {self.corpus} and {other.name} on {other.corpus}. "
                "Train both on one."
            )
        return join_predictions(self.predictions, other.predictions)

    def _index(self, column: str) -> np.ndarray:
        places = {name: i for i, name in enumerate(self.classes)}
        return self.predictions[column].map(places).to_numpy(dtype=np.int64)


def measure(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    largest_class: str | None = None,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Compute everything in metrics.json that follows from predictions."""
    index = {name: i for i, name in enumerate(classes)}
    y_true, y_pred = (predictions[name].map(index).to_numpy() for name in ("y_true", "y_pred"))
    probabilities = predictions[list(classes)].to_numpy(dtype=float)
    largest = largest_class or classes[int(np.bincount(y_true).argmax())]
    bins = metrics.reliability(y_true, probabilities)
    return {
        "f1": "uf1: plain mean of the classes' F1 over the predictions of all folds together; "
        "weighted_f1: mean weighted by the number of clips of each class",
        "interval": f"95%, percentile bootstrap over subjects, {resamples} draws",
        **summarize(predictions, largest, classes=classes, resamples=resamples),
        "class_names": list(classes),
        "folds": int(predictions["fold"].nunique()),
        "by_subject": _records(
            metrics.subject_table(y_true, y_pred, predictions["subject"].to_numpy())
        ),
        "calibration": {
            "ece": metrics.expected_calibration_error(y_true, probabilities),
            "brier": metrics.brier_score(y_true, probabilities),
            "bins": _records(bins),
            "coverage": _records(metrics.coverage(y_true, probabilities)),
        },
    }


def summarize(
    predictions: pd.DataFrame, largest_class: str, *, classes: Sequence[str], resamples: int = 2000
) -> dict[str, Any]:
    """Compute every figure, its interval, and the same for always answering the largest class."""
    index = {name: i for i, name in enumerate(classes)}
    y_true = predictions["y_true"].map(index).to_numpy()
    y_pred = predictions["y_pred"].map(index).to_numpy()
    subjects = predictions["subject"].to_numpy()
    ours = metrics.by_subject(y_true, y_pred, subjects, len(index))
    constant = np.full_like(y_true, index[largest_class])
    baseline = metrics.by_subject(y_true, constant, subjects, len(index))

    interval = partial(metrics.subject_interval, resamples=resamples)
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


def write_results(
    folder: Path,
    predictions: pd.DataFrame,
    record: RunRecord,
    *,
    model: str,
    part: str = "test",
    largest_class: str | None = None,
    epoch_chosen_on: str | None = None,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Measure predictions, and write metrics.json and predictions.csv into a folder."""
    measured = {
        "model": model,
        "arch": record.train["arch"],
        "part": part,
        "protocol": record.split["protocol"],
        "scheme": record.train.get("scheme"),
        "backbone": record.train.get("backbone"),
        "leak": record.split["leak"],
        "epoch_chosen_on": epoch_chosen_on,
        "epochs": record.train.get("epochs"),
        "seed": record.train["seed"],
        "versions": record.versions,
        **measure(predictions, record.classes, largest_class=largest_class, resamples=resamples),
    }
    if databases := record.split.get("databases"):
        measured["by_database"] = {
            name: summarize(
                predictions[of_database(predictions["subject"], name)],
                measured["largest_class"],
                classes=record.classes,
                resamples=resamples,
            )
            for name in databases
            if of_database(predictions["subject"], name).any()
        }
    with atomic_file(folder / METRICS) as temporary:
        temporary.write_text(json.dumps(measured, indent=2) + "\n")
    with atomic_file(folder / PREDICTIONS) as temporary:
        predictions.to_csv(temporary, index=False, float_format="%.6f")
    return measured


def of_database(subjects: pd.Series, name: str) -> pd.Series:
    """Return which subjects are of a database; they are named `DATABASE/SUBJECT`."""
    return subjects.str.startswith(f"{name}/")


def comparable_runs(run: Path) -> list[RunResults]:
    """Return the other runs in a run's folder that answered the same clips."""
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
    """Return which baselines are missing and how to make them; None if all are there."""
    results = RunResults.load(run)
    present = {each.metrics.get("arch") for each in (results, *others)}
    missing = [arch for arch in BASELINES if arch not in present]
    protocol = results.metrics["protocol"]
    if not missing or protocol not in PROTOCOLS:
        return None
    settings = results.record.train
    options = {
        "run": f"{results.name}-baselines",
        "protocol": protocol,
        "folds": settings.get("folds"),
        "scheme": settings.get("scheme"),
        "seed": results.metrics["seed"],
        "data-dir": settings.get("data_dir"),
        "motion-images": settings.get("motion_images"),
        "runs": run.parent,
    }
    words = [x for k, v in options.items() if v is not None for x in (f"--{k}", v)]
    if settings.get("motion_images"):
        words += ["--databases", *results.databases] if results.databases else []
    elif results.record.databases != ("casme2",):
        words += ["--data", *results.record.databases]
    return (
        f"no {', '.join(missing)} on these clips to compare {results.name} with. Make them with: "
        f"{command('casme-tf', 'crossval', '--arch', *BASELINES, *words)}"
    )


def _read_metrics(path: Path) -> dict[str, Any]:
    with _of_this_version(path):
        # NaN is a figure that could not be computed, as null is.
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        missing = _REQUIRED - set(content)
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))}")
    return content


def _read_predictions(path: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    with _of_this_version(path):
        # A subject 01 keeps its zero, and a class or clip called NA its name.
        table = pd.read_csv(path, dtype=_TEXT, keep_default_na=False)
        missing = [name for name in (*_KEYS, *_ANSWERS, *classes) if name not in table]
        if missing or table.empty:
            raise ValueError(f"no column {', '.join(missing)}" if missing else "no clips")
        unknown = np.setdiff1d(table[_ANSWERS].to_numpy(dtype=str), classes)
        if unknown.size:
            raise ValueError(f"the class {unknown[0]!r}, which {METRICS} does not have")
        numbers = table[list(classes)].apply(pd.to_numeric)
        if not np.isfinite(numbers.to_numpy(dtype=float)).all():
            raise ValueError("a probability that is no number")
    return table.assign(**{name: numbers[name] for name in classes})


@contextmanager
def _of_this_version(path: Path) -> Iterator[None]:
    """Explain an error while a file of results is read."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} must be what this version writes. Received: {error}. Evaluate the run again."
        ) from None


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows, fit for JSON."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
