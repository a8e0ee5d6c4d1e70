"""Arrays of clips: pairs of frames, rows of some clips, and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from casme_tf.errors import UserError

PAIR = ("onset", "apex")
"""Names of the two frames, in the order in which they were filmed."""

Pair = dict[str, np.ndarray]
"""`onset` and `apex`, each `(n, S, S, 3)` uint8 RGB."""

Inputs = dict[str, np.ndarray]
"""What a model is given: arrays by name, clips first, any shapes."""


def require_pair(pair: Pair, frame_size: int) -> None:
    """Require frames that a model of this size accepts."""
    wanted = (frame_size, frame_size, 3)
    good = pair.keys() == {"onset", "apex"} and all(
        frame.dtype == np.uint8 and frame.shape[1:] == wanted and len(frame)
        for frame in pair.values()
    )
    if not good or len(pair["onset"]) != len(pair["apex"]):
        received = ", ".join(f"{name} {x.dtype} {x.shape}" for name, x in pair.items())
        raise UserError(
            f"A pair must be onset and apex, each uint8 (n, {frame_size}, {frame_size}, 3) with "
            f"the same n. Received: {received or 'nothing'}."
        )


def rows_of(arrays: Any, indices: np.ndarray) -> Any:
    """Return copies of some clips' rows; no other clip can be reached from them."""
    if isinstance(arrays, dict):
        return {key: rows_of(a, indices) for key, a in arrays.items()}
    rows = np.take(np.asarray(arrays), indices, axis=0)
    rows.setflags(write=False)
    return rows


def digest(value: Any) -> str:
    """Return a digest of arrays, or of containers of arrays, numbers and texts."""
    state = hashlib.blake2b(digest_size=16)

    def add(part: Any) -> None:
        if isinstance(part, Mapping):
            add([[name, part[name]] for name in part])
        elif isinstance(part, (list, tuple)):
            state.update(f"[{len(part)}".encode())
            for each in part:
                add(each)
        elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
            state.update(f"{part.dtype.str}{part.shape}".encode())
            state.update(np.ascontiguousarray(part).tobytes())
        else:
            state.update(f"{type(part).__name__}:{part!r};".encode())

    add(value)
    return state.hexdigest()
