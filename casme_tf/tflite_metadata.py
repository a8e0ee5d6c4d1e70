"""What a TFLite file says of itself: its inputs, its output, and the names of its classes."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from casme_tf.errors import UserError
from casme_tf.tflite_pack import MODEL_IDENTIFIER, pack

LABELS = "labels.txt"
METADATA = "TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"

_OUTPUT = "probabilities"
_FRAMES = {
    "onset": "Face in the frame in which the movement begins",
    "apex": "Face in the frame in which the movement is strongest, cut with the onset's box",
}
_SCHEMA_FILE = "tasks/metadata/metadata_schema_py_generated.py"
_PARSER_VERSION = "1.0.0"  # of the metadata's schema; nothing newer is used


def add_metadata(content: bytes, classes: Sequence[str], *, name: str, description: str) -> bytes:
    """Describe a classifier of pairs inside its file, and pack the class names into it.

    The description is what LiteRT's tools on phones look for: the buffer `TFLITE_METADATA`, which
    names labels.txt as the labels of the output, and that file in a ZIP archive behind the model.
    What an earlier call added is replaced.

    Args:
        content: A .tflite file with one signature: inputs `onset` and `apex` `(1, S, S, 3)` uint8,
            output `probabilities` `(1, C)` float32.
        classes: C class names, in the order of the output.
        name: Name of the model.
        description: What it is for, in a sentence.

    Returns:
        The file with metadata; it answers as before.

    Raises:
        ValueError: If the model is another one, or the names are not one for each output.

    Example:
        >>> labelled = add_metadata(content, CLASSES, name="flow", description="…")
        ... # doctest: +SKIP
        >>> zipfile.ZipFile(io.BytesIO(labelled)).read("labels.txt")  # doctest: +SKIP
        b'negative\\nother\\npositive\\nsurprise\\n'

    Source: the schema of the metadata,
    https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    inputs, output = _named_tensors(model)
    _require_classes(classes, output)
    attach_metadata(model, _describe(inputs, name, description))
    labelled = io.BytesIO()
    labelled.write(pack(model, MODEL_IDENTIFIER))
    # Stored, not deflated: readers on phones map the file and take the bytes as they lie.
    with zipfile.ZipFile(labelled, "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo of its own has no time of writing: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in classes))
    return labelled.getvalue()


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the class names that a .tflite file carries.

    Args:
        path: A file that `add_metadata` made.

    Returns:
        Class names, in the order of the output.

    Raises:
        UserError: If the file is missing or carries none.

    Example:
        >>> read_labels(Path("saved_models/demo/model_int8.tflite"))  # doctest: +SKIP
        ('negative', 'other', 'positive', 'surprise')
    """
    try:
        with zipfile.ZipFile(path) as archive:
            labels = archive.read(LABELS).decode()
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) else "none that can be read"
        raise UserError(
            f"A .tflite model must carry {LABELS} inside. Received: {path}, {reason}. Export its "
            "run again with: casme-tf export"
        ) from None
    return tuple(labels.splitlines())


@lru_cache(maxsize=1)
def metadata_schema() -> ModuleType:
    """Return the classes of the metadata's schema, from the package mediapipe.

    Raises:
        UserError: If the package is not installed, or does not carry them.
    """
    # They are one file that needs nothing of its package; importing that takes seconds, writes to
    # the terminal and brings TensorFlow along.
    package = importlib.util.find_spec("mediapipe")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / _SCHEMA_FILE
        if path.is_file():
            spec = importlib.util.spec_from_file_location("metadata_schema_py_generated", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise UserError(
        f"Describing a model needs {_SCHEMA_FILE} of the package mediapipe. Received: an "
        "installation without it. Run pip install mediapipe"
    )


def attach_metadata(model: Any, metadata: bytes) -> None:
    """Put metadata into a model, in place of what it has.

    Args:
        model: `ModelT` of the schema of TFLite files; changed in place.
        metadata: A packed `ModelMetadataT`.
    """
    entries = list(model.metadata or ())
    known = next((entry for entry in entries if _text(entry.name) == METADATA), None)
    if known is None:
        known = schema.MetadataT()
        known.name = METADATA
        known.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*entries, known]
    model.buffers[known.buffer].data = np.frombuffer(metadata, np.uint8)


def image_content(width: int | None = None, height: int | None = None) -> Any:
    """Return the content of a tensor that holds an RGB image, of that size if it is given."""
    fields = metadata_schema()
    sized = width is not None and height is not None
    size = fields.ImageSizeT(width=width, height=height) if sized else None
    return fields.ContentT(
        contentPropertiesType=fields.ContentProperties.ImageProperties,
        contentProperties=fields.ImagePropertiesT(fields.ColorSpaceType.RGB, size),
    )


def normalization(mean: float, deviation: float) -> Any:
    """Return the processing step that maps a value x to (x − mean) / deviation."""
    fields = metadata_schema()
    return fields.ProcessUnitT(
        optionsType=fields.ProcessUnitOptions.NormalizationOptions,
        options=fields.NormalizationOptionsT(mean=[mean], std=[deviation]),
    )


def _named_tensors(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return name and tensor of each input, in the order of the subgraph, and the output."""
    signatures = list(model.signatureDefs or [])
    if len(signatures) == 1 and len(model.subgraphs) == 1:
        graph, signature = model.subgraphs[0], signatures[0]
        names = {item.tensorIndex: _text(item.name) for item in signature.inputs}
        inputs = [(names.get(index, ""), graph.tensors[index]) for index in graph.inputs]
        outputs = {_text(item.name): graph.tensors[item.tensorIndex] for item in signature.outputs}
        if {name for name, _ in inputs} == _FRAMES.keys() and outputs.keys() == {_OUTPUT}:
            return inputs, outputs[_OUTPUT]
    received = [
        sorted(_text(item.name) for item in (*signature.inputs, *signature.outputs))
        for signature in signatures
    ]
    raise ValueError(
        f"A model must have one signature, with inputs {', '.join(_FRAMES)} and output {_OUTPUT}, "
        f"and one subgraph. Received: {received} and {len(model.subgraphs)} subgraphs."
    )


def _require_classes(classes: Sequence[str], output: Any) -> None:
    count = int(output.shape[-1])
    good = all(
        label and label == label.strip() and len(label.splitlines()) == 1 for label in classes
    )
    if len(classes) != count or not good:
        raise ValueError(
            f"Class names must be {count}, each a line of text. Received: {list(classes)}."
        )


def _describe(inputs: list[tuple[str, Any]], name: str, description: str) -> bytes:
    fields = metadata_schema()
    labels = fields.AssociatedFileT(
        name=LABELS,
        description="Names of the classes, in the order of the probabilities",
        type=fields.AssociatedFileType.TENSOR_AXIS_LABELS,
    )
    probabilities = fields.TensorMetadataT(
        name=_OUTPUT,
        description="Probability of each class",
        content=fields.ContentT(
            contentPropertiesType=fields.ContentProperties.FeatureProperties,
            contentProperties=fields.FeaturePropertiesT(),
        ),
        stats=fields.StatsT(min=[0.0], max=[1.0]),
        associatedFiles=[labels],
    )
    graph = fields.SubGraphMetadataT(
        inputTensorMetadata=[_describe_frame(frame, tensor) for frame, tensor in inputs],
        outputTensorMetadata=[probabilities],
    )
    metadata = fields.ModelMetadataT(
        name=name,
        description=description,
        subgraphMetadata=[graph],
        minParserVersion=_PARSER_VERSION,
    )
    return pack(metadata, METADATA_IDENTIFIER)


def _describe_frame(name: str, tensor: Any) -> Any:
    """Describe an RGB image that is fed as it is, uint8 0…255."""
    fields = metadata_schema()
    _, height, width, _ = (int(size) for size in tensor.shape)
    return fields.TensorMetadataT(
        name=name,
        description=f"{_FRAMES[name]}: RGB, 0…255",
        content=image_content(width, height),
        processUnits=[normalization(0.0, 1.0)],
        stats=fields.StatsT(min=[0.0], max=[255.0]),
    )


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
