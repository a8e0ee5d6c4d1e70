"""Settings of a cross-validation; they are recorded with its runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
        Literal["majority", "zero_shot", "svm", "ststnet", "motion_net", "flow", "siamese"], ...
    ]
    """Architectures: majority (the class that most clips have), zero_shot (motion_net as this
    package brings it, trained on none of the clips), svm (support vector machine on motion and
    strain, 28 × 28), ststnet and motion_net (small networks on the same), flow (optical flow
    through ResNet50) and siamese (both frames through one ResNet50, subtracted). Runs are named
    ARCH-PROTOCOL-SCHEME; with --run and several, NAME-ARCH."""
    baselines: Annotated[
        bool, arg(help="Do not test svm and ststnet too; majority is always tested, at no cost.")
    ] = True
    """Also test majority, svm and ststnet, which every figure should be compared with. Without it,
    majority only."""
    protocol: Literal["loso", "kfold", "subject-holdout", "random"] = "loso"
    """Who is tested: loso (each subject in turn), kfold (groups of subjects in turn),
    subject-holdout (some subjects), random (clips at random, as in the original system, which
    leaks subjects)."""
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

    def check(self) -> None:
        """Raise a `UserError` if a number is out of range or no architecture is named."""
        if not self.arch:
            raise UserError("--arch must name one or more architectures. Received: none.")
        super().check()
        check_ranges(
            {
                "folds": (self.folds, 2, math.inf),
                "workers": (self.workers, 1, math.inf),
                "resamples": (self.resamples, 1, math.inf),
            }
        )
