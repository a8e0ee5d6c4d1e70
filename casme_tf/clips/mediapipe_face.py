"""MediaPipe's own face detector: what `BlazeFace` is compared with, and its usage log shut."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from casme_tf.clips.blazeface import (
    MIN_SUPPRESSION,
    Detection,
    native_log_muted,
    not_blazeface,
    read_model,
)
from casme_tf.errors import UserError
from casme_tf.tflite_file import (
    METADATA,
    METADATA_IDENTIFIER,
    MODEL_IDENTIFIER,
    attach_metadata,
    image_content,
    metadata_schema,
    normalization,
    pack,
)

# A port of this machine on which nothing listens (RFC 863, "discard").
_NOWHERE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
}
_LOCK = Lock()
_open_blocks: list[None] = []
_before: dict[str, str | None] = {}


@contextmanager
def network_shut() -> Iterator[None]:
    """Name an unreachable proxy to code of others that sends over HTTP, until the block ends."""
    with _LOCK:
        if not _open_blocks:
            _before.update({name: os.environ.get(name) for name in _NOWHERE})
            os.environ.update(_NOWHERE)
        _open_blocks.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _open_blocks.pop()
            if not _open_blocks:
                for name, value in _before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


class MediaPipeFace:
    """BlazeFace, run by MediaPipe's `FaceDetector`."""

    def __init__(self, path: Path, min_score: float) -> None:
        content = with_metadata(path)
        self._shut = network_shut()
        self._shut.__enter__()
        try:
            self._detector = _open(path, content, min_score)
        except BaseException:
            self._shut.__exit__(None, None, None)
            raise

    def __call__(self, frame: np.ndarray) -> list[Detection]:
        """Find faces in a frame `(H, W, 3)` uint8 RGB, that with the highest score first."""
        return _detect(self._detector, frame)

    def close(self) -> None:
        """Free the model. An open detector disturbs the interpreter's shutdown."""
        try:
            with native_log_muted():
                self._detector.close()
        finally:
            self._shut.__exit__(None, None, None)


def with_metadata(path: Path) -> bytes:
    """Return a BlazeFace file with the metadata that MediaPipe requires, added if it is missing."""
    content = read_model(path)
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        if any(entry.name == METADATA.encode() for entry in model.metadata or ()):
            return content
    except (struct.error, AttributeError, IndexError, TypeError, ValueError, MemoryError):
        raise not_blazeface(path, "a damaged file") from None
    fields = metadata_schema()
    tensor = fields.TensorMetadataT(
        content=image_content(), processUnits=[normalization(127.5, 127.5)]
    )
    graph = fields.SubGraphMetadataT(inputTensorMetadata=[tensor])
    attach_metadata(
        model, pack(fields.ModelMetadataT(subgraphMetadata=[graph]), METADATA_IDENTIFIER)
    )
    return pack(model, MODEL_IDENTIFIER)


def _open(path: Path, content: bytes, min_score: float) -> Any:
    try:
        with native_log_muted():
            from mediapipe.tasks import python as tasks

            detector = tasks.vision.FaceDetector.create_from_options(
                tasks.vision.FaceDetectorOptions(
                    base_options=tasks.BaseOptions(model_asset_buffer=content),
                    min_detection_confidence=min_score,
                    min_suppression_threshold=MIN_SUPPRESSION,
                )
            )
            # The first inference writes to the terminal too: have it here.
            _detect(detector, np.zeros((1, 1, 3), np.uint8))
    except OSError as error:  # a shared library is missing
        raise UserError(
            f"MediaPipe must load. Received: {error}. On Debian and Ubuntu install what it needs "
            "with: apt-get install libegl1 libgles2; or use --face-detector litert."
        ) from error
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"A face model must be one that MediaPipe runs. Received: {path}, which it "
            f"refuses: {str(error).splitlines()[0]}"
        ) from None
    return detector


def _detect(detector: Any, frame: np.ndarray) -> list[Detection]:
    import mediapipe

    height, width = frame.shape[:2]
    image = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
    )
    found = []
    for face in detector.detect(image).detections:
        box = face.bounding_box
        keypoints = [(point.x * width, point.y * height) for point in face.keypoints]
        found.append(
            Detection(
                float(face.categories[0].score),
                (box.origin_x, box.origin_y, box.width, box.height),
                np.array(keypoints, np.float32),
            )
        )
    return found
