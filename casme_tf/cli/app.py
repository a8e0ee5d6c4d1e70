"""Serving the app: the options, one call, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from casme_tf.cli import FACES, FaceOptions
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class AppConfig:
    """Answer in a browser, for pairs, clips and the camera. This machine alone can see it."""

    runs: Path = RUNS
    """Folder of all runs; those with a model can be chosen in the page."""
    port: int = 7860
    """Port on 127.0.0.1; 0 for any that is free."""
    browser: bool = False
    """Open the browser."""
    max_megabytes: int = 200
    """Size of a file at most."""
    max_frames: int = 1200
    """Frames of a clip at most."""
    keep_minutes: float = 10
    """How long uploads and figures are kept; when the app ends, all of them are deleted."""
    queue: int = 64
    """Questions that may wait; they are answered one after another."""
    faces: FaceOptions = FACES


def run(options: AppConfig) -> None:
    """Serve the app until it is interrupted."""
    from casme_tf.recognition.app.answers import Limits
    from casme_tf.recognition.app.app import run_app

    run_app(
        browser=options.browser,
        runs=options.runs,
        port=options.port,
        limits=Limits(
            options.max_megabytes, options.max_frames, options.keep_minutes, options.queue
        ),
        face_model=options.faces.face_model,
        face_detector=options.faces.face_detector,
    )
