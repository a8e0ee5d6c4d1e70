"""The model card of weights learned from drawn fields, from what their makers wrote down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from casme_tf import formatting
from casme_tf.labels import ACTION_UNITS

_TEMPLATES = Path(__file__).parent
_TEMPLATE = "drawn_weights_card.md.jinja"


def render_drawn_card(training: dict[str, Any], measured: dict[str, Any] | None = None) -> str:
    """Write the card of drawn weights.

    Args:
        training: Content of training.json.
        measured: Content of measurements.json; None if nothing was measured yet.

    Returns:
        The card, as Markdown.
    """
    environment = formatting.templates(_TEMPLATES, html=False)
    environment.filters |= {"value": _value, "share": _share}
    rows = measured["sensitivity"] if measured else []
    by_scheme = [[row for row in rows if row["scheme"] == name] for name in ("four", "megc3")]
    text = environment.get_template(_TEMPLATE).render(
        training=training,
        measured=measured,
        units=ACTION_UNITS,
        left_out=[name for name, kept in training["ingredients"].items() if not kept],
        pairs=list(zip(*by_scheme, strict=True)),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _value(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    known = low is not None and high is not None
    return f"{figure['model']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if known else "")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
