"""How `benchmark.py` shows what it measured: a table for the terminal, and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from growth import Cost
from matplotlib.figure import Figure


def describe(rows: Mapping[str, Mapping], starts: Mapping[str, Mapping]) -> str:
    """Lay out all rows, and name those that fall short."""
    lines = [
        f"{'work':42}{'alternative':34}{'ours':>10}{'theirs':>10}{'aim':>7}{'ratio':>8}  spread"
    ]
    short = []
    for row in rows.values():
        scale = 1e3 if row["unit"] == "ms" else 1
        own, other = (np.median(row[side]) * scale for side in ("ours", "theirs"))
        low, high = min(row["ratios"]), max(row["ratios"])
        reached = row["ratio"] >= row["aim"]
        mark = "" if reached else "  SHORT"
        mark += "" if row["agrees"] else "  OTHER ANSWERS"
        lines.append(
            f"{row['work']:42}{row['alternative']:34}{own:>7.1f} {row['unit']:<2}"
            f"{other:>7.1f} {row['unit']:<2}{row['aim']:>6.1f}×{row['ratio']:>7.2f}×"
            f"  {low:.2f}…{high:.2f}{mark}"
        )
        if row["agreement"]:
            lines.append(f"    {row['agreement']}")
        if not reached:
            short.append(f"{row['work']}: {row['ratio']:.2f} of {row['aim']}{_explain(row)}")
    for start in starts.values():
        seconds = float(np.median(start["seconds"]))
        reached = seconds <= start["aim_seconds"]
        lines.append(
            f"{start['work']:42}{'–':34}{seconds:>7.2f} s {'':10}"
            f"{start['aim_seconds']:>6.1f} s{'' if reached else '  SHORT'}"
        )
        if not reached:
            short.append(f"{start['work']}: {seconds:.2f} s of {start['aim_seconds']} s")
    lines += ["", *(f"short of the aim: {each}" for each in short or ["nothing"])]
    return "\n".join(lines)


def _explain(row: Mapping) -> str:
    """Say why a row falls short, with what its parts take."""
    text = f"; {row['reason']}" if row["reason"] else ""
    for side, parts in row["parts"].items():
        each = (f"{name} {_milliseconds(seconds)}" for name, seconds in parts.items())
        text += f"\n    {side}, ms: {', '.join(each)}"
    return text


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def describe_growth(costs: list[Cost]) -> str:
    """Lay out how cost grows, with the time a clip that is added costs."""
    lines = [f"{'stage':20}{'clips':>7}{'s':>8}{'MB':>8}{'ms a further clip':>20}"]
    before: Cost | None = None
    for cost in sorted(costs, key=lambda c: (c.stage, c.factor)):
        further = ""
        if before is not None and before.stage == cost.stage:
            further = f"{(cost.seconds - before.seconds) / (cost.clips - before.clips) * 1e3:.1f}"
        lines.append(
            f"{cost.stage:20}{cost.clips:>7}{cost.seconds:>8.1f}{cost.megabytes:>8.0f}{further:>20}"
        )
        before = cost
    return "\n".join(lines)


def draw(rows: Mapping[str, Mapping], costs: list[Cost], path: Path) -> None:
    """Draw ratios and their aims, and cost over size."""
    figure = Figure(figsize=(11, 0.42 * len(rows) + 4.2), layout="constrained")
    heights = [0.42 * len(rows) + 0.8, 3.2]
    upper, lower = np.atleast_1d(np.asarray(figure.subfigures(2, 1, height_ratios=heights)))
    if rows:
        axes = upper.subplots()
        for place, row in enumerate(rows.values()):
            low, high = min(row["ratios"]), max(row["ratios"])
            good = row["ratio"] >= row["aim"] and row["agrees"]
            color = "#1f6f8b" if good else "#d0743c"
            axes.barh(place, row["ratio"], color=color, height=0.6)
            axes.plot([low, high], [place, place], color="black", linewidth=1)
            axes.plot([row["aim"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.set_yticks(
            range(len(rows)), [f"{r['work']}\nagainst {r['alternative']}" for r in rows.values()]
        )
        axes.tick_params("y", labelsize=7)
        axes.invert_yaxis()
        axes.set_xscale("log")
        ticks = [0.5, 1, 2, 3, 5, 10, 20]
        axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(1, color="gray", linewidth=0.8)
        axes.set_title("alternative over ours; thick: aim, thin: spread; drawn data", fontsize=9)
    panels = lower.subplots(1, 2) if costs else ()
    for axes, attribute, label in zip(panels, ("seconds", "megabytes"), ("s", "MB"), strict=False):
        for stage in dict.fromkeys(cost.stage for cost in costs):
            of_stage = [cost for cost in costs if cost.stage == stage]
            axes.plot(
                [cost.clips for cost in of_stage],
                [getattr(cost, attribute) for cost in of_stage],
                marker="o",
                label=stage,
            )
        axes.set_xlabel("clips")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=130)
