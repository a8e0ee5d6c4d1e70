"""Finding the apex of a clip whose coding sheet has none."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from casme_tf.clips.apex import Method, Spotting, spot_apex
from casme_tf.clips.detector import Detector, Face
from casme_tf.clips.frames import Frame
from casme_tf.clips.images import read_rgb
from casme_tf.clips.tracking import FaceTracker
from casme_tf.datasets.raw_clips import FrameFiles, FramePair
from casme_tf.errors import UserError

SHEET = "sheet"
"""Source of an apex that the coding sheet names."""

VERSION = "1"
"""Raise it when the same frames get another apex."""


@dataclass(frozen=True)
class SharedDetector:
    """A face detector that several threads use in turn.

    Args:
        detector: The detector.
        lock: Lets one thread at a time use it.
    """

    detector: Detector
    lock: threading.Lock

    def detect(self, frame: np.ndarray) -> Face:
        """Find the largest face; see `FaceDetector.detect`."""
        with self.lock:
            return self.detector.detect(frame)


def source_of(method: Method) -> str:
    """Return what `apex_source` says of an apex found by a method, such as "spotted-flow"."""
    return f"spotted-{method}"


def spot_missing(
    files: FrameFiles, detector: SharedDetector, method: Method, fps: float
) -> tuple[FramePair, Spotting]:
    """Find the apex of a clip between its onset and its offset.

    Args:
        files: Its frames, the first being the onset.
        detector: Finds the face.
        method: See `apex.spot_apex`.
        fps: Frames a second.

    Returns:
        The files of onset and apex, and how they were found.

    Raises:
        UserError: If a frame cannot be read, or the face is not seen.
    """
    tracker = FaceTracker(detector, cropped=files.cropped)
    for number, path in zip(files.numbers, files.paths, strict=True):
        rgb = read_rgb(path)
        tracker.add(Frame(number, rgb, (number - files.numbers[0]) / fps))
    track = tracker.finish()
    if track.numbers[0] != files.numbers[0]:
        raise UserError(
            f"The onset frame must show a face. Received: {files.paths[0]}, where none is found."
        )
    found = spot_apex(track, method, onset=files.numbers[0], trimmed=True)
    apex = files.paths[files.numbers.index(found.apex)]
    return FramePair(files.paths[0], apex, files.cropped), found
