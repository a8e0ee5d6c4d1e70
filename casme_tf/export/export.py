"""A run's model as SavedModel and TFLite; both take two frames and answer, and are checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from casme_tf.datasets.pairs import Pairs, load_pairs
from casme_tf.errors import UserError
from casme_tf.export.artifacts import predict_in_batches
from casme_tf.export.model_card import write_model_card
from casme_tf.export.parity import EIGHT_BITS, EXACT, HALF, describe_parity, measure_parity
from casme_tf.export.saved_model import export_saved_model
from casme_tf.export.tflite import convert_tflite
from casme_tf.files import atomic_file, explain_write_errors, locked
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
)
from casme_tf.tflite_file import add_metadata
from casme_tf.training.batches import take

TOLERANCES = dict(zip(ARTIFACTS, (EXACT, EXACT, HALF, EIGHT_BITS, EIGHT_BITS), strict=True))
"""How far each artifact's answers may be from the Keras model's."""

BEST_EFFORT = ("dynamic", "int8")
"""Number formats that are left out where they do not hold, unless they were asked for by name."""

# Compared with the Keras model: enough that a pair or two do not decide, few enough for large data.
_MIN_PAIRS, _MAX_PAIRS = 100, 200


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        run: The run's folder.
        parity: Content of parity.json.
        refused: Why each artifact that must hold was not published; empty if all were.
        left_out: Why each artifact of `BEST_EFFORT` was not published, where none asked for it.
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

    All are made and measured in a working folder. An artifact whose answers differ too much is not
    published unless `accept` has it. parity.json and model_card.md are written whatever the
    outcome.

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
    pairs = load_pairs(data_dir or record.data_dir, record.train["frame_size"])
    table = pairs.clips.merge(read_split(run), on=["subject", "clip"], how="left")
    parts = table["part"].to_numpy(str)
    if not (parts == "train").any():
        raise UserError(
            f"int8 needs training clips of {run.name} to find its ranges. Received: a data set "
            "with none of them. Give the data set that the run was trained on with --data-dir."
        )
    training = _spaced(pairs, parts == "train", calibration)
    part = "validation" if (parts == "validation").any() else "test"
    if not (parts == part).any():
        raise UserError(
            f"Artifacts are compared with the model on clips that did not train it. Received: a "
            f"data set with none of {run.name}. Give the one that it was trained on with "
            "--data-dir."
        )

    compared = _spaced(pairs, parts == part, _MAX_PAIRS)
    if (lacking := _MIN_PAIRS - len(compared["onset"])) > 0:
        more = _spaced(pairs, parts == "train", lacking)
        compared = {name: np.concatenate([compared[name], more[name]]) for name in compared}
        part = f"{part} and training"
    forms = formats or NUMBER_FORMATS

    with locked(run / ".export"), explain_write_errors(run):
        work = run / ".export"
        shutil.rmtree(work, ignore_errors=True)
        try:
            _build(model, record, training, work, forms)
            accepted = {tflite_name(form) for form in accept}
            names = [SAVED_MODEL, *(tflite_name(form) for form in forms)]
            rows, problems = _compare(model, compared, work, names, accepted)
            for name in ARTIFACTS:
                publish = name in rows and rows[name]["published"]
                _replace(work / name, run / name, publish=publish)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        parity = {
            "part": part,
            "pairs": len(compared["onset"]),
            "reference": MODEL,
            "artifacts": rows,
        }
        with atomic_file(run / PARITY) as temporary:
            temporary.write_text(json.dumps(parity, indent=2) + "\n")
        write_model_card(run)
    optional = {tflite_name(form) for form in BEST_EFFORT if form not in formats}
    return Export(
        run,
        parity,
        refused=[f"{name}: {why}" for name, why in problems.items() if name not in optional],
        left_out=[f"{name}: {why}" for name, why in problems.items() if name in optional],
    )


def load_model(path: Path) -> keras.Model:
    """Load a run's Keras model.

    Raises:
        UserError: If the file is not a model of this package.
    """
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
    folder = work / SAVED_MODEL
    folder.mkdir(parents=True)
    export_saved_model(model, folder, record.classes)
    for form, content in convert_tflite(model, training, formats).items():
        described = add_metadata(
            content,
            record.classes,
            name=f"casme_tf {record.train['arch']} ({form})",
            description="Micro-expression class of a pair of face crops, cut with one box.",
        )
        (work / tflite_name(form)).write_bytes(described)


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


def _spaced(pairs: Pairs, chosen: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """Return up to `most` of the chosen pairs, evenly spaced over the data set."""
    indices = np.flatnonzero(chosen)
    spaced = np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)
    return take(pairs.frames, indices[spaced])
