"""Drawn action units next to the mean motion of real clips that show them."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casme_tf.cli.main import run_command
from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS
from casme_tf.plotting import STYLE, save_png
from scripts.lab.fields import SIZE, Ingredients
from scripts.lab.fields.expressions import Expressions
from scripts.lab.fields.faces import Crops, draw_faces
from scripts.lab.fields.hills import render
from scripts.lab.fields.unit_motion import unit_hills

FACES = 200
"""Drawn faces that the mean of a unit is taken over."""

_WIDTH, _HEIGHT, _MOUTH = 244, 278, 0.8  # about the crop of SAMM's published images, px of `Faces`


@dataclass(frozen=True)
class MeasureUnitsConfig:
    """Compare drawn action units with the mean motion of real clips."""

    means: Path
    """An .npz with the mean field auN_mean `(28, 28, 2)` of the real clips that show unit N, dx and
    dy at any scale, and auN_clips, how many they are; auN_alone_mean, if there, is of those that
    show nothing else."""
    out: Path = Path("build/units.png")
    """Picture to draw."""


def measure_units(means: Path) -> tuple[pd.DataFrame, dict[int, list[np.ndarray]]]:
    """Correlate each drawn unit with the mean of real clips, as described and as drawn now.

    Args:
        means: See `MeasureUnitsConfig`.

    Returns:
        One row a unit: `unit`, `clips`, `described` and `drawn`, correlations of dx and dy with the
        real mean over all cells, medians at zero; and by unit the fields real, described, drawn.

    Raises:
        UserError: If the file has no such means.
    """
    try:
        with np.load(means, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"--means must be an .npz of mean fields. Received: {error}.") from None
    units = [unit for unit in ACTION_UNITS if f"au{unit}_mean" in arrays]
    if not units:
        raise UserError(f"--means must hold auN_mean of some unit N. Received: {means}.")
    described = draw_units(replace(Ingredients(), asymmetry=False, real=False))
    drawn = draw_units(replace(Ingredients(), asymmetry=False))
    rows, fields = [], {}
    for unit in units:
        real = arrays.get(f"au{unit}_alone_mean", arrays[f"au{unit}_mean"])
        fields[unit] = [_standard(x) for x in (real, described[unit], drawn[unit])]
        first, *ours = (field.ravel() for field in fields[unit])
        rows.append(
            {
                "unit": unit,
                "clips": int(arrays.get(f"au{unit}_clips", 0)),
                **{
                    name: float(np.corrcoef(first, x)[0, 1])
                    for name, x in zip(("described", "drawn"), ours, strict=True)
                },
            }
        )
    return pd.DataFrame(rows), fields


def draw_units(ingredients: Ingredients) -> dict[int, np.ndarray]:
    """Return by unit the mean field `(28, 28, 2)` of faces that show it alone, all in one crop."""
    rng = np.random.default_rng(0)
    fields = {}
    for i, unit in enumerate(ACTION_UNITS):
        faces = draw_faces(FACES, ingredients, rng)
        strengths = np.zeros((FACES, len(ACTION_UNITS)), np.float32)
        strengths[:, i] = 1
        sides = np.ones((*strengths.shape, 2), np.float32)
        shown = Expressions(np.zeros(FACES, int), strengths, sides)
        one = np.ones(FACES, np.float32)
        top = faces.mouth_y - np.float32(_MOUTH * _HEIGHT)
        crops = Crops(-0.5 * _WIDTH * one, top, _WIDTH * one, _HEIGHT * one, 0 * one)
        hills = unit_hills(faces, shown, np.ones(FACES), ingredients, rng)
        fields[unit] = render(hills, crops, SIZE).mean(axis=0)
    return fields


@matplotlib.rc_context(STYLE)
def units_figure(table: pd.DataFrame, fields: dict[int, list[np.ndarray]]) -> Figure:
    """Draw each unit: the real mean, as described, as drawn now."""
    columns = 2  # units a row
    rows = -(-len(table) // columns)
    figure = Figure(figsize=(2.2 * 3 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 3 * columns, squeeze=False).ravel()
    for each in axes:
        each.set_axis_off()
    for row, panels in zip(table.to_dict("records"), axes.reshape(-1, 3), strict=False):
        titles = (
            f"AU {row['unit']}: mean of {row['clips']} real clips",
            f"as described: r = {row['described']:+.2f}",
            f"as drawn now: r = {row['drawn']:+.2f}",
        )
        for panel, field, title in zip(panels, fields[row["unit"]], titles, strict=True):
            _draw(panel, field, title)
    return figure


def _draw(axes: Axes, field: np.ndarray, title: str) -> None:
    axes.imshow(np.hypot(field[..., 0], field[..., 1]), cmap="Blues", vmin=0, vmax=4)
    axes.quiver(
        *(field[..., i] for i in range(2)), angles="xy", scale_units="xy", scale=1.8, width=0.004
    )
    axes.set_title(title)


def _standard(field: np.ndarray) -> np.ndarray:
    """Return a field with its median at zero and a spread of 1."""
    centered = field - np.median(field, axis=(0, 1))
    return centered / max(float(centered.std()), 1e-9)


def main(config: MeasureUnitsConfig) -> None:
    """Print the correlations, and draw the fields."""
    table, fields = measure_units(config.means)
    save_png(units_figure(table, fields), config.out)
    print(table.to_string(index=False, float_format="%.2f"))
    print(f"mean: described {table['described'].mean():.2f}, drawn {table['drawn'].mean():.2f}")
    print(config.out)


if __name__ == "__main__":
    sys.exit(run_command(MeasureUnitsConfig, main))
