"""Pictures of a run: its confusion matrix, its training, and pairs with their flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from casme_tf.files import atomic_file
from casme_tf.labels import CLASSES
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray
from casme_tf.runs import HISTORY

_INK = "#22303c"
_ACCENT = ("#1f6f8b", "#d1793f")


def draw_pictures(
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    frames: dict[str, np.ndarray],
    run: Path,
    folder: Path,
) -> list[Path]:
    """Draw confusion.png, examples.png and, of a run's own training, training.png.

    Args:
        metrics: Content of metrics.json.
        predictions: Content of predictions.csv.
        frames: `onset` and `apex` of the same clips in the same order, `(n, S, S, 3)` uint8.
        run: Folder of the run, for its history.
        folder: Where to write.

    Returns:
        The files written.
    """
    written = [folder / "confusion.png", folder / "examples.png"]
    mark = " (LEAKS SUBJECTS)" if metrics["leak"] else ""
    draw_confusion(np.asarray(metrics["confusion"]), CLASSES, written[0], mark)
    draw_examples(frames, predictions, written[1])
    if (run / HISTORY).is_file():
        written.append(folder / "training.png")
        draw_history(pd.read_csv(run / HISTORY), written[-1], metrics["epoch_chosen_on"], mark)
    return written


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path, mark: str = "") -> None:
    """Draw a confusion matrix: counts, shaded by the share of the true class.

    Args:
        matrix: `(C, C)` int; row: true class.
        classes: Names of the classes.
        path: PNG file to write.
        mark: Appended to the title.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="GnBu", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        shade = "white" if share[row, column] > 0.6 else _INK
        axes.text(column, row, f"{count}", ha="center", va="center", color=shade)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title(f"{int(np.trace(matrix))} of {int(matrix.sum())} right{mark}", fontsize=10)
    _save(figure, path)


def draw_history(
    history: pd.DataFrame, path: Path, chosen_on: str = "validation subjects", mark: str = ""
) -> None:
    """Draw loss and accuracy by epoch, and the epoch that was kept.

    Args:
        history: Columns epoch, loss, val_loss, accuracy, val_accuracy.
        path: PNG file to write.
        chosen_on: Whose loss chose the epoch, for the legend.
        mark: Appended to the titles.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    kept = int(history["epoch"].iloc[history["val_loss"].argmin()])
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for column, label, colour in (
            (name, "training", _ACCENT[0]),
            (f"val_{name}", chosen_on, _ACCENT[1]),
        ):
            axes.plot(history["epoch"] + 1, history[column], label=label, color=colour)
        axes.axvline(kept + 1, color=_INK, linewidth=0.8, linestyle=":", label="kept")
        axes.set_xlabel("epoch")
        axes.set_title(name + mark, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_examples(
    frames: dict[str, np.ndarray], predictions: pd.DataFrame, path: Path, rows: int = 6
) -> None:
    """Draw some pairs: onset, apex, what changed, their flow in colour, and what was answered.

    Args:
        frames: `onset` and `apex`, each `(n, S, S, 3)` uint8.
        predictions: Table of predictions for the same clips in the same order.
        path: PNG file to write.
        rows: Largest number of pairs; of each class some.
    """
    mixed = predictions.sample(frac=1, random_state=0)  # of different people
    order = mixed.groupby("y_true").cumcount().sort_values(kind="stable").index
    shown = order[:rows].sort_values()
    frames = {name: array[shown] for name, array in frames.items()}
    gray = RGBToGray()
    onset, apex = (gray(keras.ops.convert_to_tensor(frames[n])) for n in ("onset", "apex"))
    colour = np.asarray(FlowToColor()(FarnebackFlow()([onset, apex])))
    change = np.asarray(apex - onset)[..., 0]

    figure = Figure(figsize=(8.4, 2.1 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, (axes_row, place) in enumerate(zip(grid, shown, strict=True)):
        axes_row[0].imshow(frames["onset"][row])
        axes_row[1].imshow(frames["apex"][row])
        axes_row[2].imshow(change[row], cmap="RdBu", vmin=-30, vmax=30)
        axes_row[3].imshow(colour[row].astype(np.uint8))
        clip = predictions.loc[place]
        axes_row[0].set_ylabel(f"{clip['subject']}\n{clip['clip']}", fontsize=8)
        right = "right" if clip["y_true"] == clip["y_pred"] else "wrong"
        axes_row[3].set_ylabel(
            f"{clip['y_true']}\nanswered {clip['y_pred']}\n({right})", fontsize=8
        )
        axes_row[3].yaxis.set_label_position("right")
        for axes in axes_row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, title in zip(grid[0], ("onset", "apex", "apex − onset", "flow"), strict=True):
        axes.set_title(title, fontsize=10)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
