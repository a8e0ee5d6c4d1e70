"""What a TFLite file holds: what it takes and gives, and the operators that it needs."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from casme_tf.errors import UserError
from casme_tf.tflite_metadata import read_labels

_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if name.isupper()}


@dataclass(frozen=True)
class TFLiteContents:
    """What a `.tflite` file of one subgraph holds.

    Attributes:
        labels: Class names, in the order of the probabilities.
        inputs: Type and shape by the name in the signature.
        outputs: The same of what it gives.
        operators: How often each operator occurs. One that LiteRT does not have built in, among
            them those of Flex, is named `custom:NAME`.
    """

    labels: tuple[str, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    operators: dict[str, int]

    def to_string(self) -> str:
        """Return it as text to print."""
        lines = [f"labels   {', '.join(self.labels)}"]
        for title, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{title:8} {name}: {kind}" for name, kind in tensors.items()]
        lines += [f"{count:8} {name}" for name, count in self.operators.items()]
        custom = sum(name.startswith("custom:") for name in self.operators)
        lines.append(f"{len(self.operators)} different operators, {custom} of them not built in")
        return "\n".join(lines)


def inspect_tflite(path: Path) -> TFLiteContents:
    """Read what a `.tflite` file holds; neither TensorFlow nor an interpreter is needed.

    Args:
        path: A file that this package exported.

    Returns:
        What it holds.

    Raises:
        UserError: If there is no such file, or it is another.

    Example:
        >>> inspect_tflite(Path("saved_models/demo/model_int8.tflite"))  # doctest: +SKIP
    """
    labels = read_labels(path)
    try:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        operators = Counter(_name(model.operatorCodes[op.opcodeIndex]) for op in graph.operators)
        inputs, outputs = (
            {item.name.decode(): _describe(graph.tensors[item.tensorIndex]) for item in items}
            for items in (signature.inputs, signature.outputs)
        )
    except (struct.error, AttributeError, IndexError, TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"A .tflite file must be one that this package exported. Received: {path}, which could "
            "not be read."
        ) from error
    return TFLiteContents(labels, inputs, outputs, dict(sorted(operators.items())))


def _name(code: schema.OperatorCodeT) -> str:
    if code.customCode:
        return f"custom:{code.customCode.decode()}"
    # Operators from before 2020 may be named in the deprecated field alone.
    return _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _describe(tensor: schema.TensorT) -> str:
    return f"{_TYPES[tensor.type]} ({', '.join(map(str, tensor.shape))})"
