"""The frames of a video file or a camera, read by OpenCV as a stream."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from casme_tf.clips.frames import FolderFrames, Frame, Frames, MemoryFrames, require_fps
from casme_tf.errors import UserError
from casme_tf.progress import progress

__all__ = ["LiveFrames", "open_frames", "record_camera"]

CAMERA_SECONDS = 3.0
"""Default length of a recording by a camera."""

_CAMERA_BYTES = 1 << 30  # what a recording may take in memory
_TRUSTED_FPS = (1.0, 1000.0)  # a header's value outside says nothing
_FPS_DIFFER = 0.05  # as a share, from where the times of frames count, not the header
_TIMED = 50  # frames whose times are looked at, fewer if they are large
_TIMED_PIXELS = 1e8


def open_frames(
    source: Path | str | Sequence[np.ndarray],
    *,
    fps: float | None = None,
    seconds: float = CAMERA_SECONDS,
) -> Frames:
    """Open a clip.

    Args:
        source: A folder of image files, a video file that OpenCV reads, frames `(H, W, 3)` uint8
            RGB in memory, or the index of a camera as text, such as "0", which is recorded now.
        fps: Frames a second, of a folder or frames in memory; or in place of what a video says.
        seconds: How long a camera is recorded.

    Returns:
        The clip.

    Raises:
        UserError: If it cannot be read, or has no frames.
    """
    if not isinstance(source, (str, Path)):
        return MemoryFrames(source, fps)
    path = Path(source)
    try:
        if path.is_dir():
            return FolderFrames(path, fps)
        if path.is_file():
            return VideoFrames(path, fps)
    except OSError as error:
        raise UserError(
            f"A clip must be readable. Received: {_short(path)}: {error.strerror or error}."
        ) from None
    if str(source).isdecimal():
        return record_camera(int(str(source)), seconds=seconds, fps=fps)
    raise UserError(
        "A clip must be a folder of frames, a video file or the index of a camera. Received: "
        f"{_short(path)}, which does not exist."
    )


VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
"""How the names of videos end, where a folder is searched for them."""


class VideoFrames:
    """A video file. Frames are numbered from 0, and turned upright if the file says how."""

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.name = str(path)
        self.notes: list[str] = []
        self._path = path
        self._given = require_fps(fps)
        capture = self._open()
        try:
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            header = capture.get(cv2.CAP_PROP_FPS)
            sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            pixels = max(math.prod(capture.get(side) for side in sides), 1)
            timed = min(_TIMED, max(_TIMED_PIXELS / pixels, 3))
            times: list[float] = []
            while len(times) < timed and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        finally:
            capture.release()
        if not times:
            raise UserError(
                f"A video must have frames that OpenCV can read. Received: {path} with none. It "
                "may be damaged, empty, or in a format that this OpenCV lacks; convert it, or pass "
                "a folder of frames."
            )
        self.count = int(count) if 0 < count < 1e9 else None
        self.fps = self._given or _speed(header, times, self.notes, self.name)

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all."""
        capture = self._open()
        number = 0
        try:
            while (last is None or number <= last) and capture.grab():
                if first is None or number >= first:
                    good, bgr = capture.retrieve()
                    if not good or bgr is None:
                        break
                    yield Frame(number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self._time(number))
                number += 1
        finally:
            capture.release()
        if last is None and self.count is not None and number < 0.9 * self.count:
            note = (
                f"{self.name} ends early: it should have {self.count} frames, {number} could be "
                "read; it may be damaged."
            )
            if note not in self.notes:
                self.notes.append(note)

    def _time(self, number: int) -> float | None:
        return None if self.fps is None else number / self.fps

    def _open(self) -> cv2.VideoCapture:
        # By FFmpeg, since other readers take a name with digits for a series of pictures; and by
        # the whole path, since FFmpeg takes what begins like an address for one.
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            size = self._path.stat().st_size
            raise UserError(
                f"A video must be a file that OpenCV reads. Received: {self._path} "
                f"({'empty' if not size else f'{size} bytes'}), which it does not. It may be "
                "damaged or no video; convert it, or pass a folder of frames."
            )
        return capture


def record_camera(
    index: int, *, seconds: float = CAMERA_SECONDS, fps: float | None = None
) -> MemoryFrames:
    """Record a camera into memory.

    Args:
        index: Which camera, from 0.
        seconds: How long.
        fps: Frames a second, in place of those counted.

    Returns:
        The frames.

    Raises:
        UserError: If there is no such camera, it gives no frame, or `seconds` is not above 0.
    """
    if not seconds > 0:
        raise UserError(f"A recording must last longer than 0 s. Received: {seconds:g}.")
    capture = _open_camera(index)
    frames: list[np.ndarray] = []
    try:
        capture.read()  # the first one comes while the camera is still setting itself
        bytes_ = 0
        began = time.monotonic()
        with progress(desc=f"Recording camera {index}", unit="frame") as bar:
            while time.monotonic() - began < seconds and bytes_ < _CAMERA_BYTES:
                good, bgr = capture.read()
                if not good:
                    break
                frames.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
                bytes_ += bgr.nbytes
                bar.update()
        lasted = time.monotonic() - began
    finally:
        capture.release()
    recording = MemoryFrames(frames, fps or len(frames) / lasted or None, f"camera {index}")
    if bytes_ >= _CAMERA_BYTES:
        recording.notes.append(f"recorded {lasted:.1f} s alone, which filled the memory allowed.")
    return recording


def _speed(header: float, times: list[float], notes: list[str], name: str) -> float | None:
    """Return frames a second by the times of the first frames, or by the header without them."""
    low, high = _TRUSTED_FPS
    stated = header if math.isfinite(header) and low <= header < high else None
    steps = np.diff(times)
    if len(steps) < 2 or not np.all(steps > 0):
        return stated
    # Times are whole milliseconds in some formats, so their mean counts.
    timed = float(1 / steps.mean())
    if np.ptp(steps) > 0.5 * steps.mean() + 0.002:
        notes.append(f"{name} has no steady speed; {timed:.1f} frames a second on average.")
    if stated is None or abs(stated - timed) > _FPS_DIFFER * timed:
        return timed if low <= timed <= high else None
    return stated


def _short(path: Path, most: int = 120) -> str:
    text = str(path)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


class Captured(NamedTuple):
    """A frame and when it was there."""

    frame: Frame
    at: float


class LiveFrames:
    """Yields the newest frame; frames that were not fetched in time are dropped.

    Another thread waits for frames, so that the consumer never falls behind. Use it as a context
    manager.

    Args:
        frames: Frames, each given when it comes; see `camera_frames` and `as_if_live`.

    Attributes:
        came: Frames that have come.
        dropped: Those that a newer one replaced before they were fetched.
    """

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.came = self.dropped = 0
        self._frames = frames
        self._newest: Captured | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._wait_for_frames, daemon=True)

    def __enter__(self) -> LiveFrames:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(timeout=1)  # it may sleep until the next frame

    def __iter__(self) -> Iterator[Captured]:
        """Yield the newest frame, again and again until there are no more."""
        while True:
            with self._changed:
                # Wakes up now and then, since a wait without end cannot be interrupted everywhere.
                while self._newest is None and not self._ended:
                    self._changed.wait(timeout=0.5)
                newest, self._newest = self._newest, None
            if newest is None:
                break
            yield newest
        if self._error is not None:
            raise self._error

    def _wait_for_frames(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self.came += 1
                    self.dropped += self._newest is not None
                    self._newest = Captured(frame, time.monotonic())
                    self._changed.notify()
                if self._ended:
                    break
        except BaseException as error:  # is raised where frames are fetched
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def open_live(source: str, fps: float | None = None) -> Iterator[Frame]:
    """Open a camera, or a clip to be played."""
    if source.isdecimal():
        return camera_frames(int(source))
    return as_if_live(open_frames(source, fps=fps))


def as_if_live(clip: Frames) -> Iterator[Frame]:
    """Yield the frames of a clip at the speed at which they were filmed."""
    if clip.fps is None:
        raise UserError(
            f"The speed of a clip must be known to play it. Received: {clip.name}, which does not "
            "say. Pass --fps."
        )
    began = None
    for frame in clip.between():
        seconds = frame.seconds or 0.0
        began = time.monotonic() - seconds if began is None else began
        wait = began + seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield frame


def camera_frames(index: int) -> Iterator[Frame]:
    """Yield the frames of a camera."""
    capture = _open_camera(index)
    began = time.monotonic()
    try:
        for number in itertools.count():
            good, bgr = capture.read()
            if not good:
                return
            yield Frame(number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time.monotonic() - began)
    finally:
        capture.release()


def _open_camera(index: int) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise UserError(
            f"A camera must be there and free. Received: camera {index}, which cannot be opened. "
            "Pass another index, a video file or a folder of frames."
        )
    return capture
