"""Drawn clips for the app to be tried with."""

from __future__ import annotations

import csv
import itertools
import threading
from pathlib import Path
from typing import NamedTuple

import cv2

from casme_tf.clips.frames import FolderFrames
from casme_tf.synthetic import Corpus, synthesize

FPS = 200
"""Frames a second of drawn clips, as of CASME II."""

_SUBJECTS, _CLIPS, _FRAMES, _SEED = 2, 4, 17, 7


class Example(NamedTuple):
    """A clip of the stand-in corpus.

    Attributes:
        folder: Its frames, `imgN.jpg`.
        onset: Number of the onset frame.
        apex: Number of the apex frame.
        told: What was drawn, in a sentence.
    """

    folder: Path
    onset: int
    apex: int
    told: str

    def frame(self, number: int) -> Path:
        """Return the file of a frame."""
        return self.folder / f"img{number}.jpg"

    def video(self) -> Path:
        """Return a video of it, written beside its frames without loss."""
        path = self.folder.with_suffix(".avi")
        if not path.exists():
            frames = [frame.rgb for frame in FolderFrames(self.folder).between()]
            height, width = frames[0].shape[:2]
            code = cv2.VideoWriter.fourcc(*"FFV1")
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, FPS, (width, height))
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            writer.release()
        return path


class Examples:
    """A small stand-in corpus, drawn when the first example is asked for.

    Args:
        folder: Where to draw it; it need not exist.

    Example:
        >>> Examples(Path("examples")).next().told  # doctest: +SKIP
        'Stand-in, drawn: sub01/EP05_04, disgust, action units 4+7; onset 82, apex 90.'
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._clips: itertools.cycle[Example] | None = None

    def next(self) -> Example:
        """Return the next clip; after the last the first again."""
        with self._lock:
            if self._clips is None:
                corpus = synthesize(
                    self._folder,
                    subjects=_SUBJECTS,
                    clips=_CLIPS,
                    frames=_FRAMES,
                    seed=_SEED,
                    workers=1,
                )
                self._clips = itertools.cycle(_clips(corpus))
            return next(self._clips)


def _clips(corpus: Corpus) -> list[Example]:
    with corpus.truth.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Example(
            corpus.raw / row["subject"] / row["clip"],
            int(row["onset"]),
            int(row["apex"]),
            f"Stand-in, drawn: {row['subject']}/{row['clip']}, {row['emotion']}, action units "
            + "+".join(unit.split(":")[0] for unit in row["action_units"].split("+"))
            + f"; onset {row['onset']}, apex {row['apex']}.",
        )
        for row in rows
    ]
