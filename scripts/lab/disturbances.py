"""Pairs of frames of a stand-in clip, disturbed by known amounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from casme_tf.clips.detector import Box, FaceDetector, crop_box
from casme_tf.clips.frames import read_rgb
from casme_tf.labels import BLINK
from casme_tf.synthetic.motion import Unit, unit_field
from casme_tf.synthetic.schedule import Schedule, ScheduledClip
from scripts.lab.fields.other_motion import smooth_noise

Pair = tuple[np.ndarray, np.ndarray]
Rectangle = tuple[float, float, float, float]

UNDISTURBED = ("as it is", 0.0)


@dataclass(frozen=True)
class Filmed:
    """One clip of a stand-in corpus with its frames.

    Attributes:
        clip: What it shows.
        onset: `(480, 640, 3)` uint8 RGB.
        apex: The same of the apex.
        box: The box of the face in the onset.
        frame: Reads another frame, given its index from 0 at the onset.
        activity: How far the expression has gone, 0…1, of each frame's index.
        blink: `(480, 640, 2)` float32, the subject's blink, its largest displacement 1 px.
        rng: Source of chance of this clip.
    """

    clip: ScheduledClip
    onset: np.ndarray
    apex: np.ndarray
    box: Box
    frame: Callable[[int], np.ndarray]
    activity: list[float]
    blink: np.ndarray
    rng: np.random.Generator


def film(
    raw: Path, schedule: Schedule, clip: ScheduledClip, detector: FaceDetector, seed: int
) -> Filmed:
    """Read a clip of a stand-in corpus, and find its face.

    Args:
        raw: Folder of the raw clips.
        schedule: Everything about the corpus but its pixels.
        clip: One of its clips.
        detector: Finds the face in the onset.
        seed: Seed of the disturbances.
    """

    def frame(index: int) -> np.ndarray:
        return read_rgb(raw / clip.subject / clip.name / f"img{clip.first + index}.jpg")

    onset = frame(0)
    motion = schedule.motion(clip)
    return Filmed(
        clip=clip,
        onset=onset,
        apex=frame(clip.apex),
        box=crop_box(detector.detect(onset), onset.shape[:2]),
        frame=frame,
        activity=[motion.activity(index) for index in range(clip.apex + 1)],
        blink=unit_field(motion.subject, Unit(BLINK), motion.habits[BLINK], motion.pose),
        rng=np.random.default_rng([seed, clip.index]),
    )


def off(filmed: Filmed, amount: float) -> Pair:
    """Shift the box by a share of its sides, in any direction."""
    angle = filmed.rng.uniform(0, 2 * np.pi)
    x, y, width, height = _rectangle(filmed.box)
    x += amount * width * np.cos(angle)
    y += amount * height * np.sin(angle)
    return _cut_both(filmed.onset, filmed.apex, (x, y, width, height))


def scale(filmed: Filmed, amount: float) -> Pair:
    """Show the face so many times as large, by a smaller or larger box."""
    x, y, width, height = _rectangle(filmed.box)
    x += 0.5 * width * (1 - 1 / amount)
    y += 0.5 * height * (1 - 1 / amount)
    return _cut_both(filmed.onset, filmed.apex, (x, y, width / amount, height / amount))


def noise(filmed: Filmed, amount: float) -> Pair:
    """Add noise of so many gray levels to both frames."""
    onset, apex = (_grainy(frame, amount, filmed.rng) for frame in (filmed.onset, filmed.apex))
    return _cut_both(onset, apex, _rectangle(filmed.box))


def intensity(filmed: Filmed, amount: float) -> Pair:
    """Take the frame before the apex in which the expression has gone about so far."""
    index = int(np.abs(np.array(filmed.activity) - amount).argmin())
    return _cut_both(filmed.onset, filmed.frame(max(index, 1)), _rectangle(filmed.box))


def mirrored(filmed: Filmed, amount: float) -> Pair:
    """Mirror both frames."""
    onset, apex = _cut_both(filmed.onset, filmed.apex, _rectangle(filmed.box))
    return onset[:, ::-1], apex[:, ::-1]


def swapped(filmed: Filmed, amount: float) -> Pair:
    """Take the apex for the onset."""
    return _cut_both(filmed.apex, filmed.onset, _rectangle(filmed.box))


def still(filmed: Filmed, amount: float) -> Pair:
    """Show the onset twice, the second time with noise of so many gray levels."""
    return _cut_both(
        filmed.onset, _grainy(filmed.onset, amount, filmed.rng), _rectangle(filmed.box)
    )


def head(filmed: Filmed, amount: float) -> Pair:
    """Move the onset as a whole: shift by about so many px, and some turn and approach."""
    y, x = np.mgrid[-240:240, -320:320].astype(np.float32)
    shift, (turn, nearer) = filmed.rng.standard_normal(2), filmed.rng.standard_normal(2)
    turn, nearer = 0.003 * turn, 0.003 * nearer
    field = [shift[0] + nearer * x - turn * y, shift[1] + nearer * y + turn * x]
    return _moved(filmed, amount * np.stack(field, axis=-1))


def blink(filmed: Filmed, amount: float) -> Pair:
    """Close the lids of the onset by so many px."""
    return _moved(filmed, amount * filmed.blink)


def smooth(filmed: Filmed, amount: float) -> Pair:
    """Move the onset by a smooth random field with a largest displacement of so many px."""
    field = smooth_noise(1, 640, filmed.rng, channels=2, finest=9)[0, :480]
    field /= np.hypot(field[..., 0], field[..., 1]).max()
    return _moved(filmed, amount * field)


Disturbance = Callable[[Filmed, float], Pair]

DISTURBANCES: dict[str, tuple[Disturbance, tuple[float, ...], str]] = {
    UNDISTURBED[0]: (noise, (0.0,), ""),
    "crop off": (off, (0.05, 0.1, 0.15, 0.2), "share of its sides"),
    "scale": (scale, (0.6, 0.8, 1.2, 1.4, 1.6), "times as large"),
    "noise": (noise, (1.0, 2.0, 4.0, 8.0), "gray levels"),
    "intensity": (intensity, (0.25, 0.5, 0.75), "share of the apex"),
    "mirrored": (mirrored, (1.0,), ""),
    "swapped": (swapped, (1.0,), ""),
    "no motion": (still, (0.0, 1.0, 4.0), "gray levels of noise"),
    "head alone": (head, (1.0, 3.0), "px"),
    "blink alone": (blink, (1.0, 3.0), "px"),
    "smooth random motion": (smooth, (1.0, 2.0, 4.0), "px"),
}
"""By name: what makes the pair, the amounts to try, and their unit."""

WITHOUT_EXPRESSION = ("no motion", "head alone", "blink alone", "smooth random motion")
"""The disturbances that leave nothing to recognize."""


def _rectangle(box: Box) -> Rectangle:
    return float(box.x), float(box.y), float(box.width), float(box.height)


def _cut_both(onset: np.ndarray, apex: np.ndarray, rectangle: Rectangle) -> Pair:
    return _cut(onset, rectangle), _cut(apex, rectangle)


def _cut(frame: np.ndarray, rectangle: Rectangle) -> np.ndarray:
    """Cut to whole px; beyond the frame its border is repeated."""
    x, y, width, height = (round(value) for value in rectangle)
    margin = max(0, -x, -y, x + width - frame.shape[1], y + height - frame.shape[0])
    if margin:
        frame = np.pad(frame, [(margin, margin), (margin, margin), (0, 0)], mode="edge")
    return frame[y + margin : y + margin + height, x + margin : x + margin + width]


def _grainy(frame: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    if not amount:
        return frame
    return _whole(frame + amount * rng.standard_normal(frame.shape, np.float32))


def _moved(filmed: Filmed, field: np.ndarray) -> Pair:
    """Show the onset, and the onset moved by a field `(480, 640, 2)`, each with its own noise."""
    y, x = np.mgrid[:480, :640].astype(np.float32)
    grid, field = np.dstack([x, y]), field.astype(np.float32)
    points = grid - field
    for _ in range(4):
        moved = cv2.remap(field, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        points = grid - moved
    # Sampling between pixels blurs; both frames are, so that only the motion differs.
    half = np.float32(0.5)
    frames = (
        cv2.remap(filmed.onset, p + half, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for p in (grid, points)
    )
    onset, apex = (_grainy(frame, 1.0, filmed.rng) for frame in frames)
    return _cut_both(onset, apex, _rectangle(filmed.box))


def _whole(frame: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
