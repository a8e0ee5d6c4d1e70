"""Predicting a pair of frames or a clip: the options, one call, and what is printed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from casme_tf.cli import FACES, FaceOptions, keywords
from casme_tf.errors import UserError
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class PredictConfig:
    """Say what a pair of frames or a clip shows."""

    clip: str | None = None
    """A clip: a folder of frames, a video file, or the index of a camera, such as 0, which is
    recorded now. Onset and apex are found in it."""
    clips: Path | None = None
    """Many clips: a folder with folders of frames and videos in it, or a table (.csv, .xlsx) with
    a column clip and, if known, onset, apex and fps. The answers are written to --out."""
    out: Path = Path("answers.csv")
    """Table of the answers for --clips, a row a movement; repeat an interrupted command to
    continue it."""
    workers: int = 1
    """Processes that answer for --clips at a time; each holds a model of its own."""
    onset: str | None = None
    """The neutral frame: an image file, or with --clip the number of a frame, if it is known."""
    apex: str | None = None
    """The frame in which the expression is strongest: an image file of the same size, or with
    --clip the number of a frame, if it is known."""
    run: str | None = None
    """Name of the run that answers. Default: motion_net with the weights of this package, which
    were learned from drawings and need no training."""
    model: Path | None = None
    """A .keras file, a SavedModel folder or a .tflite file, in place of --run."""
    runs: Path = RUNS
    """Folder of all runs."""
    scheme: Literal["four", "megc3"] = "four"
    """Classes that these weights answer in: four, or megc3 (negative, positive, surprise)."""
    cropped: bool = False
    """The frames are face crops already: take them as they are."""
    fps: float | None = None
    """Frames a second of the clip. Default: those in a video's header; of a folder unknown."""
    method: Literal["flow", "ten-cell"] = "flow"
    """How the apex is found: flow (the pattern of motion that comes and goes) or ten-cell (how
    much ten cells of the face change)."""
    figure: Path | None = None
    """Picture to write (.png): both frames, the motion, where the model looked, and the curve that
    the frames were found on."""
    json: bool = False
    """Print JSON."""
    faces: FaceOptions = FACES


def _answer_many(options: PredictConfig) -> None:
    from casme_tf.formatting import count
    from casme_tf.recognition.clip_table import list_clips, predict_clips
    from casme_tf.recognition.predict import model_path

    taken = ("clip", "onset", "apex", "figure", "json")
    if given := [f"--{name}" for name in taken if getattr(options, name)]:
        raise UserError(f"--clips answers with a table. Received: {', '.join(given)} with it.")
    table = predict_clips(
        list_clips(options.clips or Path(), options.fps),
        options.out,
        model=model_path(options.runs, options.run, options.model),
        scheme=options.scheme,
        method=options.method,
        cropped=options.cropped,
        face_model=options.faces.face_model,
        face_detector=options.faces.face_detector,
        workers=options.workers,
    )
    for status, clips in table.groupby("status")["clip"].nunique().items():
        print(f"{status}: {count(clips, 'clip')}")
    print(options.out)


def run(options: PredictConfig) -> None:
    """Answer for a pair of frames or a clip."""
    from casme_tf.recognition.predict import predict

    if options.clips is not None:
        _answer_many(options)
        return
    made = predict(**keywords(options, "json", "clips", "out", "workers"))
    if options.json:
        print(json.dumps(made.to_json()))
        return
    if not made.answers:
        print("no movement stands out")
    for answer in made.answers:
        print(answer.describe())
        for doubt in answer.doubts:
            print(f"note: {doubt}", file=sys.stderr)
    for reason in made.reasons:
        print(f"note: {reason}", file=sys.stderr)
    if made.figure is not None:
        print(made.figure)
    elif options.figure is not None:
        print(f"note: {options.figure} is not written, since there is no answer.", file=sys.stderr)
