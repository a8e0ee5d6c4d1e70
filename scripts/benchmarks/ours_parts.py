"""What our side of `scripts/benchmarks/benchmark.py` spends its time on.

It answers one task a line, see `worker.py`: those of `ours.py`, and for each
row that may fall short one that times its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from folds import fit_one
from operators import time_operators
from ours import SIZE, Side
from worker import Answer, in_parts, serve, time_call

from casme_tf.datasets.built import frame_decoders
from casme_tf.datasets.pairs import resize_frame
from casme_tf.datasets.splits import PROTOCOLS
from casme_tf.layers import FarnebackFlow
from casme_tf.models.ststnet import ststnet
from casme_tf.training.inputs import mirror_motion
from casme_tf.training.keras_learner import KerasLearner

KINDS = {
    "convolutions' gradients": ("Conv2DBackprop",),
    "convolutions": ("Conv2D",),
    "batch normalization": ("BatchNorm", "_bn_"),
    "dropout": ("dropout",),
}
FIT_EPOCHS, FIT_BATCH = 10, 32


class SideInParts(Side):
    """Our tasks, and those that time the parts of others."""

    def pair_parts(self, arch: str) -> Answer:
        """Flow, and all else in float32 and in eight bits."""
        flow = {"flow": self.flow().seconds} if arch == "flow" else {}
        rest = {
            f"all else in {form}": self.pair(arch, form).seconds - sum(flow.values())
            for form in ("float32", "int8")
        }
        return in_parts(flow | rest)

    def batch_parts(self, arch: str) -> Answer:
        """Flow of 64 pairs by TensorFlow's operators, and all else."""
        whole, flow = self.batch(arch).seconds, {}
        if arch == "flow":
            layer = self._kept.setdefault("flow of 64", tf.function(FarnebackFlow()))
            gray = {name: tf.constant(frames) for name, frames in self._gray(64).items()}
            flow["flow"] = time_call(lambda: layer(gray).numpy()) / 64
        return in_parts(flow | {"all else": whole - sum(flow.values())})

    def train_parts(self, arch: str, batch: str) -> Answer:
        """Operators of a step of training."""
        self._train(arch, int(batch), steps=1)
        kinds = {name: KINDS[name] for name in list(KINDS)[:3]}
        steps = 2  # one of them unmeasured by the task
        return _profile(lambda: self._train(arch, int(batch), steps=1), kinds, steps)

    def flow_parts(self) -> Answer:
        """A step of refinement at all levels, and all that comes before the first."""
        five, one = self._flow(iterations=5).seconds, self._flow(iterations=1).seconds
        step = (five - one) / 4
        return in_parts({"each of 5 refinements": step, "all else": one - step})

    def loso_parts(self) -> Answer:
        """A step of one fold, traced once for all epochs, and its operators."""
        clips = self._clips()
        split = PROTOCOLS["loso"](clips.subjects, clips.labels, seed=0, validation=False)[0]
        straight = {"motion": clips.motion[split.train]}
        motion = np.concatenate([straight["motion"], mirror_motion(straight)["motion"]])
        labels = np.tile(clips.labels[split.train], 2)
        learner = KerasLearner(ststnet, classes=4, epochs=FIT_EPOCHS, batch_size=FIT_BATCH)

        def fit() -> None:
            learner.fit({"motion": motion}, labels, validation=None, seed=0)

        fit()
        return self._fold_parts(fit, len(labels))

    def loso_fresh_parts(self) -> Answer:
        """A step of one fold of a fresh Keras model, building included, and its operators."""
        clips = self._clips()
        split = PROTOCOLS["loso"](clips.subjects, clips.labels, seed=0, validation=False)[0]
        return self._fold_parts(lambda: fit_one(clips, split, FIT_EPOCHS), 2 * len(split.train))

    def _fold_parts(self, fit: Callable[[], object], clips: int) -> Answer:
        steps = FIT_EPOCHS * -(-clips // FIT_BATCH)
        kinds = {name: parts for name, parts in KINDS.items() if name != "batch normalization"}
        found = _profile(fit, kinds, steps)
        assert found.parts is not None
        return in_parts({"a step": time_call(fit) / steps} | found.parts)

    def read_parts(self) -> Answer:
        """Decoding and resizing of a frame, on one thread."""
        files = sorted((self._folder / "prepared").rglob("*.jpg"))[:100]
        stored = [tf.constant(file.read_bytes()) for file in files]
        decode = tf.function(frame_decoders()["onset"].decode_example)
        resize = tf.function(lambda frame: resize_frame(frame, SIZE), reduce_retracing=True)
        frames = [decode(each) for each in stored]
        for frame in frames:
            resize(frame)
        seconds = {
            "decoding": time_call(lambda: [decode(each) for each in stored]),
            "resizing with antialiasing": time_call(lambda: [resize(frame) for frame in frames]),
        }
        return in_parts({name: each / len(files) for name, each in seconds.items()})


def _profile(run: Callable[[], object], kinds: Mapping[str, tuple[str, ...]], steps: int) -> Answer:
    return in_parts({name: each / steps for name, each in time_operators(run, kinds).items()})


if __name__ == "__main__":
    serve(SideInParts)
