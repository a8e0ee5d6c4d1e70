"""Measuring a stand-in corpus: are its faces found, and does optical flow see its motion?"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf

from casme_tf.cli.main import run_command
from casme_tf.clips.detector import FaceDetector, NoFaceError
from casme_tf.clips.frames import read_rgb
from casme_tf.errors import UserError
from casme_tf.layers import FarnebackFlow
from casme_tf.progress import progress
from casme_tf.synthetic import open_corpus, true_flow

WINDOW = 512
"""Flow is computed in so many px around the face: the most that `FarnebackFlow` takes."""

MOVING = 0.5
"""A point moves if its true displacement is at least this, px."""


@dataclass(frozen=True)
class MeasureCorpusConfig:
    """Measure face detection and optical flow against the truth of a stand-in corpus."""

    corpus: Path
    """Folder that `synthesize` made."""
    limit: int | None = None
    """Measure only so many clips, evenly spaced."""


@dataclass(frozen=True)
class CorpusMeasures:
    """What `measure_corpus` found; displacements and errors are means, px.

    Attributes:
        clips: Number of clips measured.
        faces_found: Share of onset frames in which BlazeFace finds a face, 0…1.
        short_range: Share in which its short-range model does, 0…1.
        displacement: True displacement from onset to apex inside the face, which is the end-point
            error (EPE) of answering that nothing moves.
        epe: EPE of `FarnebackFlow` there.
        opencv_epe: EPE of OpenCV's Farneback there.
        moving_displacement: True displacement where it is at least `MOVING`; NaN if nowhere.
        moving_epe: EPE of `FarnebackFlow` there; NaN if nowhere.
        moving_opencv_epe: EPE of OpenCV's Farneback there; NaN if nowhere.
    """

    clips: int
    faces_found: float
    short_range: float
    displacement: float
    epe: float
    opencv_epe: float
    moving_displacement: float
    moving_epe: float
    moving_opencv_epe: float

    def to_string(self) -> str:
        """Return the measures as a table to print, one line each."""
        moving = f"where that is at least {MOVING} px"
        rows = {
            "clips measured": f"{self.clips}",
            "onset frames in which BlazeFace finds a face": f"{100 * self.faces_found:.1f} %",
            "… with its short-range model": f"{100 * self.short_range:.1f} %",
            "mean true displacement in the face (EPE of no motion)": f"{self.displacement:.3f} px",
            "mean EPE of Farneback": f"{self.epe:.6f} px",
            "… of OpenCV's": f"{self.opencv_epe:.6f} px",
            f"mean true displacement {moving}": f"{self.moving_displacement:.3f} px",
            f"mean EPE of Farneback {moving}": f"{self.moving_epe:.6f} px",
            f"… of OpenCV's {moving}": f"{self.moving_opencv_epe:.6f} px",
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value:>11}" for name, value in rows.items())


def measure_corpus(corpus: Path | str, *, limit: int | None = None) -> CorpusMeasures:
    """Measure face detection, and the error of our Farneback and OpenCV's, on a stand-in corpus.

    Args:
        corpus: Root folder of a corpus of `synthesize`.
        limit: Measure at most so many clips, spread evenly over the corpus. Default: all.

    Returns:
        The measures. Flow runs from onset to true apex, with the source system's parameters, in
        the `WINDOW` around the face.

    Raises:
        UserError: If there is no such corpus, a frame is missing, or `limit` is below 1.

    Example:
        >>> print(measure_corpus("stand-in", limit=20).to_string())  # doctest: +SKIP
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit must be at least 1 clip. Received: {limit}.")
    opened = open_corpus(corpus)
    if not opened.truth.is_file():
        raise UserError(
            f"A corpus must have its truth. Received: {opened.root}, without {opened.truth.name}."
        )
    truth = pd.read_csv(opened.truth, dtype={"subject": str, "clip": str, "action_units": str})
    count = len(truth) if limit is None else min(limit, len(truth))
    chosen = truth.iloc[np.linspace(0, len(truth) - 1, count).round().astype(int)]
    ranges: list[str] = []
    in_face: list[list[float]] = []
    moving: list[list[float]] = []
    in_graph = tf.function(FarnebackFlow())
    with FaceDetector() as detector:
        for subject, clip, first, last in progress(
            chosen[["subject", "clip", "onset", "apex"]].itertuples(index=False, name=None),
            total=count,
            desc="Measuring clips",
            unit="clip",
        ):
            folder = opened.raw / subject / clip
            onset, apex = (read_rgb(folder / f"img{frame}.jpg") for frame in (first, last))
            with suppress(NoFaceError):
                ranges.append(detector.detect(onset).range)
            truth_flow, face = true_flow(corpus, subject, clip, last)
            window = _window(face)
            onset, apex, truth_flow, face = (x[window] for x in (onset, apex, truth_flow, face))
            gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (onset, apex)]
            found = in_graph([tf.constant(x[None, ..., None], tf.float32) for x in gray])[0]
            lengths = [
                np.linalg.norm(vectors, axis=-1)[face]
                for vectors in (truth_flow, found - truth_flow, _opencv(*gray) - truth_flow)
            ]
            in_face.append([float(length.mean()) for length in lengths])
            moves = lengths[0] >= MOVING
            if moves.any():
                moving.append([float(length[moves].mean()) for length in lengths])
    means = np.mean(in_face, axis=0)
    moving_means = np.mean(moving, axis=0) if moving else np.full(3, np.nan)
    return CorpusMeasures(
        clips=count,
        faces_found=len(ranges) / count,
        short_range=ranges.count("short") / count,
        displacement=float(means[0]),
        epe=float(means[1]),
        opencv_epe=float(means[2]),
        moving_displacement=float(moving_means[0]),
        moving_epe=float(moving_means[1]),
        moving_opencv_epe=float(moving_means[2]),
    )


def _window(face: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of up to `WINDOW` px around the middle of a mask `(H, W)`."""
    slices = []
    for axis, length in enumerate(face.shape):
        middle = int(np.flatnonzero(face.any(axis=1 - axis)).mean())
        first = min(max(middle - WINDOW // 2, 0), max(length - WINDOW, 0))
        slices.append(slice(first, first + WINDOW))
    return slices[0], slices[1]


def _opencv(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(onset, apex, None, 0.5, 3, 19, 5, 7, 1.2, 0)


def main(config: MeasureCorpusConfig) -> None:
    """Measure, and print the table."""
    print(measure_corpus(config.corpus, limit=config.limit).to_string())


if __name__ == "__main__":
    sys.exit(run_command(MeasureCorpusConfig, main))
