"""Predicting a camera or a clip as it plays: the options, one call, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from casme_tf.cli import FACES, FaceOptions, keywords
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class StreamConfig:
    """Answer for a camera, or for a clip as it plays, and say how fast answers come."""

    source: Annotated[str, Positional]
    """The index of a camera, such as 0, a video file, or a folder of frames with --fps."""
    run: str | None = None
    """Name of the run that answers; its TFLite file does, without TensorFlow. Default: motion_net
    with the weights of this package."""
    model: Path | None = None
    """A .tflite file, a .keras file or a SavedModel folder, in place of --run."""
    runs: Path = RUNS
    """Folder of all runs."""
    fps: float | None = None
    """Frames a second at which a clip is played. Default: those in a video's header."""
    seconds: float | None = None
    """End after so many seconds. Default: when the clip ends, or at Ctrl-C."""
    json: bool = False
    """Print a line of JSON for each frame, and one with the figures at the end."""
    faces: FaceOptions = FACES


def run(options: StreamConfig) -> None:
    """Answer for a camera or a clip as it plays."""
    from casme_tf.recognition.stream import stream

    stream(**keywords(options, "json"), as_json=options.json)
