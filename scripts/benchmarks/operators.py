"""How long TensorFlow's operators take in a call, for `scripts/benchmarks/benchmark.py`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

OTHER = "other operators"
_NOT_OPERATORS = "EagerLocalExecute"


def time_operators(run: Callable[[], object], kinds: Mapping[str, tuple[str, ...]]) -> Counter[str]:
    """Run under TensorFlow's profiler; add up the time in operators by kind.

    Args:
        run: What to run.
        kinds: Parts of an operator's path or type, by name of the kind; the first that fits counts.

    Returns:
        Seconds by kind, and those of all others as `OTHER`. Operators that run at the same time
        count each.
    """
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = XSpace.FromString(file.read_bytes())
    seconds: Counter[str] = Counter(dict.fromkeys([*kinds, OTHER], 0.0))
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name  # path:type
            if ":" not in name or "::" in name or name.startswith(_NOT_OPERATORS):
                continue
            fitting = (k for k, parts in kinds.items() if any(part in name for part in parts))
            seconds[next(fitting, OTHER)] += event.duration_ps / 1e12
    return seconds
