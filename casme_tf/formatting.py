"""How figures are written wherever people read them: digits, signs, intervals and dashes."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST_SUBJECTS = 5
"""Subjects of which an interval is made; of fewer, drawing them anew says nothing about others."""

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
    """Write a number with a true minus sign, or a dash where there is none to be had.

    Args:
        value: The number; None and NaN are none.
        form: Format specification. Default three digits after the point.

    Example:
        >>> number(-0.25, "+.2f"), number(-0.0001, "+.2f"), number(None)
        ('−0.25', '0.00', '–')
    """
    if value is None or math.isnan(value):
        return ABSENT
    text = format(value, form)
    if text[0] in "+-" and not text.strip("+-0.%"):
        text = text[1:]  # what rounds to zero has no sign
    return text.replace("-", "−")


def interval(bounds: Sequence[float | None], form: str = ".3f") -> str:
    """Write an interval over subjects, or say why there is none.

    Example:
        >>> interval([-0.25, 0.5], "+.2f"), interval([None, None])
        ('−0.25 … +0.50', 'none: too few subjects')
    """
    if any(bound is None or math.isnan(bound) for bound in bounds):
        return NO_INTERVAL
    return " … ".join(number(bound, form) for bound in bounds)


def p_value(value: float | None) -> str:
    """Write a p-value; below a thousandth only that it is.

    Example:
        >>> p_value(0.0004), p_value(0.0312)
        ('< 0.001', '0.031')
    """
    if value is not None and value < 0.001:
        return "< 0.001"
    return number(value)


def gain(bounds: Sequence[float | None]) -> str:
    """Say whether the interval of a difference leaves out that there is none.

    Example:
        >>> gain([0.1, 0.2]), gain([-0.1, 0.2]), gain([-0.2, -0.1])
        ('yes', 'not shown', 'no, worse')
    """
    low, high = bounds
    if low is not None and low > 0:
        return "yes"
    return "no, worse" if high is not None and high < 0 else "not shown"


def count(quantity: int, thing: str) -> str:
    """Write how many there are of a thing whose plural ends in s.

    Example:
        >>> count(1, "clip"), count(1204, "clip")
        ('1 clip', '1204 clips')
    """
    return f"{quantity:d} {thing}" if quantity == 1 else f"{quantity:d} {thing}s"
