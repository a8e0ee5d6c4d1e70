"""The verb `predict`: a pair of frames or a clip in, an answer and its figure out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from casme_tf.clips.images import read_rgb
from casme_tf.clips.search import is_long
from casme_tf.clips.video import open_frames
from casme_tf.config import PredictConfig
from casme_tf.errors import UserError
from casme_tf.plotting import require_png, save_png
from casme_tf.recognition.answer import PAIR, Prediction
from casme_tf.recognition.answer_figure import answer_figure
from casme_tf.recognition.recognizer import Recognizer
from casme_tf.runs import CONFIG, RunRecord, model_file, run_folder

_PREFERRED = "model_float32.tflite"


def predict(config: PredictConfig) -> Prediction:
    """Answer for a pair of frames or a clip, and draw the figure if one is asked for.

    Args:
        config: Frames and model; see `PredictConfig`.

    Returns:
        The answers, and why there are none if so. The figure is of the first.

    Raises:
        UserError: If a frame or the model cannot be read, the frames differ in size, no face is
            found, or arguments contradict one another.
    """
    _check(config)
    if config.figure is not None:
        require_png(config.figure)
    numbers = {name: _number(name, getattr(config, name)) for name in PAIR if config.clip}
    model = model_path(config.runs, config.run, config.model)
    with Recognizer(
        model,
        scheme=config.scheme,
        face_model=config.face_model,
        face_detector=config.face_detector,
    ) as recognizer:
        if config.clip is None:
            frames = [read_rgb(path) for path in (config.onset or "", config.apex or "")]
            made = Prediction((recognizer.pair(*frames, cropped=config.cropped),))
        else:
            clip = open_frames(config.clip, fps=config.fps)
            if is_long(clip) and numbers == dict.fromkeys(PAIR):
                made = recognizer.search(clip, method=config.method)
            else:
                answer = recognizer.clip(
                    clip, **numbers, method=config.method, cropped=config.cropped
                )
                made = Prediction((answer,))
        if config.figure is None or not made.answers:
            return made
        first = made.answers[0]
        save_png(answer_figure(first, recognizer.looked_at(first)), config.figure)
    return replace(made, figure=config.figure)


def model_path(runs: Path, run: str | None, model: Path | None) -> Path | None:
    """Return the model of a run that answers as it was measured, and soon; or the one given.

    Args:
        runs: Folder of all runs.
        run: Name of the run.
        model: A model's file or folder, in place of a run.

    Returns:
        A file or a folder; None if neither is given.

    Raises:
        UserError: If both are given, or the run has no model.
    """
    if run is not None and model is not None:
        raise UserError("Give either --run NAME or --model PATH. Received: both.")
    if run is None:
        return model
    folder = run_folder(runs, run)
    preferred = folder / _PREFERRED
    if preferred.is_file():
        return preferred
    RunRecord.load(folder / CONFIG)  # complains if there is no such run
    return model_file(folder)


def _check(config: PredictConfig) -> None:
    pair = config.onset is not None and config.apex is not None
    if config.clip is None and not pair:
        raise UserError(
            "Give a pair, --onset IMAGE --apex IMAGE, or a clip, --clip PATH. Received: "
            f"{'half a pair' if config.onset or config.apex else 'neither'}."
        )
    if config.scheme != "four" and (config.run or config.model):
        raise UserError(
            "--scheme is for the weights of this package; a run has its own classes. "
            f"Received: --scheme {config.scheme} with --{'run' if config.run else 'model'}."
        )
    if config.clip is None and config.fps is not None:
        raise UserError("--fps is for clips. Received: a pair of frames.")


def _number(name: str, text: str | None) -> int | None:
    """Return the number of a frame; with a clip, --onset and --apex are such numbers."""
    if text is None:
        return None
    if not text.isdecimal():
        raise UserError(f"With --clip, --{name} must be the number of a frame. Received: {text}.")
    return int(text)
