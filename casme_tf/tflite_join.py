"""Joining two TFLite files into one, where the second goes on with what the first gives.

The converter quantizes a whole file in one way. Motion must stay float32 and only the network be
int8, so the two are converted apart and joined.
"""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from casme_tf.tflite_pack import MODEL_IDENTIFIER, drop_empty, pack


def join_tflite(first: bytes, second: bytes) -> bytes:
    """Join two files at the signature outputs of the first and inputs of the second.

    Args:
        first: A model of one subgraph and one signature.
        second: The same; its signature's inputs must be named as the outputs of the first, with
            the same type.

    Returns:
        A model with the inputs of the first and the outputs of the second.

    Raises:
        ValueError: If the names or types do not match, or a model has several subgraphs.

    Source: the schema of the file format,
    https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
    """
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
