"""The verb `spot-apex`: where in a clip the expression is strongest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casme_tf.apex import Spotting, spot_apex
from casme_tf.config import SpotApexConfig
from casme_tf.errors import UserError
from casme_tf.face_crop import FaceDetector
from casme_tf.face_track import FaceTracker
from casme_tf.report_figures import save_png
from casme_tf.spot_intervals import Search, is_long, spot_intervals
from casme_tf.spotting_figure import spotting_figure
from casme_tf.video_frames import open_frames


@dataclass(frozen=True)
class Spotted:
    """What was found in a clip.

    Attributes:
        clip: Its name.
        spotting: Onset and apex of a clip of one movement; None of a long clip.
        search: Movements of a long clip; None of others.
        notes: What is odd about the clip.
    """

    clip: str
    spotting: Spotting | None
    search: Search | None
    notes: tuple[str, ...]

    def describe(self) -> str:
        """Return it for the terminal."""
        if self.search is not None:
            clear = self.search.clear
            lines = [_line(each.spotting, each.offset, each.score) for each in clear]
            looked = f"{self.search.windows} windows"
            return "\n".join(lines or [f"no movement stands out in {looked}"])
        assert self.spotting is not None
        return _line(self.spotting)

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        told: dict[str, Any] = {"clip": self.clip, "notes": list(self.notes)}
        if self.search is not None:
            intervals = [
                {**_cells(each.spotting), "offset": each.offset, "score": each.score}
                | {"stands_out": each.stands_out}
                for each in self.search.intervals
            ]
            return told | {"windows": self.search.windows, "intervals": intervals}
        assert self.spotting is not None
        return told | {"intervals": [_cells(self.spotting)]}


def spot_clip(config: SpotApexConfig) -> Spotted:
    """Find the apex of a clip, or the movements of a long one.

    Args:
        config: The clip and how to look at it; see `SpotApexConfig`.

    Raises:
        UserError: If the clip cannot be read, shows no face, or has no frames after the onset.
    """
    frames = open_frames(config.clip, fps=config.fps)
    with FaceDetector(config.face_model) as detector:
        if is_long(frames) and config.onset is None and not config.trimmed:
            if config.cropped:
                raise UserError(
                    "--cropped is for short clips: the face of a long one is looked for. "
                    f"Received: {frames.count} frames."
                )
            search = spot_intervals(frames, detector, config.method)
            best = search.clear[0].spotting if search.clear else None
            found = Spotted(frames.name, None, search, tuple(frames.notes))
        else:
            tracker = FaceTracker(detector, cropped=config.cropped)
            for frame in frames.between(config.onset):
                tracker.add(frame)
            best = spot_apex(
                tracker.finish(), config.method, onset=config.onset, trimmed=config.trimmed
            )
            found = Spotted(frames.name, best, None, tuple(frames.notes))
    if config.figure is not None:
        if best is None:
            raise UserError(
                "A figure shows the movement that stands out most. Received: "
                f"{frames.name}, where none does."
            )
        save_png(spotting_figure(best, frames.name), config.figure)
    return found


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


def _line(spotting: Spotting, offset: int | None = None, score: float | None = None) -> str:
    told = f"onset {spotting.onset}  apex {spotting.apex}"
    if offset is not None:
        told += f"  offset {offset}"
    rise = spotting.duration(spotting.onset, spotting.apex)
    if rise is not None:
        told += f"  rise {rise * 1000:.0f} ms"
    if score is not None:
        told += f"  {score:.1f} times what usually moves"
    if not spotting.moved:
        return f"{told}  nothing moved that stands out from noise"
    return f"{told}  clearness {spotting.clearness:.2f}"
