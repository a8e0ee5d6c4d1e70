"""A stand-in corpus on disk, and the truth about its motion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from casme_tf.datasets.corpora import ARGUMENTS_FILE
from casme_tf.errors import UserError
from casme_tf.synthetic.casting import Cast, cast

RAW_FOLDER = "CASME2-RAW"
CODING_FILE = "CASME2-coding-stand-in.xlsx"
TRUTH_FILE = "truth.csv"

GENERATOR = 1
"""What a seed stands for. Raise it with every change that changes a corpus: an older corpus then
refuses to give a truth that is not its own."""


@dataclass(frozen=True)
class Corpus:
    """A stand-in corpus on disk: its root folder and how much it holds."""

    root: Path
    subjects: int
    clips: int
    frames: int

    @property
    def raw(self) -> Path:
        """The folder of the clips, `subXX/EPyy_zz/imgN.jpg`."""
        return self.root / RAW_FOLDER

    @property
    def coding(self) -> Path:
        """The coding sheet."""
        return self.root / CODING_FILE

    @property
    def truth(self) -> Path:
        """The table of what really happens in each clip."""
        return self.root / TRUTH_FILE


def open_corpus(root: Path | str) -> Corpus:
    """Return a corpus that `synthesize` wrote.

    Args:
        root: Its folder.

    Raises:
        UserError: If it is no such folder, or one of an older generator.

    Example:
        >>> open_corpus("stand-in").clips  # doctest: +SKIP
        24
    """
    cast_ = load_cast(Path(root))
    return Corpus(Path(root), cast_.subjects, len(cast_.clips), cast_.frames)


def true_flow(
    out: Path | str, subject: str, clip: str, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each point of a clip's onset has moved in a later frame.

    Args:
        out: Root folder of a corpus of `synthesize`.
        subject: Such as `sub01`.
        clip: Such as `EP02_01f`.
        frame: Number of the frame, the N of `imgN.jpg`.

    Returns:
        The displacement from the onset, `(480, 640, 2)` float32, px, dx right, dy down, and the
        face at the onset, `(480, 640)` bool, inside which the displacement holds to 0.02 px.

    Raises:
        UserError: If there is no such corpus, clip or frame.

    Example:
        >>> flow, face = true_flow("stand-in", "sub01", "EP02_01f", 52)  # doctest: +SKIP
    """
    cast_ = load_cast(Path(out))
    found = [one for one in cast_.clips if (one.subject, one.name) == (subject, clip)]
    if not found:
        raise UserError(
            f"The clip must be one in {Path(out) / TRUTH_FILE}. Received: {subject}/{clip}."
        )
    first = found[0].first
    if not first <= frame < first + cast_.frames:
        raise UserError(
            f"The frame of {subject}/{clip} must be a number from {first} to "
            f"{first + cast_.frames - 1}. Received: {frame}."
        )
    motion = cast_.motion(found[0])
    return motion.displacement(frame - first), motion.face_mask()


def load_cast(root: Path) -> Cast:
    """Return everything about a corpus but its pixels.

    Args:
        root: Its folder.

    Raises:
        UserError: As `open_corpus`.
    """
    path = root / ARGUMENTS_FILE
    try:
        arguments = json.loads(path.read_text(encoding="utf-8"))
        generator = arguments.pop("generator")
        numbers = {name: int(arguments[name]) for name in ("subjects", "clips", "frames", "seed")}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"A stand-in corpus must be a folder that synthesize wrote, with {ARGUMENTS_FILE}. "
            f"Received: {root} ({type(error).__name__}: {error})."
        ) from None
    if generator != GENERATOR:
        raise UserError(
            f"{path} must be of generator {GENERATOR}. Received: generator {generator}. "
            "Draw the corpus again."
        )
    return _cast_of(**numbers)


@lru_cache(maxsize=4)
def _cast_of(*, subjects: int, clips: int, frames: int, seed: int) -> Cast:
    return cast(subjects=subjects, clips=clips, frames=frames, seed=seed)
