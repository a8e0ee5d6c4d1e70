"""What the weights learned from drawn fields are worth on a stand-in corpus, also if disturbed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import f1_score, precision_score, recall_score

from casme_tf import formatting
from casme_tf.cli.main import run_command
from casme_tf.clips.detector import FaceDetector
from casme_tf.clips.frames import resize
from casme_tf.datasets.motion_images import read_motion_images
from casme_tf.datasets.prepared import ARGUMENTS_FILE
from casme_tf.errors import UserError
from casme_tf.evaluation.metrics import coverage
from casme_tf.evaluation.results import summarize
from casme_tf.files import atomic_folder
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.labels import ACTION_UNITS, BLINK, MEGC3
from casme_tf.models import motion_net
from casme_tf.models.motion_net import drawn_file, pair_motion, read_training
from casme_tf.plotting import ACCENT, save_png
from casme_tf.progress import progress
from casme_tf.runs import MODEL_CARD
from casme_tf.synthetic import open_corpus
from casme_tf.synthetic.corpus import load_schedule
from casme_tf.synthetic.schedule import ScheduledClip
from scripts.lab.disturbances import DISTURBANCES, UNDISTURBED, WITHOUT_EXPRESSION, film
from scripts.lab.drawn_card import render_drawn_card

MEASUREMENTS = "measurements.json"
SENSITIVITY = "sensitivity.csv"
PICTURE = "sensitivity.png"

Key = tuple[str, float]


@dataclass(frozen=True)
class MeasurePretrainedConfig:
    """Measure the weights learned from drawn fields on a stand-in corpus, plain and disturbed."""

    corpus: Path
    """Folder that `synthesize` made, with a seed that nobody has looked at."""
    weights: Path | None = None
    """A weights.npz of `pretrain`. Default: the one of this package."""
    motion_images: Path | None = None
    """Folder of published motion images of real clips, to measure on too; see `casme-tf crossval`.
    """
    out: Path = Path("build/measured")
    """Folder to make, for measurements.json, sensitivity.csv and .png, and model_card.md."""
    limit: int | None = None
    """Measure only so many clips, evenly spaced."""
    seed: int = 0
    """Seed of the disturbances."""
    overwrite: bool = False
    """Replace the folder if it exists."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        figures: By scheme, the figures on the undisturbed clips, as from `results.summarize`.
        units: One row an action unit that occurs: its clips, precision, recall and F1.
        sensitivity: One row a scheme, disturbance and amount.
        seen: Number of clips and subjects.
        real: What `measure_real` returns; None if no real clips were measured.
    """

    figures: dict[str, dict[str, Any]]
    units: pd.DataFrame
    sensitivity: pd.DataFrame
    seen: str
    real: dict[str, Any] | None = None

    def describe(self) -> str:
        """Return everything for the terminal."""
        parts = [f"{self.seen}; nothing of them trained anything"]
        for scheme, measured in self.figures.items():
            rows = {
                FIGURE_NAMES.get(name, name): {
                    "value": f"{figure['model']:.3f}",
                    "95% interval": formatting.interval(figure["interval"]),
                    "largest class": f"{figure['largest_class']:.3f}",
                }
                for name, figure in measured["figures"].items()
            }
            table = pd.DataFrame.from_dict(rows, orient="index").to_string()
            parts.append(f"\n{scheme}: {measured['clips']} clips\n{table}")
        parts.append(f"\n{self.units.to_string(index=False, float_format='%.3f')}")
        parts.append(f"\n{self.sensitivity.to_string(index=False, float_format='%.3f')}")
        if self.real is not None:
            uf1 = self.real["figures"]["uf1"]
            parts.append(
                f"\n{self.real['clips']} real clips of {self.real['subjects']} subjects: "
                f"UF1 {uf1['model']:.3f} {formatting.interval(uf1['interval'])}; "
                f"{self.real['clear_share']:.0%} are called clear, and "
                f"{self.real['clear_right']:.0%} of these are right"
            )
        return "\n".join(parts)


def measure_pretrained(config: MeasurePretrainedConfig) -> Measured:
    """Measure drawn weights on a stand-in corpus, as it is and disturbed.

    Args:
        config: Which; see `MeasurePretrainedConfig`.

    Returns:
        What was measured; it is also written to `config.out`, with the weights' model card.

    Raises:
        UserError: If there is no such corpus, or a frame is missing.
    """
    weights = config.weights or drawn_file()
    motion_net.threshold(weights=weights)  # complains before the corpus is read
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        disturbed = disturb_corpus(config.corpus, limit=config.limit, seed=config.seed)
        measured = judge(disturbed, weights)
        if config.motion_images is not None:
            measured = replace(measured, real=measure_real(config.motion_images, weights))
        measured.sensitivity.to_csv(folder / SENSITIVITY, index=False, float_format="%.4f")
        save_png(sensitivity_figure(measured.sensitivity), folder / PICTURE)
        record = {
            "corpus": json.loads((config.corpus / ARGUMENTS_FILE).read_text(encoding="utf-8")),
            "seed": config.seed,
            "clips": len(disturbed.clips),
            "figures": measured.figures,
            "units": measured.units.to_dict("records"),
            "sensitivity": measured.sensitivity.replace({np.nan: None}).to_dict("records"),
            "real": measured.real,
        }
        (folder / MEASUREMENTS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        card = render_drawn_card(read_training(weights), record)
        (folder / MODEL_CARD).write_text(card, encoding="utf-8")
    return measured


def measure_real(folder: Path, weights: Path) -> dict[str, Any]:
    """Measure drawn weights on published motion of real clips, without training.

    Args:
        folder: Motion images; see `read_motion_images`.
        weights: A weights.npz of `pretrain`.

    Returns:
        Content of `results.summarize`, `databases`, the `threshold` of a clear expression, the
        share that is called clear (`clear_share`), how many of these are right (`clear_right`), and
        `coverage`.
    """
    clips = read_motion_images(folder)
    probabilities = motion_net.load(MEGC3.name, weights=weights).predict(
        clips.frames["motion"], verbose=0
    )
    named = np.asarray(clips.classes)
    table = pd.DataFrame(
        {
            "subject": clips.subjects,
            "y_true": clips.class_names,
            "y_pred": named[probabilities.argmax(1)],
        }
    )
    largest = table["y_true"].mode()[0]
    threshold = motion_net.threshold(MEGC3.name, weights=weights)
    clear = probabilities.max(1) >= threshold
    right = (table["y_true"] == table["y_pred"]).to_numpy()
    return {
        **summarize(table, largest, classes=clips.classes),
        "databases": list(clips.databases),
        "threshold": threshold,
        "clear_share": float(clear.mean()),
        "clear_right": float(right[clear].mean()),
        "coverage": coverage(clips.labels, probabilities).to_dict("records"),
    }


@dataclass(frozen=True)
class Disturbed:
    """Motion of the clips of a corpus under every disturbance.

    Attributes:
        clips: What each clip shows.
        motion: `(clips, 28, 28, 3)` float32 by name and amount of the disturbance.
    """

    clips: list[ScheduledClip]
    motion: dict[Key, np.ndarray]


def disturb_corpus(root: Path, *, limit: int | None = None, seed: int = 0) -> Disturbed:
    """Compute the motion of a corpus's clips, as they are and disturbed.

    Args:
        root: Folder that `synthesize` made.
        limit: Take only so many clips, evenly spaced. Default: all.
        seed: Seed of the disturbances.

    Raises:
        UserError: If there is no such corpus, or a frame is missing.
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit must be at least 1 clip. Received: {limit}.")
    corpus, schedule = open_corpus(root), load_schedule(root)
    count = min(limit or len(schedule.clips), len(schedule.clips))
    clips = [schedule.clips[i] for i in np.linspace(0, len(schedule.clips) - 1, count).astype(int)]
    keys = [(name, amount) for name, entry in DISTURBANCES.items() for amount in entry[1]]
    compute = tf.function(pair_motion(motion_net.FRAME))
    found: dict[Key, list[np.ndarray]] = {key: [] for key in keys}
    with FaceDetector() as detector:
        for clip in progress(clips, desc="disturbing clips", unit="clip"):
            filmed = film(corpus.raw, schedule, clip, detector, seed)
            pairs = [DISTURBANCES[name][0](filmed, amount) for name, amount in keys]
            frames = {
                name: np.stack([resize(pair[i], motion_net.FRAME) for pair in pairs])
                for i, name in enumerate(("onset", "apex"))
            }
            for key, motion in zip(keys, compute(frames).numpy(), strict=True):
                found[key].append(motion)
    return Disturbed(clips, {key: np.stack(motion) for key, motion in found.items()})


def judge(disturbed: Disturbed, weights: Path) -> Measured:
    """Run a recognizer on the motion of a corpus.

    Args:
        disturbed: From `disturb_corpus`.
        weights: A weights.npz of `pretrain`.
    """
    clips, motion = disturbed.clips, disturbed.motion
    acts = _true_units(clips)
    detector = motion_net.load_action_units(weights=weights)
    predicted = {key: detector(x)["action_units"].numpy() for key, x in motion.items()}
    figures, rows = {}, []
    for name, scheme in motion_net.DRAWN_SCHEMES.items():
        model = motion_net.load(name, weights=weights)
        clear = motion_net.threshold(name, weights=weights)
        kept, labels = scheme.select(clip.emotion for clip in clips)
        answers = {key: model(x[kept]).numpy() for key, x in motion.items()}
        usual = answers[UNDISTURBED].argmax(axis=1)
        figures[name] = _figures([clips[i] for i in kept], labels, usual, scheme.classes)
        for key, probabilities in answers.items():
            likely, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
            expressed = key[0] not in WITHOUT_EXPRESSION
            rows.append(
                {
                    "scheme": name,
                    "disturbance": key[0],
                    "amount": key[1],
                    "unit": DISTURBANCES[key[0]][2],
                    "accuracy": (likely == labels).mean() if expressed else np.nan,
                    "confidence": sure.mean(),
                    "called clear": (sure >= clear).mean(),
                    "same answer": (likely == usual).mean(),
                    "units F1": _unit_f1(acts, predicted[key]) if expressed else np.nan,
                }
            )
    subjects = len({clip.subject for clip in clips})
    return Measured(
        figures,
        _unit_table(acts, predicted[UNDISTURBED]),
        pd.DataFrame(rows),
        f"{len(clips)} stand-in clips of {subjects} drawn subjects",
    )


def _figures(
    clips: list[ScheduledClip], labels: np.ndarray, likely: np.ndarray, classes: tuple[str, ...]
) -> dict[str, Any]:
    names = np.array(classes)
    table = pd.DataFrame(
        {
            "subject": [clip.subject for clip in clips],
            "clip": [clip.name for clip in clips],
            "y_true": names[labels],
            "y_pred": names[likely],
        }
    )
    return summarize(table, str(names[np.bincount(labels).argmax()]), classes=classes)


def _true_units(clips: list[ScheduledClip]) -> np.ndarray:
    """Return which of `ACTION_UNITS` act in which clip, on any side: `(clips, units)` bool."""
    acts = np.zeros((len(clips), len(ACTION_UNITS)), bool)
    for row, clip in zip(acts, clips, strict=True):
        row[[ACTION_UNITS.index(unit.number) for unit in clip.units]] = True
    return acts


def _unit_f1(acts: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean F1 over the units that occur; blinks are no part of a clip's truth."""
    occur = np.flatnonzero(acts.any(axis=0))
    return float(
        np.mean([f1_score(acts[:, j], probabilities[:, j] >= 0.5, zero_division=0) for j in occur])
    )


def _unit_table(acts: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    rows = []
    for j, unit in enumerate(ACTION_UNITS):
        if unit == BLINK or not acts[:, j].any():
            continue
        truth, predicted = acts[:, j], probabilities[:, j] >= 0.5
        rows.append(
            {
                "unit": unit,
                "clips": int(truth.sum()),
                "precision": precision_score(truth, predicted, zero_division=0),
                "recall": recall_score(truth, predicted),
                "F1": f1_score(truth, predicted, zero_division=0),
            }
        )
    return pd.DataFrame(rows)


_CURVES = {
    "crop off": (0.0, "crop off, share of its sides"),
    "scale": (1.0, "face times as large"),
    "noise": (0.0, "noise added, gray levels"),
    "intensity": (1.0, "share of the apex's motion"),
}
"""Disturbances of an expression: the amount at which there is none, and the axis."""


@matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
def sensitivity_figure(table: pd.DataFrame) -> Figure:
    """Draw accuracy and mean confidence by the amount of each disturbance.

    Args:
        table: Columns scheme, disturbance, amount, accuracy, confidence and called clear, as in
            sensitivity.csv.

    Returns:
        One row of panels a scheme; the last panel has what is no expression.
    """
    schemes = list(dict.fromkeys(table["scheme"]))
    figure = Figure(figsize=(11.5, 2.6 * len(schemes)), layout="constrained")
    panels = figure.subplots(len(schemes), len(_CURVES) + 1, squeeze=False)
    for row, scheme in zip(panels, schemes, strict=True):
        rows = table[table["scheme"] == scheme]
        usual = rows[rows["disturbance"] == "as it is"]
        for axes, (name, (zero, label)) in zip(row, _CURVES.items(), strict=False):
            curve = pd.concat([rows[rows["disturbance"] == name], usual.assign(amount=zero)])
            curve = curve.sort_values("amount")
            for measure, line, color in zip(("accuracy", "confidence"), "-:", ACCENT, strict=True):
                axes.plot(
                    curve["amount"], curve[measure], line, marker="o", ms=3, c=color, label=measure
                )
            axes.set(xlabel=label, ylim=(0, 1.02))
        row[0].set_ylabel(scheme)
        row[0].legend(loc="lower left", frameon=False)
        _bars(row[-1], rows[rows["accuracy"].isna()])
    return figure


def _bars(axes: Axes, rows: pd.DataFrame) -> None:
    names = [f"{row.disturbance}, {row.amount:g}" for row in rows.itertuples()]
    axes.barh(names, rows["called clear"], color=ACCENT[0], label="called clear")
    axes.plot(rows["confidence"], names, "o", ms=3, c=ACCENT[1], label="confidence")
    axes.invert_yaxis()
    axes.set(xlabel="no expression", xlim=(0, 1))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False)


def main(config: MeasurePretrainedConfig) -> None:
    """Measure, and print what was found and where it was written."""
    print(measure_pretrained(config).describe())
    print(config.out)


if __name__ == "__main__":
    sys.exit(run_command(MeasurePretrainedConfig, main))
