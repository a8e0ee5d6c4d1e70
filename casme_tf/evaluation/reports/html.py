"""A run's report: one HTML file that holds all that a reader needs and loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import keras
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from casme_tf import formatting
from casme_tf.clips.frames import encode_jpeg
from casme_tf.datasets.databases import DATABASES
from casme_tf.datasets.motion_images import MOTION_IMAGES
from casme_tf.datasets.pairs import COMPOSITE, Pairs, load_pairs
from casme_tf.errors import UserError
from casme_tf.evaluation import metrics
from casme_tf.evaluation.comparison import compare
from casme_tf.evaluation.reports import figures
from casme_tf.evaluation.results import RunResults
from casme_tf.files import atomic_file
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray
from casme_tf.plotting import STYLE, image_uri, save_png
from casme_tf.runs import HISTORIES, HISTORY

__all__ = ["write_report"]

_PROTOCOLS = {
    "loso": "each subject in turn is left out of training, then tested",
    "kfold": "groups of subjects in turn are left out of training, then tested",
    "leave-one-database-out": "each database in turn is left out of training, then tested",
    "holdout-database": "one database is held out for the test",
    "subject-holdout": "some subjects are held out for the test",
    "random": "a quarter of the clips, drawn at random, is tested; subjects are in both parts",
}
_CORPORA = {
    **{name: database.title for name, database in DATABASES.items()},
    COMPOSITE: "clips of several databases",
    "stand-in": "stand-in for CASME II, drawn",
    MOTION_IMAGES: "real clips, as motion images published by others, each scaled by itself",
}
_EPOCHS = {
    None: "fixed beforehand",
    "validation subjects": "the one with the lowest loss on validation subjects",
    "the test clips": "the one with the lowest loss on the test clips themselves",
}
_NOT_SETTINGS = {"arch", "run", "runs", "data_dir", "motion_images", "seed", "overwrite"}


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


def database_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return clips, subjects and figures of each database, if there are several."""
    parts = results.metrics.get("by_database", {})
    return [{"name": name, **part} for name, part in parts.items()] if len(parts) > 1 else []


def beside_rows(results: RunResults, others: Sequence[RunResults]) -> list[dict[str, Any]]:
    """Return the figures of other runs, and the difference of this run to each."""
    rows = []
    for other in others:
        try:
            joined = results.join(other)
        except UserError as error:
            raise UserError(
                f"{other.name} cannot be compared with {results.name}. {error}"
            ) from None
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
    return rows


def class_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return for each class its clips, subjects, figures, and curve (None if it has no clip)."""
    y_true, probabilities, subjects = results.y_true, results.probabilities, results.subjects
    rows = []
    for i, (name, values) in enumerate(results.metrics["classes"].items()):
        positive = y_true == i
        curve = image = None
        if positive.any():
            curve = metrics.precision_recall(positive, probabilities[:, i], subjects)
            recall, precision = (
                float("nan") if values[key] is None else values[key]
                for key in ("recall", "precision")
            )
            image = image_uri(figures.precision_recall_figure(curve, (recall, precision)))
        rows.append(
            {
                "name": name,
                "clips": int(positive.sum()),
                "subjects": len(set(subjects[positive])),
                "answered": int((results.y_pred == i).sum()),
                **{key: values[key] for key in ("precision", "recall", "f1")},
                "curve": curve,
                "image": image,
            }
        )
    return rows


def subject_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return the accuracy of each subject, best first, and that of the largest class."""
    table = metrics.subject_table(results.y_true, results.y_pred, results.subjects)
    constant = np.full(len(results.y_true), results.classes.index(results.metrics["largest_class"]))
    table["baseline"] = metrics.subject_table(results.y_true, constant, results.subjects)[
        "accuracy"
    ]
    ranked = table.sort_values(["accuracy", "clips", "subject"], ascending=[False, False, True])
    return [{str(key): value for key, value in row.items()} for row in ranked.to_dict("records")]


def spread(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarize the accuracy by subject."""
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
    found = results.metrics["calibration"]
    bins, error, brier = pd.DataFrame(found["bins"], dtype=float), found["ece"], found["brier"]
    edges = np.append(bins["low"], bins["high"].iloc[-1])
    chance = metrics.consistency(np.minimum(probabilities.max(1), 1.0), edges)
    shares = np.bincount(y_true, minlength=len(results.classes)) / len(y_true)
    return {
        "error": error,
        "brier": brier,
        "brier_shares": 1 - float((shares**2).sum()),
        "bins": bins,
        "coverage": metrics.coverage(y_true, probabilities).to_dict("records"),
        "chance": chance,
        "image": image_uri(figures.reliability_figure(bins, chance)),
        "confidence": float(probabilities.max(1).mean()),
        "accuracy": float((results.y_true == results.y_pred).mean()),
    }


def read_histories(run: Path) -> pd.DataFrame | None:
    """Read loss and accuracy by fold and epoch, or None if the run has none."""
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


def about(results: RunResults) -> list[tuple[str, str]]:
    """Return what was run, as terms and what they were."""
    measured = results.metrics
    protocol = measured["protocol"]
    words = _PROTOCOLS.get(protocol)
    folds = "one model" if results.folds == 1 else f"{results.folds} folds, one model each"
    scheme = measured["scheme"]
    names = ", ".join(results.classes)
    chosen = measured["epoch_chosen_on"]
    sheet = results.record.split.get("coding_sheet", "")
    return [
        ("Protocol", f"{protocol}: {words}" if words else protocol),
        ("Models", folds),
        ("Architecture", _architecture(measured)),
        ("Classes", f"{scheme}: {names}" if scheme else names),
        *([("Epochs", _EPOCHS.get(chosen, str(chosen)))] if measured.get("epochs") else []),
        ("Seed", str(measured["seed"])),
        ("Data", ", ".join(filter(None, (_CORPORA[results.corpus], sheet)))),
        *([("Databases", ", ".join(results.databases))] if results.databases else []),
    ]


def _architecture(measured: dict[str, Any]) -> str:
    backbone = measured.get("backbone")
    return f"{measured['arch']}, ResNet50 {backbone}" if backbone else measured["arch"]


def part_rows(results: RunResults) -> list[dict[str, Any]]:
    """Return clips, subjects and classes of each part, if there is one division into parts."""
    parts = results.record.split.get("parts", {})
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


_KEY = ["subject", "clip"]
_QUALITY = 88  # to be looked at, not to be measured


@dataclass(frozen=True)
class ClipPictures:
    """Pictures of some clips, as `data:` addresses."""

    clips: list[dict[str, str]]
    longest: list[float]
    brightest: float
    key: str


def wrong_clips(results: RunResults, most: int = 6) -> pd.DataFrame:
    """Return the clips answered wrong, the most confident first."""
    answer = results.y_pred
    confidence = results.probabilities[np.arange(len(answer)), answer]
    table = results.predictions.assign(confidence=confidence)
    wrong = table[results.y_true != answer]
    ranked = wrong.sort_values(["confidence", *_KEY], ascending=[False, True, True])
    return ranked.head(most).reset_index(drop=True)


def clip_pictures(pairs: Pairs, clips: pd.DataFrame) -> ClipPictures:
    """Make the pictures of some clips."""
    index = pd.MultiIndex.from_frame(pairs.clips[_KEY])
    places = index.get_indexer(pd.MultiIndex.from_frame(clips[_KEY]))
    if (places < 0).any():
        lost = clips[places < 0].iloc[0]
        raise UserError(
            "The data set must hold the clips of the run. Received: one without "
            f"{lost['subject']}/{lost['clip']}. Give the one that the run was made from."
        )
    frames = {name: pairs.frames[name][places] for name in ("onset", "apex")}
    flow = _flow(frames)
    longest = np.percentile(np.linalg.norm(flow, axis=-1), 99, axis=(1, 2))
    # One scale for all, so that a faint motion looks fainter than a strong one.
    brightest = max(float(longest.max()), 0.1)
    shown = {**frames, "flow": _colors(flow, brightest)}
    encoded = [
        {
            name: _uri("jpeg", encode_jpeg(array[i], quality=_QUALITY))
            for name, array in shown.items()
        }
        for i in range(len(clips))
    ]
    return ClipPictures(encoded, longest.tolist(), brightest, _direction_key())


def draw_pictures(
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    frames: dict[str, np.ndarray],
    run: Path,
    folder: Path,
) -> list[Path]:
    """Draw confusion.png, examples.png and, of a run's own training, training.png."""
    mark = " (LEAKS SUBJECTS)" if metrics["leak"] else ""
    matrix, classes = np.asarray(metrics["confusion"]), metrics["class_names"]
    drawn = {
        "confusion.png": figures.confusion_figure(matrix, classes, mark),
        "examples.png": _examples(frames, predictions),
    }
    histories = read_histories(run)
    if histories is not None:
        validation = metrics["epoch_chosen_on"] or "validation"
        drawn["training.png"] = figures.training_figure(histories, "loss", validation)
    for name, figure in drawn.items():
        save_png(figure, folder / name)
    return [folder / name for name in drawn]


@matplotlib.rc_context(STYLE)
def _examples(frames: dict[str, np.ndarray], predictions: pd.DataFrame, rows: int = 6) -> Figure:
    """Draw some pairs: onset, apex, their difference and flow, and the prediction."""
    mixed = predictions.sample(frac=1, random_state=0)  # of different subjects
    order = mixed.groupby("y_true").cumcount().sort_values(kind="stable").index
    shown = order[:rows].sort_values()
    frames = {name: array[shown] for name, array in frames.items()}
    gray = {name: np.asarray(RGBToGray()(array))[..., 0] for name, array in frames.items()}
    flow = _flow(frames)
    longest = float(np.percentile(np.linalg.norm(flow, axis=-1), 99))
    color = _colors(flow, max(longest, 0.1))
    figure = Figure(figsize=(7.3, 1.8 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, (panels, clip) in enumerate(
        zip(grid, predictions.loc[shown].to_dict("records"), strict=True)
    ):
        panels[0].imshow(frames["onset"][row])
        panels[1].imshow(frames["apex"][row])
        panels[2].imshow(gray["apex"][row] - gray["onset"][row], cmap="RdBu", vmin=-30, vmax=30)
        panels[3].imshow(color[row])
        panels[0].set_ylabel(f"{clip['subject']}\n{clip['clip']}")
        panels[3].set_ylabel(f"true {clip['y_true']}\npredicted {clip['y_pred']}")
        panels[3].yaxis.set_label_position("right")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ("onset", "apex", "apex − onset", "flow"), strict=True):
        axes.set_title(title)
    return figure


def _flow(frames: dict[str, np.ndarray]) -> np.ndarray:
    gray = RGBToGray()
    onset, apex = (gray(keras.ops.convert_to_tensor(frames[n])) for n in ("onset", "apex"))
    return np.asarray(FarnebackFlow()([onset, apex]))


def _colors(flow: np.ndarray, brightest: float) -> np.ndarray:
    """Draw flow `(…, 2)` in color, `(…, 3)` uint8; motion of `brightest` px is the brightest."""
    color = np.asarray(FlowToColor(max_magnitude=brightest, whole_numbers=False)(flow))
    return np.clip(color.round(), 0, 255).astype(np.uint8)


def _direction_key(side: int = 96) -> str:
    """Draw a disc in which each point has the color of the direction in which it lies."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)[None]
    inside = np.linalg.norm(flow[0], axis=-1) <= 1
    rgba = np.dstack([_colors(flow, 1.0)[0], 255 * inside]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return _uri("png", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


REPORT = "report.html"

_TEMPLATES = Path(__file__).parent
_TEMPLATE = "report.html.jinja"
_FRAME_SIZE = 224  # px; of runs that do not say at which size they look


def write_report(
    run: Path,
    beside: Sequence[Path] = (),
    *,
    pairs: Pairs | None = None,
    data_dir: Path | None = None,
    frames: bool = True,
) -> Path:
    """Write report.html into the folder of an evaluated run.

    Args:
        run: The run's folder, with config.json, metrics.json, predictions.csv and, where there is
            one, histories.csv or history.csv.
        beside: Folders of other runs on the same clips, to compare it with.
        pairs: The data set, if it is loaded already. Default: read from `data_dir`.
        data_dir: Folder that `tfds build` wrote to. Default: the one that the run was made from.
        frames: Show frames of the clips that were answered wrong most confidently. Without them
            the file holds no picture of a face. Default True.

    Returns:
        The file.

    Raises:
        UserError: If a folder is no evaluated run, or its files do not belong together.
    """
    results = RunResults.load(run)
    others = [RunResults.load(other) for other in beside]

    def data_set() -> Pairs:
        return pairs or _load_pairs(results, data_dir)

    try:
        facts = _facts(results, others, data_set if frames else None)
        text = formatting.templates(_TEMPLATES, html=True).get_template(_TEMPLATE).render(facts)
    except (jinja2.UndefinedError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"The records of a run must be those that this version writes. Received: {run}, where "
            f"{type(error).__name__}: {error}. Evaluate the run again."
        ) from error
    with atomic_file(run / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run / REPORT


def _facts(
    results: RunResults, others: Sequence[RunResults], data_set: Callable[[], Pairs] | None
) -> dict[str, Any]:
    subjects = subject_rows(results)
    return {
        "name": results.name,
        "measured": results.metrics,
        "corpus": results.corpus,
        "leak": results.metrics["leak"],
        "folds": results.folds,
        "classes": results.classes,
        "about": about(results),
        "parts": part_rows(results),
        "settings": settings(results),
        "results": result_rows(results),
        "databases": database_rows(results),
        "beside": beside_rows(results, others),
        "by_class": class_rows(results),
        "subjects": subjects,
        "spread": spread(subjects),
        "calibration": calibration_facts(results),
        "training": _training(results),
        "wrong": _wrong(results, data_set),
    }


def _training(results: RunResults) -> dict[str, Any] | None:
    histories = read_histories(results.folder)
    if histories is None:
        return None
    validation = results.metrics.get("epoch_chosen_on") or "validation"
    kept = figures.kept_epochs(histories) - histories["epoch"].min() + 1
    lengths = histories.groupby("fold")["epoch"].count()
    return {
        "images": [
            {
                "measure": measure,
                "uri": image_uri(figures.training_figure(histories, measure, validation)),
            }
            for measure in ("loss", "accuracy")
            if measure in histories
        ],
        "folds": len(lengths),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "kept": None if kept.empty else [int(kept.min()), int(kept.median()), int(kept.max())],
        "validated": "val_loss" in histories and bool(histories["val_loss"].notna().any()),
    }


def _wrong(results: RunResults, data_set: Callable[[], Pairs] | None) -> dict[str, Any]:
    """Return the clips most confidently wrong, with pictures or the reason why there are none."""
    table = wrong_clips(results)
    rows = [
        {
            **{key: clip[key] for key in ("subject", "clip", "y_true", "y_pred", "confidence")},
            "truth": clip[clip["y_true"]],
        }
        for clip in table.to_dict("records")
    ]
    count = int((results.y_true != results.y_pred).sum())
    facts = {"rows": rows, "count": count, "pictures": None, "reason": None}
    if not rows:
        return facts
    if results.corpus == MOTION_IMAGES:
        return facts | {"reason": "Motion images show no faces."}
    if data_set is None:
        return facts | {"reason": "They were left out on request."}
    try:
        pairs = data_set()
        if results.corpus != pairs.corpus:
            return facts | {"reason": f"The data set at hand is another: {pairs.corpus}."}
        pictures = clip_pictures(pairs, table)
    except UserError as error:
        return facts | {"reason": f"The data set is not at hand: {_hide_home(str(error))}"}
    return facts | {"pictures": pictures}


def _load_pairs(results: RunResults, data_dir: Path | None) -> Pairs:
    made_from = results.record.train.get("data_dir")
    if data_dir is None and made_from is not None:
        data_dir = Path(made_from)
    size = int(results.record.train.get("frame_size") or _FRAME_SIZE)
    return load_pairs(data_dir, size, results.record.databases)


def _hide_home(text: str) -> str:
    """Replace the home folder, which holds a user's name, by "~"."""
    return text.replace(str(Path.home()), "~")
