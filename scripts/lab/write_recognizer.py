"""Writing the recognizer that is shipped: the weights of motion_net as one LiteRT file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from casme_tf.cli.main import run_command
from casme_tf.export.artifacts import RECOGNIZER, SIGNATURE
from casme_tf.export.conversion import convert_recognizer
from casme_tf.files import atomic_file
from casme_tf.models import motion_net
from casme_tf.models.motion_net import drawn_file
from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import draw_schedule

WEIGHTS_FILE = drawn_file()
TOLERANCE = 1e-3
"""Largest difference of an answer to the Keras model's, relative where that is more than 1."""


@dataclass(frozen=True)
class WriteRecognizerConfig:
    """Write recognizer.tflite next to weights, and check that it answers as they do."""

    weights: Path = WEIGHTS_FILE
    """Weights of `pretrain`. Default: those of this package."""


def write_recognizer(weights: Path) -> float:
    """Write the file next to weights.

    Returns:
        The largest difference of its answers to the Keras model's, on pairs of the stand-in.

    Raises:
        AssertionError: If it is more than `TOLERANCE`.
    """
    model = motion_net.load_recognizer(weights=weights)
    content = convert_recognizer(model)
    difference = 0.0
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(content)
        run = Interpreter(file.name).get_signature_runner(SIGNATURE)
        for pair in drawn_pairs(20):
            expected = {name: values.numpy() for name, values in model(pair).items()}
            for name, values in run(**pair).items():
                scale = np.maximum(1, np.abs(expected[name]))
                difference = max(difference, float((abs(values - expected[name]) / scale).max()))
    assert difference <= TOLERANCE, difference
    with atomic_file(weights.with_name(RECOGNIZER.name)) as temporary:
        temporary.write_bytes(content)
    return difference


def drawn_pairs(count: int) -> list[dict[str, np.ndarray]]:
    """Return pairs of the stand-in, cut to the face, each `(1, 224, 224, 3)` uint8 RGB."""
    schedule = draw_schedule(subjects=5, clips=max(5, count), frames=4, seed=11)
    pairs = []
    for clip in schedule.clips[:count]:
        portrait = paint_portrait(
            schedule.traits(clip.subject), schedule.portrait_rng(clip.subject)
        )
        frames = list(render_clip(portrait, schedule.motion(clip), schedule.sensor_rng(clip)))
        apex = frames[clip.apex]
        cut = np.s_[None, 100:324, 208:432]
        pairs.append({"onset": frames[0][cut].copy(), "apex": apex[cut].copy()})
    return pairs


def main(config: WriteRecognizerConfig) -> None:
    """Write the file and print how it differs."""
    difference = write_recognizer(config.weights)
    path = config.weights.with_name(RECOGNIZER.name)
    size = path.stat().st_size / 1e6
    print(f"{path}: {size:.2f} MB, at most {difference:.1e} from the Keras model")


if __name__ == "__main__":
    raise SystemExit(run_command(WriteRecognizerConfig, main))
