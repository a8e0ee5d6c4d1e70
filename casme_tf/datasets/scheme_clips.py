"""The clips of a data set that a class scheme keeps, and their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casme_tf.arrays import digest
from casme_tf.datasets.pairs import Pairs
from casme_tf.errors import UserError
from casme_tf.labels import SCHEMES


@dataclass(frozen=True, eq=False)
class SchemeClips:
    """The clips that a class scheme keeps.

    Attributes:
        classes: Names of the classes.
        names: `(n,)` name of each clip.
        subjects: `(n,)` subject of each clip.
        labels: `(n,)` int class of each clip.
        frames: `onset` and `apex`, each `(n, S, S, 3)` uint8 RGB.
        corpus: Corpus that the clips are of, one of `corpora.CORPORA`.
        coding_sheet: Edition of their coding sheet; "" if unknown.
    """

    classes: tuple[str, ...]
    names: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    frames: dict[str, np.ndarray]
    corpus: str
    coding_sheet: str = ""

    def digest(self) -> str:
        """Return a digest of everything about the clips that can decide a figure."""
        named = [self.classes, self.subjects.tolist(), self.names.tolist()]
        return digest([self.frames, self.labels, *named])


def select_clips(pairs: Pairs, scheme: str) -> SchemeClips:
    """Take the clips that a class scheme keeps.

    Args:
        pairs: The data set.
        scheme: One of `labels.SCHEMES`.

    Raises:
        UserError: If it keeps none.
    """
    chosen = SCHEMES[scheme]
    kept, labels = chosen.select(pairs.clips["emotion"])
    if not len(kept):
        raise UserError(
            f"The scheme {scheme} must keep some clips. Received: {len(pairs)} clips of other "
            "emotions. Choose another --scheme."
        )
    clips = pairs.clips.iloc[kept]
    frames = {name: array[kept] for name, array in pairs.frames.items()}
    subjects, names = (clips[column].to_numpy(dtype=str) for column in ("subject", "clip"))
    return SchemeClips(
        chosen.classes, names, subjects, labels, frames, pairs.corpus, pairs.coding_sheet
    )
