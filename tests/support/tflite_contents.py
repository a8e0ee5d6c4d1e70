"""What a TFLite file holds, read from its flatbuffer."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ai_edge_litert import schema_py_generated as schema

OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if name.isupper()}


class Contents(NamedTuple):
    inputs: dict[str, str]
    outputs: dict[str, str]
    operators: dict[str, int]


def read_contents(path: Path) -> Contents:
    """Return types and shapes by name, and counts of operators; others are `custom:NAME`."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    operators = Counter(operator(model.operatorCodes[op.opcodeIndex]) for op in graph.operators)
    inputs, outputs = (
        {item.name.decode(): describe(graph.tensors[item.tensorIndex]) for item in items}
        for items in (signature.inputs, signature.outputs)
    )
    return Contents(inputs, outputs, operators)


def operator(code: schema.OperatorCodeT) -> str:
    if code.customCode:
        return f"custom:{code.customCode.decode()}"
    # Operators from before 2020 may be named in the deprecated field alone.
    return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def describe(tensor: schema.TensorT) -> str:
    return f"{TYPES[tensor.type]} ({', '.join(map(str, tensor.shape))})"
