"""Frames as they come: from a camera, or from a clip played at its own speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

import cv2

from casme_tf.clips.frames import Frame, Frames
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError


class Captured(NamedTuple):
    """A frame and when it was there.

    Attributes:
        frame: The frame.
        at: Time of `time.monotonic` at which it came.
    """

    frame: Frame
    at: float


class LiveFrames:
    """The newest frame whenever one is asked for; those that nobody asked for in time are dropped.

    Another thread waits for frames, so that who asks never falls behind. Use it as a context
    manager.

    Args:
        frames: Frames, each given when it comes; see `camera_frames` and `as_if_live`.

    Attributes:
        came: Frames that have come.
        dropped: Those of them that a newer one replaced before anybody asked.

    Example:
        >>> with LiveFrames(as_if_live(open_frames("clip.mp4"))) as live:  # doctest: +SKIP
        ...     for frame, at in live:
        ...         print(frame.number, time.monotonic() - at)
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
        """Begin to wait for frames."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for no more."""
        self._ended = True
        self._thread.join(timeout=1)  # it may sleep until the next frame

    def __iter__(self) -> Iterator[Captured]:
        """Yield the newest frame, again and again until there are no more.

        Raises:
            UserError: If frames cannot be read any more.
        """
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
        except BaseException as error:  # is raised where frames are asked for
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def open_live(source: str, fps: float | None = None) -> Iterator[Frame]:
    """Open a camera, or a clip to be played.

    Args:
        source: The index of a camera, such as "0", a video file or a folder of frames.
        fps: Frames a second; needed for a folder.

    Returns:
        Frames, each given when it comes.

    Raises:
        UserError: If it cannot be opened, or its speed is not known.
    """
    if source.isdecimal():
        return camera_frames(int(source))
    return as_if_live(open_frames(source, fps=fps))


def as_if_live(clip: Frames) -> Iterator[Frame]:
    """Give the frames of a clip at the speed at which they were filmed.

    Raises:
        UserError: If the clip does not say how fast it is.
    """
    if clip.fps is None:
        raise UserError(
            f"The speed of a clip must be known to play it. Received: {clip.name}, which does not "
            "say. Pass --fps."
        )
    return _paced(clip)


def camera_frames(index: int) -> Iterator[Frame]:
    """Give the frames of a camera.

    Raises:
        UserError: If there is no such camera.
    """
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise UserError(
            f"A camera must be there and free. Received: camera {index}, which cannot be opened. "
            "Pass another index, a video file or a folder of frames."
        )
    return _read(capture)


def _paced(clip: Frames) -> Iterator[Frame]:
    began = None
    for frame in clip.between():
        seconds = frame.seconds or 0.0
        began = time.monotonic() - seconds if began is None else began
        wait = began + seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield frame


def _read(capture: cv2.VideoCapture) -> Iterator[Frame]:
    began = time.monotonic()
    number = 0
    try:
        while True:
            good, bgr = capture.read()
            if not good:
                return
            yield Frame(number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time.monotonic() - began)
            number += 1
    finally:
        capture.release()
