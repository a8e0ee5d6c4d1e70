"""The app's page: how it looks, the inputs on the left, the answers on the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from casme_tf import formatting
from casme_tf.arrays import PAIR
from casme_tf.clips.apex import Method
from casme_tf.errors import UserError
from casme_tf.recognition.app.answers import DRAWN, FPS, AppAnswers, Examples, Limits
from casme_tf.recognition.recognizer import Answer

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
    page = formatting.templates(_TEMPLATES, html=True).get_template("answer.html.jinja")
    return page.render(answer=answers[0] if answers else None, others=answers[1:], problem=problem)


FIRST_MODEL = next(iter(DRAWN))

Outcome = tuple[str, Image.Image | None, dict[str, Any]]
"""What is shown of an answer: HTML, the figure, and what can be written as JSON."""


def build_page(answers: AppAnswers, examples: Examples, limits: Limits) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(HEADING, elem_id="head")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=360, elem_id="ask"):
                model = gr.Dropdown(answers.models(), value=FIRST_MODEL, label="Model")
                with gr.Tabs():
                    with gr.Tab("Two frames"):
                        pair = _PairForm()
                    with gr.Tab("Clip"):
                        clip = _ClipForm(limits)
                    with gr.Tab("Camera"):
                        camera = _CameraForm()
            with gr.Column(scale=8, min_width=480, elem_id="answer"):
                shown = _Shown()
        gr.HTML(
            "<p>Answers are statements about motion in pixels by a model that is often wrong. They "
            "are no diagnosis, and say nothing of honesty or intent. Nothing leaves this machine; "
            f"uploads and figures are deleted after {limits.keep_minutes:g} minutes, and when the "
            "app ends.</p>",
            elem_id="foot",
        )
        questions = _Questions(answers)
        for form, question, name in (
            (pair, questions.pair, "pair"),
            (clip, questions.clip, "clip"),
            (camera, questions.camera, "camera"),
        ):
            shown.after(form.button.click, question, [model, *form.inputs], api_name=name)
        for form, question, example in (
            (pair, questions.pair, lambda: _pair_example(examples)),
            (clip, questions.clip, lambda: _clip_example(examples)),
        ):
            filled = form.example.click(
                example,
                None,
                [*form.inputs, form.drawn],
                api_visibility="private",
                show_progress="minimal",
            )
            inputs = [model, *form.inputs]
            shown.after(filled.then, question, inputs, api_visibility="private")
        page.load(  # runs that were made since
            lambda: gr.Dropdown(answers.models()),
            None,
            model,
            api_visibility="private",
            queue=False,
        )
    for component in page.blocks.values():
        _fetch_nothing(component)
    page.queue(max_size=limits.queue, default_concurrency_limit=1)
    return page


def _fetch_nothing(component: Any) -> None:
    """Refuse to fetch a file from another machine whose address is sent in place of an upload."""
    keep = component.async_move_resource_to_block_cache

    async def keep_files(place: str | Path | None) -> str | None:
        if "://" in str(place):
            raise gr.Error("Files must be uploaded; none is fetched from elsewhere.")
        return await keep(place)

    component.async_move_resource_to_block_cache = keep_files


class _Questions:
    """What the button Answer does in each form."""

    def __init__(self, answers: AppAnswers) -> None:
        self._answers = answers

    def pair(self, model: str, onset: str | None, apex: str | None, cropped: bool) -> Outcome:
        return _outcome(
            lambda: self._answers.pair(model, _path(onset), _path(apex), cropped=cropped)
        )

    def clip(
        self,
        model: str,
        files: list[str] | None,
        fps: str | None,
        onset: str | None,
        apex: str | None,
        method: Method,
        cropped: bool,
    ) -> Outcome:
        return _outcome(
            lambda: self._answers.clip(
                model,
                [Path(file) for file in files or []],
                fps=_number("Frames/s", fps, float),
                onset=_number("The onset", onset, int),
                apex=_number("The apex", apex, int),
                method=method,
                cropped=cropped,
            )
        )

    def camera(self, model: str, recording: str | None) -> Outcome:
        files = [] if recording is None else [Path(recording)]
        return _outcome(lambda: self._answers.clip(model, files))


class _Shown:
    """Where an outcome is shown."""

    def __init__(self) -> None:
        self._text = gr.HTML(render())
        self._figure = gr.Image(
            format="png",
            show_label=False,
            buttons=["download", "fullscreen"],
            elem_id="figure",
            visible=False,
        )
        with gr.Accordion("All of it, as JSON", open=False, visible=False) as self._more:
            self._json = gr.JSON(show_label=False)

    def after(
        self, event: Any, question: Callable[..., Outcome], inputs: Sequence[Any], **options: str
    ) -> None:
        """Show what comes of a question after an event; one question is answered at a time."""
        event(
            question,
            inputs,
            [self._text, self._figure, self._json],
            concurrency_id="answers",
            show_progress_on=[self._text, self._figure],
            **options,
        ).then(
            _reveal, self._json, [self._figure, self._more], api_visibility="private", queue=False
        )


class _PairForm:
    """Two image files."""

    def __init__(self) -> None:
        with gr.Row():
            files = [
                _as_it_is(
                    gr.Image(
                        label=label,
                        elem_id=name,
                        type="filepath",
                        sources=["upload"],
                        placeholder="drop it here,\nor click",
                        height=170,
                        min_width=150,
                        buttons=[],
                    )
                )
                for name, label in zip(PAIR, ("Onset, still quiet", "Apex, strongest"), strict=True)
            ]
        cropped = gr.Checkbox(label="These are face crops already", container=False)
        self.button, self.example = _buttons()
        self.drawn = gr.HTML(elem_classes="hint")
        self.inputs = [*files, cropped]


class _ClipForm:
    """A video file or the image files of all frames, and what is known of it."""

    def __init__(self, limits: Limits) -> None:
        files = gr.File(
            label="A video, or the images of all frames",
            elem_id="clip",
            file_count="multiple",
            height=170,
        )
        gr.HTML(
            f"At most {limits.max_frames} frames and {limits.max_megabytes} MB a file; the part "
            "around one movement is best.",
            elem_classes="hint",
        )
        with gr.Accordion("What is known of it", open=False):
            # Text, since an empty number reaches us as 0, which is a frame.
            with gr.Row():
                numbers = [
                    gr.Textbox(label=label, placeholder=empty, min_width=90, max_lines=1)
                    for label, empty in (
                        ("Frames/s", "as it says"),
                        ("Onset frame", "is found"),
                        ("Apex frame", "is found"),
                    )
                ]
            method = gr.Radio(
                [("flow", "flow"), ("ten cells", "ten-cell")],
                value="flow",
                label="How the apex is found",
            )
            cropped = gr.Checkbox(label="These are face crops already", container=False)
        self.button, self.example = _buttons()
        self.drawn = gr.HTML(elem_classes="hint")
        self.inputs = [files, *numbers, method, cropped]


class _CameraForm:
    """A recording."""

    def __init__(self) -> None:
        recording = _as_it_is(
            gr.Video(
                label="Record a second or two, the face still at first",
                elem_id="recording",
                sources=["webcam"],
                include_audio=False,
                webcam_options=gr.WebcamOptions(mirror=False),
                height=250,
            )
        )
        self.button = gr.Button("Answer", variant="primary")
        gr.HTML(
            "A webcam takes about 30 frames a second, where micro-expressions are studied with "
            "100 or 200; the answer will say so.",
            elem_classes="hint",
        )
        self.inputs = [recording]


def _as_it_is(upload: Any) -> Any:
    """Let a component pass on the file as it is, so that our own messages explain errors."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


def _pair_example(examples: Examples) -> tuple[Any, ...]:
    example = examples.next()
    onset, apex = (str(example.frame(number)) for number in (example.onset, example.apex))
    return onset, apex, False, example.about


def _clip_example(examples: Examples) -> tuple[Any, ...]:
    example = examples.next()
    return [str(example.video())], str(FPS), "", "", "flow", False, example.about


def _buttons() -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        return (
            gr.Button("Answer", variant="primary", min_width=120),
            gr.Button("Drawn example", min_width=140),
        )


def _outcome(ask: Callable[[], tuple[list[Answer], Image.Image]]) -> Outcome:
    try:
        answers, figure = ask()
    except UserError as error:
        problem = str(error)
        return render(problem=problem), None, {"error": problem}
    return render(answers), figure, {"answers": [answer.to_json() for answer in answers]}


def _reveal(content: dict[str, Any]) -> tuple[Any, Any]:
    answered = "error" not in content
    return gr.Image(visible=answered), gr.Accordion(visible=answered)


def _number(name: str, text: str | None, kind: Callable[[str], Any]) -> Any:
    """Return a number that may be left out."""
    try:
        return kind(text) if text and text.strip() else None
    except ValueError:
        raise UserError(f"{name} must be a number, or left empty. Received: {text}.") from None


def _path(file: str | None) -> Path | None:
    return None if file is None else Path(file)
