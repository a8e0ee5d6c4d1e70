"""The model card of weights learnt from drawn fields, from what their makers wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from casme_tf.export.model_card import tidy_markdown
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, not HTML
    )
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
    return tidy_markdown(text)


def _value(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    known = low is not None and high is not None
    return f"{figure['model']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if known else "")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
