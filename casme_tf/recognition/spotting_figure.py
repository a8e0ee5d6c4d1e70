"""Pictures of how an apex was found."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casme_tf.clips.apex import Spotting
from casme_tf.plotting import ACCENT, INK, PALE, STYLE

_LABELS = {
    "flow": "motion since the onset,\n% of the eyes' distance",
    "ten-cell": "change since the onset\nover change between frames",
}

_LABEL_WIDTH = 0.15  # of a label, as a share of the curve's


@matplotlib.rc_context(STYLE)
def spotting_figure(spotting: Spotting, title: str) -> Figure:
    """Draw the curve of a clip.

    Args:
        spotting: What was found.
        title: Name of the clip.

    Returns:
        A figure of 6 by 2.8 inches.
    """
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.subplots()
    draw_spotting(axes, spotting)
    axes.set_title(title if spotting.moved else f"{title}: nothing moved", fontsize=8.5)
    return figure


def draw_spotting(axes: Axes, spotting: Spotting) -> None:
    """Draw a clip's curve as measured and smoothed, its onset and apex, and what may be the apex.

    Args:
        axes: Where to draw.
        spotting: What was found.
    """
    x = spotting.numbers if spotting.seconds is None else spotting.seconds
    onset, apex, *near = np.searchsorted(
        spotting.numbers, [spotting.onset, spotting.apex, *spotting.near]
    )
    if len(near) > 1:
        axes.axvspan(x[near[0]], x[near[-1]], color=ACCENT[1], alpha=0.12, linewidth=0)
    axes.plot(x, spotting.curve, color=PALE, linewidth=1)
    axes.plot(x, spotting.smooth, color=ACCENT[0], linewidth=1.6)
    # Left of its line where there is room, so that a near apex does not write over it.
    before = "right" if x[onset] - x[0] > _LABEL_WIDTH * (x[-1] - x[0]) else "left"
    for name, place, colour, side in (
        ("onset", onset, INK, before),
        ("apex", apex, ACCENT[1], "left"),
    ):
        axes.axvline(x[place], color=colour, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.plot(x[place], spotting.smooth[place], "o", color=colour, markersize=5)
        axes.annotate(
            f" {name} {spotting.numbers[place]} ",
            (x[place], 1),
            xycoords=("data", "axes fraction"),
            ha=side,
            va="top",
            fontsize=7.5,
            color=colour,
        )
    kind = "flow" if spotting.method == "given" else spotting.method
    axes.set(xlabel="frame" if spotting.seconds is None else "s", ylabel=_LABELS[kind])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=spotting.seconds is None))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
