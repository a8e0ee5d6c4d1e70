"""Settings of a training; they are recorded with the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from casme_tf.runs import RUNS


@dataclass(frozen=True)
class TrainConfig:
    """Train one fold: fit on some people, choose the epoch on others, keep the rest for test."""

    arch: Literal["flow", "siamese", "motion_net"]
    """Architecture: flow (optical flow through ResNet50), siamese (both frames, subtracted) or
    motion_net (optical flow on 28 × 28 cells through a small network)."""
    run: str | None = None
    """Name of the run, a folder of --runs. Default: the architecture's name."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    split: Literal["subject-holdout", "random"] = "subject-holdout"
    """How clips are divided. `random` repeats the original system's split, which leaks subjects."""
    weights: str | None = None
    """First weights: imagenet (of ResNet50), drawn (of motion_net: learnt from drawn motion, its
    convolutions frozen), none (random), or the path of a weights file. Default: imagenet, and of
    motion_net drawn."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size. That of motion_net
    is 28."""
    epochs: int | None = None
    """Largest number of epochs. Default: flow 25, siamese 120, motion_net 60."""
    batch_size: int | None = None
    """Clips a step. Default: flow 10, siamese and motion_net 32."""
    patience: int | None = None
    """Epochs without a better validation loss before it stops. Default: flow 6, siamese and
    motion_net 12."""
    dropout: float | None = None
    """Share of units dropped in the classifier. Default: flow 0.5, siamese 0.25, motion_net 0.1."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Arithmetic of training; the trained model is float32. auto takes mixed_bfloat16 where the
    processor has instructions for it and --network-size is 96 or more."""
    augment: Annotated[
        bool,
        arg(help="Do not change clips at random (mirror, shift, rotation, scale, brightness)."),
    ] = True
    """Change clips at random while training: mirror, small shift, rotation, scale, brightness."""
    class_weights: Annotated[
        bool, arg(help="Let each clip count the same, as in the system that is re-implemented.")
    ] = True
    """Weigh each class by the inverse of its share of the training clips."""
    seed: int = 12
    """Seed of everything random: split, first weights, order, augmentation, dropout."""
    overwrite: bool = False
    """Replace the run if it exists, and forget an interrupted training of that name."""

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return self.run or self.arch
