"""The picture of how answers change when clips are disturbed."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casme_tf.plotting import ACCENT

_CURVES = {
    "crop off": (0.0, "crop off, share of its sides"),
    "scale": (1.0, "face times as large"),
    "noise": (0.0, "noise added, grey levels"),
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
