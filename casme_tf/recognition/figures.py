"""Figures of an answer and of how an apex was found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator

from casme_tf.arrays import PAIR
from casme_tf.clips.apex import Spotting
from casme_tf.clips.tracking import farneback
from casme_tf.plotting import ACCENT, INK, PALE, STYLE

if TYPE_CHECKING:
    from casme_tf.recognition.recognizer import Answer

_LABELS = {
    "flow": "motion since the onset,\n% of the eyes' distance",
    "ten-cell": "change since the onset\nover change between frames",
}

_LABEL_WIDTH = 0.15  # of a label, as a share of the curve's


@matplotlib.rc_context(STYLE)
def spotting_figure(spotting: Spotting, title: str) -> Figure:
    """Draw the curve of a clip."""
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.subplots()
    draw_spotting(axes, spotting)
    axes.set_title(title if spotting.moved else f"{title}: nothing moved", fontsize=8.5)
    return figure


def draw_spotting(axes: Axes, spotting: Spotting) -> None:
    """Draw a clip's curve as measured and smoothed, its onset, apex and other candidates."""
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
    for name, place, color, side in (
        ("onset", onset, INK, before),
        ("apex", apex, ACCENT[1], "left"),
    ):
        axes.axvline(x[place], color=color, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.plot(x[place], spotting.smooth[place], "o", color=color, markersize=5)
        axes.annotate(
            f" {name} {spotting.numbers[place]} ",
            (x[place], 1),
            xycoords=("data", "axes fraction"),
            ha=side,
            va="top",
            fontsize=7.5,
            color=color,
        )
    kind = "flow" if spotting.method == "given" else spotting.method
    axes.set(xlabel="frame" if spotting.seconds is None else "s", ylabel=_LABELS[kind])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=spotting.seconds is None))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.12)


_ARROWS = 15  # along each side
_LONGEST = 0.98  # quantile that fills its cell; single longer ones at borders are artifacts
_FAINT = 0.15  # of that; shorter arrows are left out
_UNITS = 6
_NO_MAP = "no map of where it maps:\nthat needs a model.keras\nwith ResNet50"
_WIDTH = 7.2  # inches, a page's width
_LOWER = 1.75  # inches, of the lower row


@matplotlib.rc_context(STYLE)
def answer_figure(answer: Answer, maps: Mapping[str, np.ndarray] | None = None) -> Figure:
    """Draw an answer, for a page's width."""
    notes = [textwrap.fill(doubt, 112, subsequent_indent="    ") for doubt in answer.doubts]
    lines = ["/".join(Path(answer.model).parts[-2:]), *(f"!  {note}" for note in notes)]
    below = 0.15 * sum(line.count("\n") + 1 for line in lines) + 0.12
    height, width = _crop(answer, "onset").shape[:2]
    tall = min(max(height / width, 0.8), 1.6) * 1.7 + 0.6
    total = tall + _LOWER + below
    figure = Figure(figsize=(_WIDTH, total), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / total, 1, 1 - below / total))  # type: ignore[call-arg]
    rows = figure.add_gridspec(2, 1, height_ratios=(tall, _LOWER))
    panels = [figure.add_subplot(cell) for cell in _cells(rows[0], (1, 1, 1, 1))]
    for axes, name in zip(panels, PAIR, strict=False):
        _show(axes, _crop(answer, name), _frame_title(answer, name))
    _draw_motion(panels[2], answer)
    if maps:
        _draw_maps(panels[3], answer, maps)
    elif answer.action_units is not None:
        _draw_units(panels[3], answer)
    else:
        panels[3].set_axis_off()
        panels[3].text(0.5, 0.5, _NO_MAP, ha="center", va="center", size=7, color=INK)
    if answer.spotting is None:
        _draw_probabilities(figure.add_subplot(rows[1]), answer)
    else:
        curve, bars = [figure.add_subplot(cell) for cell in _cells(rows[1], (3, 2))]
        draw_spotting(curve, answer.spotting)
        _draw_probabilities(bars, answer)
    figure.text(0.012, (below - 0.04) / total, "\n".join(lines), va="top", size=7, color=INK)
    return figure


def _cells(row: SubplotSpec, widths: tuple[int, ...]) -> list[SubplotSpec]:
    grid = row.subgridspec(1, len(widths), width_ratios=widths)
    return [grid[0, i] for i in range(len(widths))]


def flow_of(answer: Answer) -> np.ndarray:
    """Return the optical flow of the crops that the model was shown, `(S, S, 2)` float32 px."""
    onset, apex = (cv2.cvtColor(answer.crops[name], cv2.COLOR_RGB2GRAY) for name in PAIR)
    return farneback(onset, apex)


def flow_colors(flow: np.ndarray) -> np.ndarray:
    """Draw flow `(H, W, 2)` as in the source system: `(H, W, 3)` uint8 RGB."""
    length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    hsv = np.full((*flow.shape[:2], 3), 255, np.uint8)
    hsv[..., 0] = angle * 90 / np.pi
    hsv[..., 2] = cv2.normalize(length, None, 0, 255, cv2.NORM_MINMAX)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _crop(answer: Answer, name: str) -> np.ndarray:
    frame = answer.frames[name]
    return frame if answer.box is None else answer.box.crop(frame)


def _frame_title(answer: Answer, name: str) -> str:
    if answer.numbers is None:
        return name
    title = f"{name}, frame {answer.numbers[name]}"
    return title if answer.seconds is None else f"{title}\n{answer.seconds[name]:.3f} s"


def _show(axes: Axes, image: np.ndarray, title: str, like: np.ndarray | None = None) -> None:
    """Show an image, if need be stretched to the shape of another."""
    height, width = (image if like is None else like).shape[:2]
    axes.imshow(image, extent=(0, width, height, 0), interpolation="bilinear")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _draw_motion(axes: Axes, answer: Answer) -> None:
    flow = flow_of(answer)
    flow = flow - np.median(flow, axis=(0, 1))
    crop = _crop(answer, "onset")
    _show(axes, flow_colors(flow), "", like=crop)
    side = flow.shape[0]
    stretch = np.array(crop.shape[1::-1]) / side
    places = ((np.arange(_ARROWS) + 0.5) * side / _ARROWS).astype(int)
    x, y = np.meshgrid(places, places)
    arrows = cv2.blur(flow, (side // _ARROWS, side // _ARROWS))[y, x]  # (n, n, 2)
    length = np.linalg.norm(arrows, axis=-1)
    longest = float(np.quantile(length, _LONGEST))
    if longest > 0:
        drawn = length > _FAINT * longest
        at = np.stack([x, y], axis=-1)[drawn] * stretch
        enlarged = arrows[drawn] * stretch * (1.6 * side / _ARROWS / longest)
        axes.quiver(
            *(*at.T, *enlarged.T),
            color="white",
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.009,
            headwidth=3.6,
        )
    wheel = axes.inset_axes((0.8, 0.01, 0.19, 0.19 * crop.shape[1] / crop.shape[0]))
    wheel.imshow(_hue_wheel())
    wheel.set_axis_off()
    title = f"motion without the head's\nup to {longest:.2f} px of {side}"
    axes.set_title(title, fontsize=8)
    axes.set(xlim=(0, crop.shape[1]), ylim=(crop.shape[0], 0))


def _hue_wheel(side: int = 96) -> np.ndarray:
    """Draw which color stands for which direction: `(side, side, 4)` uint8 RGBA."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    radius = np.linalg.norm(flow, axis=-1)
    disc = np.where(radius <= 1, 255, 0).astype(np.uint8)
    return np.dstack([flow_colors(flow * (radius <= 1)[..., None]), disc])


def _draw_maps(axes: Axes, answer: Answer, maps: Mapping[str, np.ndarray]) -> None:
    crop = _crop(answer, "apex")
    title = f"what spoke for\n{answer.label}"
    if "flow" in maps:
        under, heat = flow_colors(flow_of(answer)), maps["flow"]
        gray = under.max(axis=-1)
    else:
        heat = maps["apex"]
        gray = cv2.cvtColor(answer.crops["apex"], cv2.COLOR_RGB2GRAY)
    _show(axes, np.repeat(gray[..., None], 3, axis=-1), title, like=crop)
    height, width = crop.shape[:2]
    axes.imshow(
        heat,
        extent=(0, width, height, 0),
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=np.clip(0.15 + 0.6 * heat, 0, 0.75),
        interpolation="bilinear",
    )


def _draw_units(axes: Axes, answer: Answer) -> None:
    units = (answer.action_units or ())[:_UNITS][::-1]
    rows = np.arange(len(units))
    axes.barh(rows, [1] * len(units), color=PALE, height=0.62, alpha=0.45)
    axes.barh(rows, [unit.probability for unit in units], color=ACCENT[0], height=0.62)
    axes.set_yticks(rows, [f"AU{unit.number}" for unit in units])
    for row, unit in zip(rows, units, strict=True):
        if unit.probability >= 0.5:
            text = f"{unit.strength:.1f} px"
            axes.text(0.04, float(row), text, va="center", size=7, color="white")
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set(xlim=(0, 1), title="action units")
    axes.title.set_fontsize(8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_probabilities(axes: Axes, answer: Answer) -> None:
    names = list(answer.probabilities)
    rows = np.arange(len(names))[::-1]
    values = [answer.probabilities[name] for name in names]
    colors = [ACCENT[1] if name == answer.label else ACCENT[0] for name in names]
    axes.barh(rows, values, color=colors, height=0.62)
    axes.set_yticks(rows, names)
    for row, value in zip(rows, values, strict=True):
        axes.text(value + 0.015, float(row), f"{value:.2f}", va="center", size=8)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set(xlim=(0, 1.12), xlabel="probability")
    axes.set_title("no clear expression" if answer.label is None else answer.label, fontsize=9)
    axes.title.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
