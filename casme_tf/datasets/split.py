"""The split: which clips of a data set are in which part of one fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from casme_tf.errors import UserError


@dataclass(frozen=True)
class Split:
    """One division of the clips, by index into the data set.

    Attributes:
        protocol: Name of the protocol.
        train: `(n,)` int indices of the clips that the weights are fitted on.
        validation: `(n,)` int indices of the clips that choose the epoch; empty if the number of
            epochs is fixed beforehand.
        test: `(n,)` int indices of the clips that are looked at once, at the end.
        leak: Why figures on the test clips are too good, or None if nothing leaks.
        name: Name of the fold, for the terminal and for files: the subject if it leaves one out.
        test_subjects: Subjects of the test clips, in sorted order.
    """

    protocol: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    leak: str | None = None
    name: str = ""
    test_subjects: tuple[str, ...] = ()

    def parts(self, count: int) -> np.ndarray:
        """Return for each of `count` clips the part it is tested or trained in, `(count,)` str."""
        parts = np.full(count, "train", dtype="<U10")
        parts[self.validation] = "validation"
        parts[self.test] = "test"
        return parts


def check_clips(subjects: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return subjects and classes as arrays, if every clip has one of each.

    Args:
        subjects: `(n,)` subject of each clip.
        classes: `(n,)` class of each clip, names or numbers.

    Raises:
        UserError: If there are no clips, the lengths differ, or a value is missing.
    """
    subjects, classes = np.asarray(subjects), np.asarray(classes)
    if subjects.ndim != 1 or subjects.shape != classes.shape or not subjects.size:
        raise UserError(
            "Each clip must have one subject and one class, and there must be clips. "
            f"Received: shapes {subjects.shape} and {classes.shape}."
        )
    for what, values in (("subject", subjects), ("class", classes)):
        missing = int(pd.isna(values).sum())
        if missing:
            raise UserError(
                f"Each clip must have a {what}. Received: {missing} clips without one. "
                "Leave them out first."
            )
    return subjects, classes
