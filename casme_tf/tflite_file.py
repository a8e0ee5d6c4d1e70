"""TFLite files: serialized aligned, joined one after another, and their metadata."""

from __future__ import annotations

import copy
import importlib.util
import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from casme_tf.errors import UserError

MODEL_IDENTIFIER = b"TFL3"

_ALIGNMENT = 16  # of a buffer's data, force_align in schema.fbs


def pack(table: Any, identifier: bytes) -> bytes:
    """Serialize a table of the object interface of flatbuffers."""
    if identifier == MODEL_IDENTIFIER:
        table.buffers = [_AlignedBuffer(x.data, x.offset, x.size) for x in table.buffers]
    builder = _SharingBuilder(1024)
    builder.Finish(table.Pack(builder), file_identifier=identifier)
    return bytes(builder.Output())


def drop_empty(model: Any) -> None:
    """Drop empty buffers but the first, and empty quantization."""
    kept = [0]
    places = {0: 0}

    def place(index: int) -> int:
        if index not in places:
            empty = model.buffers[index].data is None
            places[index] = 0 if empty else len(kept)
            if not empty:
                kept.append(index)
        return places[index]

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place(tensor.buffer)
            if tensor.quantization is not None and _says_nothing(tensor.quantization):
                tensor.quantization = None
    for entry in model.metadata or ():
        entry.buffer = place(entry.buffer)
    model.buffers = [model.buffers[index] for index in kept]


def _says_nothing(quantization: Any) -> bool:
    fields = ("min", "max", "scale", "zeroPoint", "details")
    return all(getattr(quantization, name) is None for name in fields)


class _SharingBuilder(flatbuffers.Builder):
    """A builder that writes equal arrays of numbers once, as the format allows."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype == np.uint8:
            return super().CreateNumpyVector(x)
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data begin where the schema wants them, which flatbuffers' Python forgets."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is not None:
            builder.Prep(_ALIGNMENT, len(self.data))
        return super().Pack(builder)


def join_tflite(first: bytes, second: bytes) -> bytes:
    """Join two files at the signature outputs of the first and inputs of the second."""
    head, tail = (_unpack(content) for content in (first, second))
    head_graph, tail_graph = head.subgraphs[0], tail.subgraphs[0]
    head_signature, tail_signature = head.signatureDefs[0], tail.signatureDefs[0]

    given = {item.name: item.tensorIndex for item in head_signature.outputs}
    wanted = {item.name: item.tensorIndex for item in tail_signature.inputs}
    if given.keys() != wanted.keys():
        raise ValueError(
            "The second model's inputs must be named as the first one's outputs. "
            f"Received: {sorted(map(str, given))} and {sorted(map(str, wanted))}."
        )
    tensors = {wanted[name]: given[name] for name in wanted}
    for theirs, ours in tensors.items():
        types = head_graph.tensors[ours].type, tail_graph.tensors[theirs].type
        if types[0] != types[1]:
            raise ValueError(f"Joined tensors must have one type. Received: types {types}.")

    buffer_offset, code_offset = len(head.buffers), len(head.operatorCodes)
    for i, tensor in enumerate(tail_graph.tensors):
        if i in tensors:
            continue
        tensors[i] = len(head_graph.tensors)
        moved = copy.copy(tensor)
        moved.buffer = tensor.buffer + buffer_offset
        head_graph.tensors.append(moved)
    for operator in tail_graph.operators:
        operator.opcodeIndex += code_offset
        for field in ("inputs", "outputs", "intermediates"):
            moved_to = [_moved(i, tensors) for i in _list(getattr(operator, field))]
            setattr(operator, field, np.array(moved_to, np.int32))
    head.buffers.extend(tail.buffers)
    head.operatorCodes.extend(tail.operatorCodes)
    head_graph.operators = [*head_graph.operators, *tail_graph.operators]
    head_graph.outputs = [_moved(i, tensors) for i in tail_graph.outputs]
    for item in tail_signature.outputs:
        item.tensorIndex = _moved(item.tensorIndex, tensors)
    head_signature.outputs = tail_signature.outputs
    drop_empty(head)
    return pack(head, MODEL_IDENTIFIER)


def _unpack(content: bytes) -> schema.ModelT:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if len(model.subgraphs) != 1 or len(_list(model.signatureDefs)) != 1:
        raise ValueError(
            "A model to be joined must have one subgraph and one signature. Received: "
            f"{len(model.subgraphs)} and {len(_list(model.signatureDefs))}."
        )
    return model


def _moved(index: int, tensors: dict[int, int]) -> int:
    return tensors[index] if index >= 0 else index  # -1 stands for an optional input left out


def _list(value: list | None) -> list:
    return [] if value is None else value


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
    """Describe a classifier of pairs inside its file, and pack the class names into it."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    inputs, output = _named_tensors(model)
    _require_classes(classes, output)
    attach_metadata(model, _describe(inputs, name, description))
    labeled = io.BytesIO()
    labeled.write(pack(model, MODEL_IDENTIFIER))
    # Stored, not deflated: readers on phones map the file and take the bytes as they lie.
    with zipfile.ZipFile(labeled, "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo of its own has no time of writing: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in classes))
    return labeled.getvalue()


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the class names that a .tflite file carries."""
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
    """Return the classes of the metadata's schema, from the package mediapipe."""
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
    """Put metadata into a model, in place of what it has."""
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
