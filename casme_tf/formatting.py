"""How figures are written for readers: digits, signs, intervals and dashes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

FEWEST_SUBJECTS = 5
"""Subjects of which an interval is made; with fewer, resampling them shows nothing about others."""

ABSENT = "–"
"""Stands where a figure cannot be computed."""

NO_INTERVAL = "none: too few subjects"
"""Stands for an interval over fewer subjects than `FEWEST_SUBJECTS`."""

FIGURE_NAMES = {
    "accuracy": "Accuracy",
    "weighted_f1": "Weighted F1",
    "weighted_precision": "Weighted precision",
    "uf1": "UF1",
    "uar": "UAR",
}
"""Titles of `metrics.STATISTICS`."""


def number(value: float | None, form: str = ".3f") -> str:
    """Write a number with a true minus sign, or a dash where there is none to be had."""
    if value is None or math.isnan(value):
        return ABSENT
    text = format(value, form)
    if text[0] in "+-" and not text.strip("+-0.%"):
        text = text[1:]  # what rounds to zero has no sign
    return text.replace("-", "−")


def interval(bounds: Sequence[float | None], form: str = ".3f") -> str:
    """Write an interval over subjects, or say why there is none."""
    if any(bound is None or math.isnan(bound) for bound in bounds):
        return NO_INTERVAL
    return " … ".join(number(bound, form) for bound in bounds)


def p_value(value: float | None) -> str:
    """Write a p-value; below a thousandth only that it is."""
    if value is not None and value < 0.001:
        return "< 0.001"
    return number(value)


def gain(bounds: Sequence[float | None]) -> str:
    """Say whether the interval of a difference leaves out that there is none."""
    low, high = bounds
    if low is not None and low > 0:
        return "yes"
    return "no, worse" if high is not None and high < 0 else "not shown"


def count(quantity: int, thing: str) -> str:
    """Write how many there are of a thing whose plural ends in s."""
    return f"{quantity:d} {thing}" if quantity == 1 else f"{quantity:d} {thing}s"


def templates(folder: Path, *, html: bool) -> jinja2.Environment:
    """Return the templates of a folder; a value that is missing raises instead of being printed."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        finalize=_require_value,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=html,
    )
    environment.globals["fewest_subjects"] = FEWEST_SUBJECTS
    environment.filters |= {
        "number": number,
        "interval": interval,
        "p_value": p_value,
        "gain": gain,
        "count_of": count,
    }
    return environment


def _require_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value to be printed is {value}")
    return value
