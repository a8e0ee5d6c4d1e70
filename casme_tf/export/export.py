"""A run's model as SavedModel and TFLite; both take two frames and answer, and are checked."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from casme_tf.arrays import Pair, rows_of
from casme_tf.datasets.pairs import SchemeClips, load_pairs, select_clips
from casme_tf.errors import UserError
from casme_tf.export.artifacts import load_artifact, predict_in_batches
from casme_tf.export.conversion import convert_tflite, export_saved_model
from casme_tf.export.model_card import write_model_card
from casme_tf.files import atomic_file, atomic_folder, locked
from casme_tf.progress import progress
from casme_tf.runs import (
    ARTIFACTS,
    CONFIG,
    MODEL,
    NUMBER_FORMATS,
    PARITY,
    RUNS,
    SAVED_MODEL,
    RunRecord,
    model_file,
    read_split,
    run_folder,
    tflite_name,
    versions,
    working_folder,
)
from casme_tf.tflite_file import add_metadata

__all__ = ["Export", "export_run"]


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact's answers may be from the Keras model's."""

    largest_difference: float | None = None
    mean_difference: float | None = None
    agreement: float = 0.0
    margin: float = 0.0


# Two probabilities may each move by the tolerated difference, one up, the other down.
EXACT = Tolerance(largest_difference=1e-3, margin=2e-3)
HALF = Tolerance(largest_difference=2e-2, margin=4e-2)
EIGHT_BITS = Tolerance(mean_difference=0.03, agreement=0.97, margin=0.06)


@dataclass(frozen=True)
class Parity:
    """How an artifact's answers compare with the Keras model's on the same pairs."""

    largest_difference: float
    mean_difference: float
    agreement: float
    bytes: int
    ms_per_pair: float

    def beyond(self, tolerance: Tolerance) -> list[str]:
        """Say what is beyond the tolerance; empty if nothing is."""
        problems = []
        for name in ("largest_difference", "mean_difference"):
            found, limit = getattr(self, name), getattr(tolerance, name)
            # Written so that NaN is beyond any limit.
            if limit is not None and not found <= limit:
                problems.append(f"{name.replace('_', ' ')} {found:.2g}, at most {limit:g}")
        if not self.agreement >= tolerance.agreement:
            problems.append(
                f"{self.agreement:.1%} same answers, at least {tolerance.agreement:.0%}"
            )
        return problems


def measure_parity(
    path: Path, frames: Pair, expected: np.ndarray, *, margin: float = 0.0
) -> Parity:
    """Compare the predictions of an artifact, one pair at a time."""
    artifact = load_artifact(path)
    answers, times = [], []
    for i in progress(
        range(len(expected)),
        desc=f"checking {path.name if path.is_file() else path.parent.name}",
        unit="pair",
    ):
        pair = {name: array[i : i + 1] for name, array in frames.items()}
        began = time.perf_counter()
        answers.append(artifact(pair)[0])
        times.append(time.perf_counter() - began)
    difference = np.abs(np.stack(answers) - expected)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    same = (np.argmax(answers, axis=1) == expected.argmax(axis=1)) | (first - second <= margin)
    return Parity(
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        agreement=float(same.mean()),
        bytes=_size(path),
        ms_per_pair=round(float(np.median(times)) * 1e3, 2),
    )


def describe_parity(artifacts: dict[str, dict[str, Any]]) -> str:
    """Return the table of all artifacts in parity.json for the terminal."""
    rows = {
        name: {
            "largest difference": f"{row['largest_difference']:.1e}",
            "mean": f"{row['mean_difference']:.1e}",
            "same answers": f"{row['agreement']:.1%}",
            "MB": f"{row['bytes'] / 1e6:.1f}",
            "ms a pair": f"{row['ms_per_pair']:.1f}",
            "within tolerance": "yes" if row["within_tolerance"] else "NO",
            "published": "yes" if row["published"] else "NO",
        }
        for name, row in artifacts.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


TOLERANCES = dict(zip(ARTIFACTS, (EXACT, EXACT, HALF, EIGHT_BITS, EIGHT_BITS), strict=True))
"""How far each artifact's answers may be from the Keras model's."""

BEST_EFFORT = ("dynamic", "int8")
"""Number formats that are left out where they are not accurate, unless requested by name."""

# Compared with the Keras model: enough that a pair or two do not decide, few enough for large data.
_MIN_PAIRS, _MAX_PAIRS = 100, 200


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        run: The run's folder.
        parity: Content of parity.json.
        refused: Why each artifact that must hold was not published; empty if all were.
        left_out: Why each artifact of `BEST_EFFORT` was not published, if not requested.
    """

    run: Path
    parity: dict[str, Any]
    refused: list[str]
    left_out: list[str]

    def describe(self) -> str:
        """Return how the artifacts' answers compare with the Keras model's, for the terminal."""
        head = (
            f"{self.parity['pairs']} {self.parity['part']} pairs, each artifact's probabilities "
            f"against {self.parity['reference']}"
        )
        return f"{head}\n{describe_parity(self.parity['artifacts'])}"


def export_run(
    name: str,
    *,
    runs: Path = RUNS,
    data_dir: Path | None = None,
    calibration: int = 200,
    formats: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> Export:
    """Export a run's model, compare every artifact with it, and publish those that agree.

    All are made and measured in a working folder; an interrupted export continues with the
    artifacts that are missing there. An artifact whose answers differ too much is not published
    unless `accept` has it. parity.json and model_card.md are written whatever the outcome.

    Args:
        name: Name of the run.
        runs: Folder of all runs.
        data_dir: Folder that `tfds build` wrote to; None for the run's own.
        calibration: Training pairs, at most, that set the ranges of the int8 model.
        formats: Number formats of the TFLite files, of `NUMBER_FORMATS`; none named: all of them,
            and those of `BEST_EFFORT` are left out if they do not agree.
        accept: Number formats to publish even if their answers differ too much.

    Returns:
        What was written into the run's folder: the SavedModel, the TFLite files of
        `formats`, parity.json and model_card.md.

    Raises:
        UserError: If there is no such run, or its clips are not at hand.
    """
    run = run_folder(runs, name)
    record = RunRecord.load(run / CONFIG)
    if calibration < 1:
        raise UserError(f"--calibration must be at least 1 pair. Received: {calibration}.")
    model = load_model(model_file(run))
    pairs = load_pairs(data_dir or record.data_dir, record.train["frame_size"], record.databases)
    clips = select_clips(pairs, record.train["scheme"])
    table = pd.DataFrame({"subject": clips.subjects, "clip": clips.names})
    parts = table.merge(read_split(run), on=["subject", "clip"], how="left")["part"].to_numpy(str)
    if not (parts == "train").any():
        raise UserError(
            f"int8 needs training clips of {run.name} to find its ranges. Received: a data set "
            "with none of them. Give the data set that the run was trained on with --data-dir."
        )
    training = _spaced(clips, parts == "train", calibration)
    part = "validation" if (parts == "validation").any() else "test"
    if not (parts == part).any():
        raise UserError(
            f"Artifacts are compared with the model on clips that did not train it. Received: a "
            f"data set with none of {run.name}. Give the one that it was trained on with "
            "--data-dir."
        )

    compared = _spaced(clips, parts == part, _MAX_PAIRS)
    if (lacking := _MIN_PAIRS - len(compared["onset"])) > 0:
        more = _spaced(clips, parts == "train", lacking)
        compared = {name: np.concatenate([compared[name], more[name]]) for name in compared}
        part = f"{part} and training"
    forms = formats or NUMBER_FORMATS

    settings = {"export": record.train, "calibration": calibration, "formats": list(forms)}
    settings["model"] = hashlib.blake2b(model_file(run).read_bytes()).hexdigest()
    export = RunRecord(settings, record.classes, clips.describe(), versions())
    with locked(run), working_folder(run, export, purpose="export") as work:
        _build(model, record, training, work, forms)
        accepted = {tflite_name(form) for form in accept}
        names = [SAVED_MODEL, *(tflite_name(form) for form in forms)]
        rows, problems = _compare(model, compared, work, names, accepted)
        for name in ARTIFACTS:
            publish = name in rows and rows[name]["published"]
            _replace(work / name, run / name, publish=publish)
        parity = {
            "part": part,
            "pairs": len(compared["onset"]),
            "reference": MODEL,
            "artifacts": rows,
        }
        with atomic_file(run / PARITY) as temporary:
            temporary.write_text(json.dumps(parity, indent=2) + "\n")
        write_model_card(run)
        shutil.rmtree(work)
    optional = {tflite_name(form) for form in BEST_EFFORT if form not in formats}
    return Export(
        run,
        parity,
        refused=[f"{name}: {why}" for name, why in problems.items() if name not in optional],
        left_out=[f"{name}: {why}" for name, why in problems.items() if name in optional],
    )


def load_model(path: Path) -> keras.Model:
    """Load a run's Keras model."""
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path} must be a Keras model of this package: {error}.") from error


def _build(
    model: keras.Model,
    record: RunRecord,
    training: dict[str, np.ndarray],
    work: Path,
    formats: Sequence[str],
) -> None:
    """Make the artifacts that an interrupted export did not."""
    if not (work / SAVED_MODEL).exists():
        with atomic_folder(work / SAVED_MODEL) as folder:
            export_saved_model(model, folder, record.classes)
    missing = [form for form in formats if not (work / tflite_name(form)).exists()]
    for form, content in convert_tflite(model, training, missing):
        described = add_metadata(
            content,
            record.classes,
            name=f"casme_tf {record.train['arch']} ({form})",
            description="Micro-expression class of a pair of face crops, cut with one box.",
        )
        with atomic_file(work / tflite_name(form)) as temporary:
            temporary.write_bytes(described)


def _compare(
    model: keras.Model,
    frames: dict[str, np.ndarray],
    work: Path,
    names: Sequence[str],
    accepted: set[str],
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Measure artifacts; also return why those that may not be published may not."""
    expected = predict_in_batches(model, frames)
    rows: dict[str, dict[str, Any]] = {}
    problems = {}
    for name in names:
        tolerance = TOLERANCES[name]
        parity = measure_parity(work / name, frames, expected, margin=tolerance.margin)
        beyond = parity.beyond(tolerance)
        rows[name] = {
            **asdict(parity),
            "within_tolerance": not beyond,
            "published": not beyond or name in accepted,
        }
        if not rows[name]["published"]:
            problems[name] = "; ".join(beyond)
    return rows, problems


def _replace(built: Path, final: Path, *, publish: bool) -> None:
    """Put what was built in place of what an earlier export left, or take that away."""
    earlier = built.with_name(f"{built.name}.earlier")
    if final.exists():
        final.rename(earlier)
    if publish:
        final.parent.mkdir(parents=True, exist_ok=True)
        built.rename(final)


def _spaced(clips: SchemeClips, chosen: np.ndarray, most: int) -> Pair:
    """Return up to `most` of the chosen pairs, evenly spaced over the data set."""
    indices = np.flatnonzero(chosen)
    spaced = np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)
    return rows_of(clips.frames, indices[spaced])
