"""Searching a long clip for the movements that stand out, by a sliding window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from casme_tf.clips.apex import Method, Spotting, noise_level, spot_apex
from casme_tf.clips.detector import Detector, NoFaceError
from casme_tf.clips.frames import Frame, Frames
from casme_tf.clips.tracking import MOST_FRAMES, FaceTracker, TrackedFace
from casme_tf.errors import UserError
from casme_tf.progress import progress

__all__ = ["Interval", "Search", "spot_intervals"]

WINDOW_SECONDS = 1.0
"""Length of the window: twice the longest micro-expression."""

WINDOW_FRAMES = 100
"""Its length where the speed is unknown. No clip of CASME II has twice as many frames."""

SHORTEST, LONGEST = 16, 400
"""Bounds of its length, frames."""

STANDS_OUT = 2.0
"""Score from which a movement stands out from the others."""

_NOISE = 3.0  # standard deviations that noise alone may reach
_STILL = 1e-6  # a range that nothing is divided by
_QUIET = 0.25  # share of the windows that move less than is usual
_FOOT = 0.1  # share of a rise at which it has ended


@dataclass(frozen=True)
class Interval:
    """A movement in a long clip.

    Attributes:
        onset: Number of the frame before it.
        apex: Number of the frame in which it is strongest.
        offset: Number of the frame in which it has gone, or the last of its window.
        score: How many times as strong it is as what usually moves in other windows,
            or as the noise where that is more.
        spotting: The window that it was found in.
    """

    onset: int
    apex: int
    offset: int
    score: float
    spotting: Spotting

    @property
    def stands_out(self) -> bool:
        """Whether it does."""
        return self.score >= STANDS_OUT

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        rise = self.spotting.duration(self.onset, self.apex)
        return {
            "onset": self.onset,
            "apex": self.apex,
            "offset": self.offset,
            "score": round(self.score, 3),
            "rise_ms": None if rise is None else round(rise * 1000, 1),
        }


@dataclass(frozen=True)
class Search:
    """What was found in a long clip.

    Attributes:
        intervals: Movements, the one that stands out most first. Those that do not are included.
        windows: How many windows were looked at.
        length: Frames of a window.
        unseen: In how many of them no face was followed.
        without_face: First and last frame of the parts that these cover.
        cuts: Numbers of the frames with which another scene begins.
        closest: What stands out most where nothing does: also a movement longer than a window, if
            the clip is short enough to be looked at as a whole. None if no face was followed.
    """

    intervals: tuple[Interval, ...]
    windows: int
    length: int
    unseen: int
    without_face: tuple[tuple[int, int], ...] = ()
    cuts: tuple[int, ...] = ()
    closest: Interval | None = None

    @property
    def clear(self) -> tuple[Interval, ...]:
        """The movements that stand out."""
        return tuple(interval for interval in self.intervals if interval.stands_out)


@dataclass(frozen=True)
class _Window:
    spotting: Spotting
    offset: int
    rise: float  # of the peak over what is on both sides, in the curve's unit
    range: float  # of the smooth curve
    noise: float  # what noise alone may reach

    @property
    def span(self) -> tuple[int, int]:
        """Numbers of the first and the last frame of the movement."""
        return self.spotting.onset, self.offset


def window_length(fps: float | None) -> int:
    """Return the length of the window in frames."""
    if fps is None:
        return WINDOW_FRAMES
    return int(np.clip(round(fps * WINDOW_SECONDS), SHORTEST, LONGEST))


def is_long(frames: Frames) -> bool:
    """Return whether a clip may hold more than one movement: more than two windows of frames."""
    most = 2 * window_length(frames.fps)
    if frames.count is not None:
        return frames.count > most
    return any(position >= most for position, _ in enumerate(frames.between()))


def spot_intervals(
    frames: Frames, detector: Detector, method: Method = "flow", *, cropped: bool = False
) -> Search:
    """Search a long clip for movements.

    Windows of a second overlap by a half; what is strongest in the middle of each is a candidate.
    It is scored by how far its motion rises over that on both sides, against the range of motion in
    a quiet other window. However long the clip is, memory holds the faces of three windows
    at most, and one curve a window.

    Args:
        frames: The clip.
        detector: Finds the face.
        method: How the apex is found; see `apex.spot_apex`.
        cropped: The frames are face crops already.

    Returns:
        The movements, those that do not stand out included.

    Raises:
        UserError: If a frame cannot be read.
        NoFaceError: If no window shows a face.
    """
    length = window_length(frames.fps)
    found: list[_Window] = []
    windows = unseen = total = 0
    cuts: set[int] = set()
    without_face: list[tuple[int, int]] = []
    for (first, last), track in _tracks(frames, detector, length, cropped=cropped):
        windows += 1
        total = last
        cuts.update(track.cuts if track else ())
        if track is None or np.count_nonzero(track.seen) < SHORTEST // 2:
            unseen += 1
            if without_face and first <= without_face[-1][1]:
                first = without_face.pop()[0]
            without_face.append((first, last))
        elif (window := _look(track, method)) is not None:
            found.append(window)
    if windows == unseen:
        raise NoFaceError(
            f"A clip must show a face. Received: {frames.name}, where none is followed in any of "
            f"{windows} windows."
        )
    every = [
        Interval(window.span[0], window.spotting.apex, window.span[1], score, window.spotting)
        for window, score in zip(found, _scores(found), strict=True)
    ]
    every.sort(key=lambda interval: -interval.score)
    candidates = [x for x in every if x.spotting.moved and _is_central(x.spotting)]
    kept: list[Interval] = []
    for each in candidates:
        if not any(each.onset < other.offset and other.onset < each.offset for other in kept):
            kept.append(each)
    closest = every[0] if every else None
    if not cuts and not any(each.stands_out for each in kept) and total < MOST_FRAMES:
        closest = _slow(frames, detector, method, cropped=cropped) or closest
    return Search(
        tuple(kept), windows, length, unseen, tuple(without_face), tuple(sorted(cuts)), closest
    )


def _slow(frames: Frames, detector: Detector, method: Method, *, cropped: bool) -> Interval | None:
    """Look at a clip as one window; return a movement that stands out from the noise there."""
    tracker = FaceTracker(detector, cropped=cropped)
    for frame in frames.between():
        tracker.add(frame)
    window = _look(tracker.finish(), method)
    if window is None or not window.spotting.moved:
        return None
    (score,) = _scores([window])
    if score < STANDS_OUT:
        return None
    return Interval(window.span[0], window.spotting.apex, window.span[1], score, window.spotting)


def _scores(windows: list[_Window]) -> list[float]:
    """Return how much each movement stands out."""
    if not windows:
        return []
    first, last = np.array([window.spotting.numbers[[0, -1]] for window in windows]).T
    ranges = np.array([window.range for window in windows])
    scores = []
    for window in windows:
        onset, offset = window.span
        others = ranges[(last <= onset) | (first >= offset)]
        quiet = float(np.quantile(others, _QUIET)) if len(others) else 0.0
        usual = max(quiet, window.noise, _STILL)
        scores.append(window.rise / usual)
    return scores


def _tracks(
    frames: Frames, detector: Detector, length: int, *, cropped: bool
) -> Iterator[tuple[tuple[int, int], TrackedFace | None]]:
    """Yield first and last frame of each window and the face in it; None where none is seen."""
    hop = length // 2
    running: list[FaceTracker] = []
    taken: list[int] = []
    firsts: list[int] = []
    position = 0
    frame: Frame | None = None
    with progress(desc="Searching the clip", total=frames.count, unit="frame") as bar:
        for position, frame in enumerate(frames.between()):
            if position % hop == 0:
                running.append(FaceTracker(detector, cropped=cropped))
                taken.append(0)
                firsts.append(frame.number)
            for tracker in running:
                tracker.add(frame)
            taken = [count + 1 for count in taken]
            if taken[0] == length:
                yield (firsts.pop(0), frame.number), _finished(running.pop(0))
                taken.pop(0)
            bar.update()
    # What is left of the last windows, unless the one before holds it all.
    if frame is not None and running and (taken[0] > hop or position < hop):
        yield (firsts[0], frame.number), _finished(running[0])


def _finished(tracker: FaceTracker) -> TrackedFace | None:
    try:
        return tracker.finish()
    except NoFaceError:
        return None


def _look(track: TrackedFace, method: Method) -> _Window | None:
    """Find the movement of one window; None if its face is lost after the onset."""
    try:
        spotting = spot_apex(track, method)
    except UserError:
        return None
    at = int(np.searchsorted(track.numbers, spotting.apex))
    before, after = spotting.smooth[: at + 1], spotting.smooth[at:]
    rise = float(spotting.smooth[at] - max(before.min(), after.min()))
    fallen = after <= after.min() + _FOOT * (after[0] - after.min())
    offset = int(track.numbers[at + int(fallen.argmax())])
    noise = _NOISE * noise_level(spotting.curve)
    return _Window(spotting, offset, rise, float(np.ptp(spotting.smooth)), noise)


def _is_central(spotting: Spotting) -> bool:
    """Whether the apex is nearer to the middle of its window than to that of the next."""
    count = len(spotting.numbers)
    at = int(np.searchsorted(spotting.numbers, spotting.apex))
    return count // 8 <= at <= count - count // 8
