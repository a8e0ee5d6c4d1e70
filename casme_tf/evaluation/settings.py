"""Settings of a cross-validation; they are recorded with its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from casme_tf.runs import RUNS

BASELINES = ("majority", "svm", "ststnet")
"""What every figure stands beside; the first is always computed, as it costs nothing."""


@dataclass(frozen=True)
class CrossvalConfig:
    """Test architectures on people that they have not seen, one fold after another."""

    arch: tuple[
        Literal["majority", "zero_shot", "svm", "ststnet", "motion_net", "flow", "siamese"], ...
    ]
    """Architectures: majority (the class that most clips have), zero_shot (motion_net as this
    package brings it, trained on none of the clips), svm (support vector machine on motion and
    strain, 28 × 28), ststnet (small network on the same), motion_net (another one, that begins with
    what it learnt from drawn motion), flow and siamese (their ResNet50 frozen, the layers after it
    trained)."""
    baselines: Annotated[
        bool, arg(help="Test no svm and ststnet beside; majority is always tested, at no cost.")
    ] = True
    """Also test majority, svm and ststnet, which every figure should stand beside. Without it,
    majority alone."""
    run: str | None = None
    """Name of the run. Those of several architectures, and of the baselines, are called NAME-ARCH.
    Default: ARCH-PROTOCOL-SCHEME."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    protocol: Literal["loso", "kfold", "subject-holdout", "random"] = "loso"
    """Who is tested: loso (each person in turn), kfold (groups of people in turn), subject-holdout
    (some people), random (clips at random, as in the original system, which leaks subjects)."""
    folds: int = 5
    """Number of folds of the protocol kfold."""
    scheme: Literal["four", "megc3", "five"] = "four"
    """Classes: four (all clips), megc3 (negative, positive, surprise), five (the corpus's own)."""
    engine: Literal["local", "ray"] = "local"
    """Where folds are computed: in threads of this process, or by Ray, here or on the cluster at
    RAY_ADDRESS. Both give the same figures."""
    workers: int | None = None
    """Folds at a time, which changes no figure. Default: the number of cores."""
    weights: str | None = None
    """First weights: imagenet (of ResNet50, which stays frozen), drawn (of motion_net and
    zero_shot), none (random), or the path of a weights file. Default: imagenet or drawn, as the
    architecture has it."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size."""
    head_motion: Literal["median", "similarity", "none"] = "median"
    """What svm, ststnet and motion_net take for the head's motion and subtract: the median of the
    flow, a fit of shift, turn and scale, or nothing."""
    mirror: Annotated[bool, arg(help="Add no mirrored copies of training clips.")] = True
    """Add a copy of each training clip, mirrored left and right."""
    epochs: int | None = None
    """Number of epochs of networks; with --choose-epoch the largest. Default: ststnet 40,
    motion_net 20, flow 60, siamese 30; with --choose-epoch twice that."""
    batch_size: int | None = None
    """Clips a step. Default: 32."""
    learning_rate: float | None = None
    """Step size of Adam. Default: ststnet 0.001, motion_net 0.0001, flow and siamese 0.0003."""
    dropout: float | None = None
    """Share of units dropped in networks. Default: ststnet and flow 0.5, siamese 0.25, motion_net
    0.1."""
    choose_epoch: bool = False
    """Set people of the training side apart and keep the epoch with their lowest loss. Default: the
    number of epochs is fixed beforehand, and networks train on all people but the tested."""
    seed: int = 12
    """Seed of everything random: folds, first weights, order, dropout."""
    resamples: int = 2000
    """Draws of subjects for the 95% intervals."""
    frames: Annotated[
        bool,
        arg(help="Show no frames of clips in the report, so that it may be passed on."),
    ] = True
    """Show frames of wrongly answered clips in the reports. Frames of CASME II are licensed: keep
    the files as the licence asks."""
    overwrite: bool = False
    """Replace runs that exist, and forget an interrupted cross-validation of their names."""
