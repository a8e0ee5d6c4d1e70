"""Finding the apex of a clip, and its onset where that is not known, by two methods."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from casme_tf.clips.layout import EYES, ten_cells
from casme_tf.clips.tracking import TrackedFace
from casme_tf.errors import UserError

__all__ = ["Spotting", "spot_apex"]

WIDTHS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Standard deviations that smoothing chooses from, frames."""

_LONGEST = 8  # a width is at most an eighth of the clip
_LEVEL = 3.0  # frames within so many deviations of the noise below the peak may be the apex
_LEAST_RISE = 0.15  # of a peak above its surroundings, as a share of the curve's range

# Spread of the frames that may be the apex, as a share of the clip: up to the first value the peak
# counts in full, from the second on not at all. Frames strewn over all the clip have 0.29.
_CLEAR, _UNCLEAR = 0.06, 0.15


@dataclass(frozen=True)
class Peak:
    """The highest place of a curve over `T` frames."""

    at: int
    smooth: np.ndarray
    noise: float
    near: np.ndarray
    clearness: float


def locate_peak(curve: np.ndarray, allowed: np.ndarray | None = None) -> Peak:
    """Find where a curve rises and falls again, or, if it only rises, its highest place."""
    curve = np.asarray(curve, np.float64)
    allowed = np.ones(len(curve), bool) if allowed is None else allowed
    smooth, noise = _smooth(curve)
    rise = np.where(allowed, _rise(smooth), 0.0)
    at = int(rise.argmax())
    if rise[at] < max(_LEVEL * noise, _LEAST_RISE * float(np.ptp(smooth))):
        at = int(np.where(allowed, smooth, -np.inf).argmax())
    near = np.flatnonzero(allowed & (smooth >= smooth[at] - _LEVEL * noise))
    spread = float(near.std()) / len(curve)
    clearness = float(np.clip((_UNCLEAR - spread) / (_UNCLEAR - _CLEAR), 0, 1))
    return Peak(at, smooth, noise, near, clearness)


def noise_level(values: np.ndarray) -> float:
    """Return the standard deviation of white noise in a curve `(T,)`, by its second differences."""
    if len(values) < 3:
        return 0.0
    second = np.diff(values, 2)
    return float(1.4826 * np.median(np.abs(second - np.median(second))) / np.sqrt(6))


def smoothing(frames: int, width: float) -> np.ndarray:
    """Return the matrix `(frames, frames)` that smooths a curve by a Gaussian, ends held."""
    from scipy.ndimage import gaussian_filter1d  # half a second, which a pair does not need

    return gaussian_filter1d(np.eye(frames), width, axis=0, mode="nearest")


def _smooth(curve: np.ndarray) -> tuple[np.ndarray, float]:
    frames = len(curve)
    best, kept = np.inf, np.eye(frames)
    for width in WIDTHS:
        if width > frames / _LONGEST:
            break
        matrix = smoothing(frames, width)
        left = curve - matrix @ curve
        score = float(left @ left) / (1 - np.trace(matrix) / frames) ** 2
        if score < best:
            best, kept = score, matrix
    share = float((kept**2).sum(axis=1).mean())  # of the noise's variance that is left
    return kept @ curve, noise_level(curve) * share**0.5


def _rise(curve: np.ndarray) -> np.ndarray:
    """Return how far each place lies above the higher of the lowest places on both sides."""
    before = np.minimum.accumulate(curve)
    after = np.minimum.accumulate(curve[::-1])[::-1]
    return curve - np.maximum(before, after)


Method = Literal["flow", "ten-cell"]

CLEAR = 0.35
"""Clearness of a peak, below which the apex is little better than a guess."""

_PATTERN_WIDTH = 2.0  # frames of smoothing before the pattern of the motion is estimated
_CELL_BLUR = 1.5  # px of the crop; noise of single pixels would rule the ratio
_LEAST_MOTION = 0.3  # % of the eyes' distance: 0.35 px in CASME II
_FOOT = 0.1  # share of the rise at which it has begun
_QUIET_SECONDS = 0.1  # before the foot, in which the quietest frame is sought
_QUIET_FRAMES = 5  # the same where the speed is unknown


@dataclass(frozen=True)
class Spotting:
    """The onset and the apex of a clip of `T` frames, and the curve that they were found on.

    Attributes:
        method: How the apex was found: "flow", "ten-cell", or "given".
        numbers: `(T,)` int, the frames' numbers.
        seconds: `(T,)` float64 since the clip began; None if its speed is unknown.
        curve: `(T,)` float64: of "flow" the motion since the onset, % of the distance of the
            eyes, at the place that moves most; of "ten-cell" its ratio.
        smooth: `(T,)` float64, the curve without its noise.
        onset: Number of the onset frame.
        apex: Number of the apex frame.
        near: Numbers of frames that may also be the apex, within the noise.
        clearness: How narrow these are, 0…1; 0 if the curve shows no peak, so that the apex is a
            guess.
        moved: Whether the face moved at all.
        skipped: How many frames came before the first with a face.
        unseen: How many frames show no face, these included.
        cuts: Numbers of the frames with which another scene begins.
    """

    method: str
    numbers: np.ndarray
    seconds: np.ndarray | None
    curve: np.ndarray
    smooth: np.ndarray
    onset: int
    apex: int
    near: tuple[int, ...]
    clearness: float
    moved: bool
    skipped: int
    unseen: int
    cuts: tuple[int, ...] = ()

    def duration(self, first: int, last: int) -> float | None:
        """Return the seconds between two frames; None if the clip's speed is unknown."""
        if self.seconds is None:
            return None
        places = np.searchsorted(self.numbers, [first, last])
        return float(np.diff(self.seconds[places])[0])


def spot_apex(
    track: TrackedFace,
    method: Method = "flow",
    *,
    onset: int | None = None,
    apex: int | None = None,
    trimmed: bool = False,
) -> Spotting:
    """Find the apex of a clip.

    Args:
        track: The face in the clip's frames.
        method: `flow`: the pattern that moves most on the face, by optical flow, head motion taken
            out. `ten-cell`: how much ten cells of the face differ from the onset, over how much
            they differ from the adjacent frames; see `ten_cell_curve`.
        onset: Number of the onset frame, if known. Default: the first frame if the clip is
            trimmed; else the quietest frame before the rise.
        apex: Number of the apex frame, if known: then it is taken.
        trimmed: The clip runs from onset to offset. The apex is then drawn towards its middle as
            far as noise hides it, and is the middle itself if nothing can be seen.

    Returns:
        Onset, apex and curve.

    Raises:
        UserError: If there are fewer than two frames, or a given frame is not among them.
    """
    if len(track) < 2:
        raise UserError(f"A clip must have at least 2 frames with a face. Received: {len(track)}.")
    given = {name: _place(track, name, n) for name, n in (("onset", onset), ("apex", apex))}
    flow = lru_cache(maxsize=None)(lambda at: flow_curve(track, at))
    first = given["onset"]
    if first is None:
        motion = locate_peak(flow(0), track.seen)
        first = 0 if trimmed else _find_onset(track, motion, given["apex"])
    if given["apex"] is not None and given["apex"] <= first:
        raise UserError(
            f"The apex must come after the onset. Received: onset {track.numbers[first]}, apex "
            f"{apex}."
        )
    if first == len(track) - 1:
        raise UserError(
            "There must be frames after the onset. Received: onset "
            f"{track.numbers[first]}, the last frame."
        )
    curve = flow(first) if method == "flow" else ten_cell_curve(track, first)
    allowed = track.seen & (np.arange(len(track)) > first)
    if not allowed.any():
        raise UserError("The face must be seen after the onset. Received: a clip that loses it.")
    peak = locate_peak(curve[first:], allowed[first:])
    place = given["apex"]
    if place is None:
        # Lids are left out of the flow: where they alone move, it shows no more than a drift.
        unseen = method == "flow" and peak.smooth[peak.at] < _LEAST_MOTION
        sure = 0.0 if unseen else peak.clearness
        place = first + (_shrunk(peak.at, sure, allowed[first:]) if trimmed else peak.at)
    near = [first + i for i in peak.near] if given["apex"] is None else [place]
    smooth = np.concatenate([curve[:first], peak.smooth])
    return Spotting(
        method=method if apex is None else "given",
        numbers=track.numbers,
        seconds=track.seconds,
        curve=curve,
        smooth=smooth,
        onset=int(track.numbers[first]),
        apex=int(track.numbers[place]),
        near=tuple(int(track.numbers[i]) for i in near),
        clearness=peak.clearness,
        moved=_moved(flow(first), place),
        skipped=track.skipped,
        unseen=track.skipped + int(np.count_nonzero(~track.seen)),
        cuts=track.cuts,
    )


def flow_curve(track: TrackedFace, onset: int = 0) -> np.ndarray:
    """Return the motion of the face since the onset, `(T,)` float64, % of the eyes' distance."""
    moved = (track.motion - track.motion[onset]).reshape(len(track), -1).astype(np.float64)
    width = min(_PATTERN_WIDTH, len(track) / 8)
    steady = smoothing(len(track), width) @ moved
    pattern = np.linalg.svd(steady, full_matrices=False)[2][0]
    largest = np.linalg.norm(pattern.reshape(-1, 2), axis=1).max()
    curve = moved @ pattern
    strongest = (steady @ pattern)[np.abs(steady @ pattern).argmax()]
    return np.sign(strongest or 1.0) * curve * largest / EYES * 100


def ten_cell_curve(track: TrackedFace, onset: int = 0) -> np.ndarray:
    """Return the ratio of the ten-cell procedure, `(T,)` float64; 1 where nothing has changed."""
    frames = np.stack([cv2.GaussianBlur(c, (0, 0), _CELL_BLUR) for c in _as_float(track.crops)])
    ratios = []
    for cell in ten_cells(track.keypoints):
        pixels = frames[:, cell]  # (T, n)
        light = np.maximum(pixels.mean(axis=1, keepdims=True), 1.0)
        ratios.append(change_ratio(pixels * (light[onset] / light), onset))
    return np.mean(ratios, axis=0)


def change_ratio(pixels: np.ndarray, onset: int = 0, *, both_sides: bool = True) -> np.ndarray:
    """Return the mean ratio of change since the onset to change between frames, `(T,)`."""
    since = np.abs(pixels - pixels[onset]) + 1
    between = np.abs(np.diff(pixels, axis=0)) + 1
    before = np.vstack([since[:1], since[1:] / between]).mean(axis=1)
    if not both_sides:
        return before
    after = np.vstack([since[:-1] / between, since[-1:] / between[-1:]]).mean(axis=1)
    before[0] = after[0]
    return (before + after) / 2


def _find_onset(track: TrackedFace, motion: Peak, apex: int | None) -> int:
    """Return the quietest frame shortly before the rise begins."""
    top = motion.at if apex is None else apex
    if top == 0:
        return 0
    before = motion.smooth[: top + 1]
    low = int(before.argmin())
    begun = before[low:] > before[low] + _FOOT * (before[top] - before[low])
    foot = min(low + max(int(begun.argmax()) - 1, 0), top - 1)
    if track.seconds is None:
        earliest = foot - _QUIET_FRAMES
    else:
        earliest = int(np.searchsorted(track.seconds, track.seconds[foot] - _QUIET_SECONDS))
    earliest = max(min(earliest, foot - 1), 0)
    still = smoothing(len(track), 1.0) @ track.motion.reshape(len(track), -1)
    speed = np.linalg.norm(np.gradient(still, axis=0), axis=1).round(3)
    speed[~track.seen] = np.inf
    return foot - int(speed[earliest : foot + 1][::-1].argmin())  # of equal ones the last


def _shrunk(at: int, sure: float, allowed: np.ndarray) -> int:
    """Draw a place towards the middle as far as it is not sure, 0…1."""
    middle = (len(allowed) - 1) / 2
    wished = sure * at + (1 - sure) * middle
    places = np.flatnonzero(allowed)
    return int(places[np.abs(places - wished).argmin()])


def _moved(motion: np.ndarray, apex: int) -> bool:
    """Whether the motion at the apex is more than noise."""
    peak = locate_peak(motion)
    return bool(peak.smooth[apex] > max(_LEAST_MOTION, 3 * peak.noise))


def _place(track: TrackedFace, name: str, number: int | None) -> int | None:
    if number is None:
        return None
    found = np.flatnonzero(track.numbers == number)
    if not len(found):
        raise UserError(
            f"The {name} must be the number of a frame in which the face is followed, "
            f"{track.numbers[0]} to {track.numbers[-1]}. Received: {number}."
        )
    return int(found[0])


def _as_float(crops: np.ndarray) -> np.ndarray:
    return crops.astype(np.float32)
