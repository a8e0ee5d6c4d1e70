"""Settings of trainings; they are recorded with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from casme_tf.errors import UserError
from casme_tf.runs import RUNS

__all__ = ["FitConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What `train` and `crossval` have in common: the same options fit the same network."""

    run: str | None = None
    """Name of the run, a folder of --runs."""
    data: tuple[str, ...] = ("casme2",)
    """Databases: casme2, casme, samm, smic/hs, smic/vis, smic/nir, casme3/a, casme3/c, mmew,
    fourdme, dfme. Of several, subjects are named DATABASE/SUBJECT."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    scheme: Literal["four", "megc3", "five", "seven", "objective"] = "four"
    """Classes: four (all clips), megc3 (negative, positive, surprise), five (those that papers on
    the database report), seven (its emotions) or objective (I to V, by action units)."""
    backbone: Literal["frozen", "trained"] = "frozen"
    """What is done with the ResNet50 of flow and siamese: frozen (only the layers after it are
    trained, on its features) or trained (all of it, which takes hours without a GPU)."""
    weights: str | None = None
    """First weights: imagenet (of ResNet50), drawn (of motion_net, kernel and zero_shot: learned
    from drawn motion), none (random), or the path of a weights file. Default: imagenet or drawn, by
    architecture."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size."""
    head_motion: Literal["median", "similarity", "none"] = "median"
    """What svm, ststnet, motion_net and kernel take for the head's motion and subtract: the median
    of the flow, a fit of shift, rotation and scale, or nothing."""
    augment: Annotated[bool, arg(help="Train on the clips as they are.")] = True
    """Add a mirrored copy of each training clip; with a trained backbone, change each clip at
    random in each epoch instead (mirror, shift, rotation, scale, brightness)."""
    epochs: int | None = None
    """Number of epochs; with --choose-epoch the largest. Default: ststnet 40, motion_net 20, flow
    60, siamese 30; with a trained backbone flow 25, siamese 60; with --choose-epoch twice that."""
    batch_size: int | None = None
    """Clips per step. Default: 32; flow with a trained backbone 10."""
    learning_rate: float | None = None
    """Step size of Adam. Default: ststnet 0.001, motion_net 0.0001, flow and siamese 0.0003; with a
    trained backbone 0.0001."""
    dropout: float | None = None
    """Share of units dropped in networks. Default: ststnet and flow 0.5, siamese 0.25, motion_net
    0.1."""
    choose_epoch: bool = False
    """Hold out validation subjects of the training side and keep the epoch with their lowest loss.
    Default: the number of epochs is fixed beforehand, and all subjects but the tested train."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Arithmetic of a trained backbone; the result is float32. auto takes mixed_bfloat16 where the
    processor has instructions for it and --network-size is 96 or more."""
    seed: int = 12
    """Seed of everything random: split, first weights, order, random changes, dropout."""
    overwrite: bool = False
    """Replace runs that exist, and discard an interrupted command of their names."""

    def check(self) -> None:
        """Raise a `UserError` if a number is out of range."""
        check_ranges(
            {
                "frame-size": (self.frame_size, 64, 512),
                "network-size": (self.network_size, 32, 512),
                "epochs": (self.epochs, 1, math.inf),
                "batch-size": (self.batch_size, 1, math.inf),
                "learning-rate": (self.learning_rate, 1e-12, 10),
                "dropout": (self.dropout, 0, 0.95),
                "seed": (self.seed, 0, 2**31 - 1),
            }
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(FitConfig):
    """Train one model to use: fit on some subjects, keep the others for test."""

    arch: Literal["flow", "siamese", "motion_net", "ststnet", "kernel"]
    """Architecture: flow (optical flow through ResNet50), siamese (both frames through one
    ResNet50, subtracted), motion_net (optical flow on 28 × 28 cells through a small network),
    ststnet (a smaller one on the same) or kernel (regression on the same, region by region, without
    epochs)."""
    split: Literal["subject-holdout", "random", "all"] = "subject-holdout"
    """How clips are divided. `random` repeats the original system's split, which leaks subjects;
    `all` trains on every subject, for use after a cross-validation: nothing is left to test on."""


def check_ranges(values: dict[str, tuple[float | None, float, float]]) -> None:
    """Require numbers in their ranges, by option: value (None is not checked), lowest, highest."""
    for name, (value, low, high) in values.items():
        if value is not None and not low <= value <= high:
            most = f"from {low} to {high}" if high < math.inf else f"at least {low}"
            raise UserError(f"--{name} must be {most}. Received: {value}.")
