"""How the app looks: its theme, its style, and what it says of an answer, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import jinja2

from casme_tf.recognition.answer import Answer

TITLE = "Micro-expressions"

HEADING = f"""<div class="line"><h1>{TITLE}</h1>
<p>Which expression moved between two moments of a face, and what speaks for and against it.</p>
</div>"""
"""What stands above everything."""

ALWAYS_LIGHT = """<script>
const address = new URL(window.location);
if (address.searchParams.get("__theme") !== "light") {
  address.searchParams.set("__theme", "light");
  window.location.replace(address);
}
</script>"""
"""Goes into the page's head: projectors stand in dark rooms, and figures are dark on light."""

_TEMPLATES = Path(__file__).parent
_SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")


def theme() -> gr.themes.Base:
    """Return the theme: no fonts but the system's."""
    return gr.themes.Base(
        primary_hue=gr.themes.Color(
            "#eef5f8",
            "#dcebf0",
            "#b9d7e1",
            "#8fbecd",
            "#5b9db3",
            "#1f6f8b",
            "#1b6079",
            "#175166",
            "#134253",
            "#0f3340",
            "#0b242d",
        ),
        neutral_hue=gr.themes.colors.slate,
        font=_SYSTEM_FONTS,
        font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
        text_size=gr.themes.sizes.text_lg,
        radius_size=gr.themes.sizes.radius_sm,
    ).set(
        body_background_fill="#ffffff",
        body_text_color="#22303c",
        block_background_fill="#ffffff",
        block_label_text_color="#22303c",
        button_primary_background_fill="#1f6f8b",
        button_primary_background_fill_hover="#1b6079",
        button_primary_text_color="#ffffff",
    )


def style() -> str:
    """Return the page's own CSS."""
    return (_TEMPLATES / "app.css").read_text(encoding="utf-8")


def render(answers: Sequence[Answer] = (), problem: str | None = None) -> str:
    """Return the HTML of answers, or of why there are none, or of how to get one."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("answer.html.jinja")
    return page.render(answer=answers[0] if answers else None, others=answers[1:], problem=problem)
