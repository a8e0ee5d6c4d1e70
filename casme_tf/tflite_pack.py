"""Serializing TFLite files: aligned as the schema wants it, nothing in them twice."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

MODEL_IDENTIFIER = b"TFL3"

_ALIGNMENT = 16  # of a buffer's data, force_align in schema.fbs


def pack(table: Any, identifier: bytes) -> bytes:
    """Serialize a table of the object interface of flatbuffers.

    Args:
        table: Such as `ModelT` or `ModelMetadataT`.
        identifier: The four bytes that tell the format.
    """
    if identifier == MODEL_IDENTIFIER:
        table.buffers = [_AlignedBuffer(x.data, x.offset, x.size) for x in table.buffers]
    builder = _SharingBuilder(1024)
    builder.Finish(table.Pack(builder), file_identifier=identifier)
    return bytes(builder.Output())


def drop_empty(model: Any) -> None:
    """Leave out what says nothing: empty buffers but the first, and empty quantization.

    A tensor that is computed has no data; the converter gives each a buffer of its own, where the
    schema has buffer 0 for all of them.

    Args:
        model: `ModelT` of the schema of TFLite files; changed in place.
    """
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
    """A builder that writes equal arrays of numbers once, as the format allows.

    An int8 network has eight bytes of zero point, all 0, for each channel of each layer. Bytes are
    left alone: a buffer's data must lie where it is told to, other bytes need not.
    """

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
