"""How far spotted apexes are off on a stand-in corpus, as noise and head motion rise."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from casme_tf.cli.main import run_command
from casme_tf.clips.apex import Method, spot_apex
from casme_tf.clips.detector import FaceDetector
from casme_tf.clips.frames import MemoryFrames
from casme_tf.clips.tracking import FaceTracker
from casme_tf.datasets.prepared import ARGUMENTS_FILE
from casme_tf.errors import UserError
from casme_tf.files import atomic_folder
from casme_tf.plotting import ACCENT, STYLE, save_png
from casme_tf.progress import progress
from casme_tf.synthetic.corpus import load_schedule
from casme_tf.synthetic.motion import NOISE, render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import Schedule

METHODS: tuple[Method, ...] = ("flow", "ten-cell")
MIDDLE = "middle frame"
FPS = 200.0  # of the stand-in corpus
RESAMPLES = 2000

_COLORS = {"flow": ACCENT[0], "ten-cell": ACCENT[1], MIDDLE: "#8a97a1"}


@dataclass(frozen=True)
class MeasureApexConfig:
    """Measure how far spotted apexes are off on stand-in clips, as noise and head motion rise."""

    corpus: Path
    """Folder that `synthesize` made; 65 frames a clip are about what CASME II has."""
    out: Path = Path("build/apex")
    """Folder to make, for apex.csv, apex.json and apex.png."""
    limit: int | None = 40
    """Measure only so many clips, evenly spaced."""
    noise: tuple[float, ...] = (6, 12, 24)
    """Standard deviations of the frames' noise, gray levels; corpora are drawn with 1.2, which is
    measured too."""
    head: tuple[float, ...] = (5, 20, 40)
    """Factors of the head's motion; 1 is how corpora are drawn."""
    workers: int | None = None
    """Processes. Default: the number of cores."""
    overwrite: bool = False
    """Replace the folder if it exists."""


@dataclass(frozen=True)
class ApexErrors:
    """What was measured.

    Attributes:
        clips: One row a clip, level and method: columns subject, clip, noise (gray levels), head
            (px that heads usually move from onset to offset), method, frames (how far off),
            clearness.
        table: One row a level and method: mean error with 95% interval (subjects resampled) and
            median, frames; mean, ms; and the factor by which it is smaller than that of the middle
            frame.
        frames: Frames of a clip.
    """

    clips: pd.DataFrame
    table: pd.DataFrame
    frames: int

    def describe(self) -> str:
        """Return it for the terminal."""
        shape = f"{self.clips.groupby(['subject', 'clip']).ngroups} stand-in clips of {self.frames}"
        table = self.table.to_string(index=False, float_format="%.2f")
        return f"{shape} frames at {FPS} frames a second; error of the apex\n{table}"


def measure_apex(config: MeasureApexConfig) -> ApexErrors:
    """Render a corpus's clips with more and more noise and head motion, and spot their apexes.

    Clips run from onset to offset, and the methods know this, as in preparation.

    Args:
        config: Which corpus and how much; see `MeasureApexConfig`.

    Returns:
        The errors; they are also written to `config.out`, with a plot.

    Raises:
        UserError: If there is no such corpus, or an argument is out of range.
    """
    schedule = load_schedule(config.corpus)
    if config.limit is not None and config.limit < 1:
        raise UserError(f"--limit must be at least 1. Received: {config.limit}.")
    if min((*config.noise, *config.head)) < 0:
        raise UserError("--noise and --head must not be negative. Received: less than 0.")
    count = min(config.limit or len(schedule.clips), len(schedule.clips))
    chosen = np.linspace(0, len(schedule.clips) - 1, count).astype(int)
    levels = [(NOISE, 1.0), *((noise, 1.0) for noise in config.noise)]
    levels += [(NOISE, head) for head in config.head]
    levels = list(dict.fromkeys(levels))
    tasks = [(config.corpus, int(index), levels) for index in chosen]
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        bar = progress(
            _map(_measure_clip, tasks, config.workers), "spotting apexes", count, unit="clip"
        )
        clips = pd.DataFrame([row for rows in bar for row in rows])
        clips["head"] *= _usual_drift(schedule)
        measured = ApexErrors(clips, _summary(clips), schedule.frames)
        clips.to_csv(folder / "apex.csv", index=False)
        record = {
            "corpus": json.loads((config.corpus / ARGUMENTS_FILE).read_text(encoding="utf-8")),
            "clips": count,
            "fps": FPS,
            "errors": measured.table.replace([np.inf, np.nan], None).to_dict("records"),
        }
        (folder / "apex.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        save_png(apex_figure(measured), folder / "apex.png")
    return measured


@matplotlib.rc_context(STYLE)
def apex_figure(measured: ApexErrors) -> Figure:
    """Draw the mean error by nuisance, with its interval."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    units = {"noise": "noise, gray levels", "head": "usual way of heads over a clip, px"}
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (column, label) in zip(panels, units.items(), strict=True):
        other = next(name for name in units if name != column)
        rows = measured.table[measured.table[other] == measured.table[other].min()]
        for method, color in _COLORS.items():
            each = rows[rows["method"] == method].sort_values(column)
            amount = each[column]
            axes.fill_between(amount, each["low"], each["high"], color=color, alpha=0.15)
            axes.plot(amount, each["mean"], "o-", color=color, markersize=4, label=method)
        axes.set(xlabel=label, xscale="log", ylim=(0, None))
        axes.set_xticks(rows[column].unique(), [f"{x:.3g}" for x in rows[column].unique()])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("error of the apex, frames")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(f"stand-in clips of {measured.frames} frames", fontsize=9)
    return figure


def _measure_clip(
    task: tuple[Path, int, list[tuple[float, float]]],
) -> list[dict[str, object]]:
    """Spot the apex of one clip, rendered again at every level."""
    corpus, index, levels = task
    schedule = load_schedule(corpus)
    clip = schedule.clips[index]
    portrait = paint_portrait(schedule.traits(clip.subject), schedule.portrait_rng(clip.subject))
    motion = schedule.motion(clip)
    rows = []
    with FaceDetector() as detector:
        for noise, head in levels:
            x, y, roll = (value * head for value in motion.drift)
            wander = motion.wander[0] * head, motion.wander[1] * head
            moved = replace(motion, drift=(x, y, roll), wander=wander)
            frames = list(render_clip(portrait, moved, schedule.sensor_rng(clip), noise))
            tracker = FaceTracker(detector)
            for frame in MemoryFrames(frames, FPS).between():
                tracker.add(frame)
            track = tracker.finish()
            guesses = {MIDDLE: ((schedule.frames - 1) // 2, np.nan)}
            for method in METHODS:
                found = spot_apex(track, method, onset=0, trimmed=True)
                guesses[method] = found.apex, found.clearness
            rows += [
                {
                    "subject": clip.subject,
                    "clip": clip.name,
                    "noise": noise,
                    "head": head,
                    "method": method,
                    "frames": abs(apex - clip.apex),
                    "clearness": clearness,
                }
                for method, (apex, clearness) in guesses.items()
            ]
    return rows


def _map(function: Callable, tasks: list, workers: int | None) -> Iterator:
    """Map in processes; rendering and following a face hold Python's lock for much of the time."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        yield from processes.map(function, tasks)


def _usual_drift(schedule: Schedule) -> float:
    """Return the median way of the heads from onset to offset as drawn, px."""
    ways = [np.hypot(*schedule.motion(clip).drift[:2]) for clip in schedule.clips]
    return float(np.median(ways))


def _summary(clips: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (noise, head), level in clips.groupby(["noise", "head"], sort=False):
        middle = level.loc[level["method"] == MIDDLE, "frames"].mean()
        for method in _COLORS:
            errors = level[level["method"] == method]
            low, high = _interval(errors)
            mean = errors["frames"].mean()
            rows.append(
                {
                    "noise": noise,
                    "head": head,
                    "method": method,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "median": errors["frames"].median(),
                    "ms": mean * 1000 / FPS,
                    "better by": middle / mean if mean else np.inf,
                }
            )
    return pd.DataFrame(rows)


def _interval(errors: pd.DataFrame) -> tuple[float, float]:
    """Return the 95% interval of the mean error, subjects resampled."""
    groups = errors.groupby("subject")["frames"]
    sums, counts = groups.sum().to_numpy(), groups.count().to_numpy()
    if len(sums) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (sums, counts),
        lambda total, clips, axis=-1: total.sum(axis=axis) / clips.sum(axis=axis),
        n_resamples=RESAMPLES,
        method="percentile",
        paired=True,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def main(config: MeasureApexConfig) -> None:
    """Measure, and print what was found and where it was written."""
    print(measure_apex(config).describe())
    print(config.out)


if __name__ == "__main__":
    sys.exit(run_command(MeasureApexConfig, main))
