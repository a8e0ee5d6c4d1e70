"""Settings of a cross-validation; they are recorded with its runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from casme_tf.errors import UserError
from casme_tf.training.settings import FitConfig, check_ranges

BASELINES = ("majority", "svm", "ststnet")
"""Reported next to every figure; the first is always computed, as it costs nothing."""


@dataclass(frozen=True, kw_only=True)
class CrossvalConfig(FitConfig):
    """Test architectures on subjects that they have not seen, one fold after another."""

    arch: tuple[
        Literal[
            "majority", "zero_shot", "svm", "ststnet", "motion_net", "kernel", "flow", "siamese"
        ],
        ...,
    ]
    """Architectures: majority (the class that most clips have), zero_shot (motion_net as this
    package brings it, trained on none of the clips), svm (support vector machine on motion and
    strain, 28 × 28), ststnet and motion_net (small networks on the same), kernel (regression on the
    same, region by region, which corrects what zero_shot predicts), flow (optical flow through
    ResNet50) and siamese (both frames through one ResNet50, subtracted). Runs are named
    ARCH-PROTOCOL-SCHEME; with --run and several, NAME-ARCH."""
    baselines: Annotated[
        bool, arg(help="Do not test svm and ststnet too; majority is always tested, at no cost.")
    ] = True
    """Also test majority, svm and ststnet, which every figure should be compared with. Without it,
    majority only."""
    protocol: Literal[
        "loso", "kfold", "leave-one-database-out", "holdout-database", "subject-holdout", "random"
    ] = "loso"
    """Who is tested: loso (each subject in turn), kfold (groups of subjects in turn),
    leave-one-database-out (each of --data in turn), holdout-database (the last of --data),
    subject-holdout (some subjects), random (clips at random, as in the original system, which
    leaks subjects)."""
    motion_images: Path | None = None
    """Folder of motion images as other groups publish them, to test on instead of a built data set:
    an index with dataset, sub, filename_o and label, and datasets/NAME/*.png. They are of the three
    classes of megc3, and hold no frames, so that flow and siamese cannot be tested."""
    databases: tuple[str, ...] = ()
    """Databases to take of --motion-images, such as: samm smic. Default: all of them."""
    folds: int = 5
    """Number of folds of the protocol kfold."""
    engine: Literal["local", "ray"] = "local"
    """Where folds are computed: in threads of this process, or by Ray, here or on the cluster at
    RAY_ADDRESS. Both give the same figures."""
    workers: int | None = None
    """Folds computed at a time, which changes no figure. Default: the number of cores."""
    resamples: int = 2000
    """Draws of subjects for the 95% intervals."""
    frames: Annotated[
        bool, arg(help="Show no frames of clips in the report, so that it may be passed on.")
    ] = True
    """Show frames of wrongly classified clips in the reports. Frames of CASME II are licensed: keep
    the files as the license asks."""

    def _check_motion_images(self) -> None:
        for what, received, required in (
            ("--data", self.data, ("casme2",)),
            ("--data-dir", self.data_dir, None),
            ("--head-motion", self.head_motion, "median"),
        ):
            if received != required:
                raise UserError(
                    f"With --motion-images, {what} must be left out: the images hold motion with "
                    f"its median at zero. Received: {received}."
                )
        if self.scheme not in ("four", "megc3"):
            raise UserError(
                "--motion-images are of the classes of megc3. "
                f"Received: --scheme {self.scheme}. Leave --scheme out."
            )

    def check(self) -> None:
        """Raise a `UserError` if a number is out of range or no architecture is named."""
        if not self.arch:
            raise UserError("--arch must name one or more architectures. Received: none.")
        super().check()
        if self.databases and self.motion_images is None:
            raise UserError(
                "--databases chooses among --motion-images. Received: --databases "
                f"{' '.join(self.databases)} without --motion-images."
            )
        if self.motion_images is not None:
            self._check_motion_images()
        check_ranges(
            {
                "folds": (self.folds, 2, math.inf),
                "workers": (self.workers, 1, math.inf),
                "resamples": (self.resamples, 1, math.inf),
            }
        )
