"""In which numbers a network is trained: those that this processor multiplies fastest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import keras

Precision = Literal["float32", "mixed_bfloat16"]

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
_WORTH_IT = 96  # px; of smaller images casting costs what the products save


def choose_precision(network_size: int) -> Precision:
    """Choose the arithmetic of training.

    bfloat16 is chosen where the processor has instructions for it and images are large enough to
    gain by it; elsewhere it would be slower. Weights, losses and sums stay float32.

    Args:
        network_size: Side of the images that the network sees, px.

    Returns:
        "mixed_bfloat16" or "float32".

    Example:
        >>> choose_precision(32)
        'float32'
    """
    if network_size >= _WORTH_IT and _INSTRUCTIONS & _processor_flags():
        return "mixed_bfloat16"
    return "float32"


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Let Keras make layers of a policy, such as "mixed_bfloat16", within a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _processor_flags() -> set[str]:
    """Return what Linux says that the processor can do; nothing where it does not say."""
    if not _CPUINFO.is_file():
        return set()
    lines = _CPUINFO.read_text().splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}
