"""The curve that an apex was found on."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from casme_tf.apex import Spotting
from casme_tf.report_figures import ACCENT, INK, PALE


def draw_spotting(axes: Axes, spotting: Spotting) -> None:
    """Draw the curve of a clip, its smooth form, and the onset and apex."""
    x = spotting.numbers if spotting.seconds is None else spotting.seconds
    places = np.searchsorted(spotting.numbers, [spotting.onset, spotting.apex])
    axes.plot(x, spotting.curve, color=PALE, linewidth=1)
    axes.plot(x, spotting.smooth, color=ACCENT[0], linewidth=1.6)
    for name, place in zip(("onset", "apex"), places, strict=True):
        axes.axvline(x[place], color=ACCENT[1] if name == "apex" else INK, linewidth=1)
        axes.plot(x[place], spotting.smooth[place], "o", color=ACCENT[1] if name == "apex" else INK)
    axes.set(xlabel="frame" if spotting.seconds is None else "s", ylabel="motion")
