"""The look of figures, and writing them as files."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from casme_tf.errors import UserError
from casme_tf.files import atomic_file, require_writable

INK = "#22303c"
ACCENT = ("#1f6f8b", "#d1793f")
PALE = "#c9d3da"
_DPI = 150
MUTED = "#55636f"
STYLE: Any = {
    "font.size": 8,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a97a1",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    # Text stays text, in the reader's own font; equal figures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "casme_tf",
    "text.parse_math": False,  # a name may have a dollar sign
}
_SYSTEM_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@matplotlib.rc_context(STYLE)
def image_uri(figure: Figure) -> str:
    """Return a figure as an SVG in a `data:` address, text in the reader's system font."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    # matplotlib lists the fonts that it measured with, not those that the reader has.
    svg = re.sub(r"'[^;\"]+', sans-serif", _SYSTEM_FONTS, svg)
    encoded = base64.b64encode(svg.encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def require_png(path: Path) -> None:
    """Check before long work that a picture can be written as a PNG file."""
    if path.suffix.lower() != ".png":
        raise UserError(f"A picture's name must end in .png. Received: {path}.")
    require_writable(path)


@matplotlib.rc_context(STYLE)
def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    require_png(path)
    FigureCanvasAgg(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


@matplotlib.rc_context(STYLE)
def draw_image(figure: Figure) -> Image.Image:
    """Return a figure as an image, of the pixels that `save_png` writes."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size, inches, with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
