"""The prediction for two frames, and reasons to doubt it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from casme_tf.clips.apex import Spotting
from casme_tf.clips.detector import Box

__all__ = ["ActionUnit", "Answer", "Prediction"]

PAIR = ("onset", "apex")
"""Names of the two frames, in the order in which they were filmed."""


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
