"""Time the optical flow in LiteRT against OpenCV's, in turns in one process.

    python scripts/benchmarks/flow.py --size 224

Prints milliseconds a pair and the ratio to OpenCV's, as median and quartiles. A machine that does
other work at the same time makes the ratio with two threads too high.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import tensorflow as tf
import tyro
from ai_edge_litert.interpreter import Interpreter

from casme_tf.layers import FarnebackFlow


@dataclass(frozen=True)
class Arguments:
    """What to time."""

    size: int = 224
    """Height and width of the frames, px."""
    rounds: int = 50
    """How often each is timed."""
    batch: int = 8
    """Pairs a batch for TensorFlow; LiteRT and OpenCV take one pair at a time."""


def converted_flow(size: int, layer: FarnebackFlow) -> bytes:
    """Convert the flow layer for one pair to TensorFlow Lite."""
    frame = tf.TensorSpec((1, size, size, 1), tf.float32)
    function = tf.function(lambda onset, apex: layer({"onset": onset, "apex": apex}))
    concrete = function.get_concrete_function(onset=frame, apex=frame)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def litert_runner(
    model: bytes, threads: int, frames: dict[str, np.ndarray]
) -> tuple[Interpreter, Callable[[], object]]:
    """Load the converted flow; give the interpreter, and a call that computes it once."""
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    for each in interpreter.get_input_details():
        interpreter.set_tensor(each["index"], frames[each["name"]])
    return interpreter, interpreter.invoke


def time_in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time each run `rounds` times, one after the other, in ms."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.array(times) for name, times in taken.items()}


def main(arguments: Arguments) -> None:
    """Time OpenCV, LiteRT and TensorFlow on a random texture that moves by one pixel."""
    size = arguments.size
    noise = np.random.default_rng(0).uniform(0, 255, (size, size)).astype(np.float32)
    onset = cv2.GaussianBlur(noise, (0, 0), 2).round().astype(np.uint8)
    apex = np.roll(onset, 1, axis=1)
    frames = {
        "onset": onset.astype(np.float32)[None, ..., None],
        "apex": apex.astype(np.float32)[None, ..., None],
    }
    model = converted_flow(size, FarnebackFlow())
    layer = tf.function(FarnebackFlow())
    batch = {name: np.repeat(frame, arguments.batch, axis=0) for name, frame in frames.items()}
    reference = "OpenCV"
    times = time_in_turns(
        {
            reference: lambda: cv2.calcOpticalFlowFarneback(
                onset, apex, None, 0.5, 3, 19, 5, 7, 1.2, 0
            ),
            "LiteRT, 1 thread": litert_runner(model, 1, frames)[1],
            "LiteRT, 2 threads": litert_runner(model, 2, frames)[1],
            f"TensorFlow, batch {arguments.batch}": lambda: layer(batch),
        },
        arguments.rounds,
    )
    times[f"TensorFlow, batch {arguments.batch}"] /= arguments.batch
    print(f"{size}×{size} px, {len(model) / 1e6:.1f} MB, {os.cpu_count()} cores")
    print(f"{'':24}{'ms a pair':>10}{'ratio to OpenCV: median (quartiles)':>40}")
    for name, taken in times.items():
        low, middle, high = np.percentile(taken / times[reference], [25, 50, 75])
        ratio = f"{middle:.2f} ({low:.2f}…{high:.2f})"
        print(f"{name:24}{np.median(taken):>10.1f}{ratio:>40}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
