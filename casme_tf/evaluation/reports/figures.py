"""Figures of the report and of comparisons, one panel each; they know no run and no model."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casme_tf.evaluation.metrics import GRID, Consistency, PrecisionRecall
from casme_tf.plotting import ACCENT, INK, MUTED, PALE, STYLE, panel


@matplotlib.rc_context(STYLE)
def precision_recall_figure(curve: PrecisionRecall, operating: tuple[float, float]) -> Figure:
    """Draw the curve of one class with its band and the precision of answering at random."""
    figure, axes = panel(2.3, 2.2)
    axes.fill_between(GRID, *curve.band, color=ACCENT[0], alpha=0.14, linewidth=0)
    axes.axhline(curve.share, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    found = curve.recall > 0
    axes.plot(
        np.concatenate([[0.0], curve.recall[found]]),
        np.concatenate([curve.precision[found][:1], curve.precision[found]]),
        drawstyle="steps-pre",
        color=ACCENT[0],
        linewidth=1.5,
        clip_on=False,
    )
    axes.plot(*operating, "o", color=ACCENT[1], markersize=5.5, clip_on=False, zorder=4)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _quarters(axes)
    return figure


@matplotlib.rc_context(STYLE)
def reliability_figure(bins: pd.DataFrame, chance: Consistency) -> Figure:
    """Draw how often answers of each confidence were right, above how many there are of each."""
    figure = Figure(figsize=(3.6, 3.9), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    filled = bins[bins["clips"] > 0]
    low, high = (side[filled.index] for side in (chance.low, chance.high))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.vlines(filled["confidence"], low, high, color=PALE, linewidth=7)
    area = 14 + 120 * filled["clips"] / filled["clips"].max()
    axes.scatter(
        filled["confidence"], filled["accuracy"], area, color=ACCENT[0], zorder=3, clip_on=False
    )
    axes.set(ylabel="share right", ylim=(-0.02, 1.02))
    _quarters(axes)
    width = bins["high"] - bins["low"]
    below.bar(bins["low"], bins["clips"], width=width * 0.92, align="edge", color=ACCENT[0])
    for low, high, clips in filled[["low", "high", "clips"]].to_numpy():
        below.text((low + high) / 2, clips, f"{clips:.0f}", ha="center", va="bottom", size=7)
    below.set(xlabel="probability of the class answered", ylabel="clips", xlim=(0, 1))
    below.set_ylim(0, max(filled["clips"]) * 1.35)
    below.set_yticks([])
    return figure


@matplotlib.rc_context(STYLE)
def training_figure(histories: pd.DataFrame, measure: str, validation: str) -> Figure:
    """Draw one measure by epoch: all folds thin, their mean bold, and the epochs kept."""
    figure, axes = panel(4.2, 2.7)
    several = histories["fold"].nunique() > 1
    first = histories["epoch"].min()
    for column, label, color in (
        (measure, "training", ACCENT[0]),
        (f"val_{measure}", validation, ACCENT[1]),
    ):
        if column not in histories or histories[column].isna().all():
            continue
        table = histories.pivot(index="epoch", columns="fold", values=column)
        epochs = table.index - first + 1
        dot = "o" if len(table) == 1 else ""
        if several:
            axes.plot(epochs, table, color=color, linewidth=0.5, alpha=0.35, marker=dot)
        mean = table.mean(axis=1).where(table.notna().all(axis=1))
        label = f"{label}, mean of folds" if several else label
        axes.plot(epochs, mean, color=color, linewidth=1.9, label=label, marker=dot)
    kept = kept_epochs(histories)
    if not several and len(kept):
        epoch = kept.iloc[0] - first + 1
        axes.axvline(epoch, color=INK, linewidth=0.8, linestyle=":", label=f"kept: epoch {epoch}")
    axes.set(xlabel="epoch", ylabel=measure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(*((0, 1.02) if measure == "accuracy" else (0, None)))
    axes.legend()
    return figure


def kept_epochs(histories: pd.DataFrame) -> pd.Series:
    """Return the epoch with the lowest validation loss by fold; empty if nothing was validated."""
    if "val_loss" not in histories or histories["val_loss"].isna().all():
        return pd.Series(dtype=int)
    measured = histories.dropna(subset=["val_loss"])
    best = measured.loc[measured.groupby("fold")["val_loss"].idxmin()]
    return best.set_index("fold")["epoch"]


@matplotlib.rc_context(STYLE)
def comparison_figure(
    differences: pd.DataFrame, subjects: pd.DataFrame, names: tuple[str, str], mark: str = ""
) -> Figure:
    """Draw the differences of two runs, and the difference in accuracy of each subject."""
    heights = 1.7, 0.6 + 0.19 * len(subjects)
    figure = Figure(figsize=(7, 0.4 + sum(heights)), layout="constrained")
    figure.suptitle(f"{names[0]} against {names[1]}{mark}", fontsize=10, weight="bold")
    above, below = figure.subplots(2, 1, height_ratios=heights)
    rows = np.arange(len(differences))[::-1]
    for axes in (above, below):
        axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    above.hlines(rows, differences["low"], differences["high"], color=ACCENT[0], linewidth=2)
    above.plot(differences["difference"], rows, "o", color=ACCENT[0], markersize=6)
    above.set_yticks(rows, list(differences.index))
    above.set_ylim(-0.6, len(rows) - 0.4)
    _symmetric(above, differences[["low", "high", "difference"]].to_numpy())
    above.set_title("all subjects, 95% interval", fontsize=8.5)
    above.set_xlabel(_sides(*names))

    places = np.arange(len(subjects))[::-1]
    change = (subjects["first"] - subjects["second"]).to_numpy()
    colors = np.where(change > 0, ACCENT[0], np.where(change < 0, ACCENT[1], MUTED))
    below.hlines(places, 0, change, color=colors, linewidth=1.2)
    below.scatter(change, places, s=6 + 4 * subjects["clips"], color=colors, zorder=3)
    below.set_yticks(places, _with_clips(subjects), fontsize=7)
    below.set_ylim(-0.7, len(places) - 0.3)
    _symmetric(below, change)
    below.set_title("accuracy by subject (clips)", fontsize=8.5)
    below.set_xlabel(_sides(*names))
    return figure


def _quarters(axes: Axes) -> None:
    ticks = (0, 0.25, 0.5, 0.75, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, ["0", ".25", ".5", ".75", "1"])
        axis.grid(color="#e8edf0", linewidth=0.6)
    axes.set_axisbelow(True)


def _symmetric(axes: Axes, values: np.ndarray) -> None:
    reach = float(np.nanmax(np.abs(values), initial=0.05)) * 1.12
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))


def _sides(first: str, second: str) -> str:
    return f"← {_short(second)} better    {_short(first)} better →"


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _with_clips(subjects: pd.DataFrame) -> Sequence[str]:
    pairs = zip(subjects["subject"], subjects["clips"], strict=True)
    return [f"{subject} ({clips})" for subject, clips in pairs]


@matplotlib.rc_context(STYLE)
def confusion_figure(matrix: np.ndarray, classes: Sequence[str], mark: str = "") -> Figure:
    """Draw a confusion matrix: counts, shaded by the share of the true class."""
    figure, axes = panel(4.0, 3.7)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="GnBu", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        shade = "white" if share[row, column] > 0.6 else INK
        axes.text(column, row, f"{count}", ha="center", va="center", color=shade)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{int(np.trace(matrix))} of {int(matrix.sum())} correct{mark}")
    return figure
