"""Finding the apex of a clip: the options, one call, and what is printed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from casme_tf.cli import FACES, FaceOptions, keywords


@dataclass(frozen=True)
class SpotApexConfig:
    """Find the apex of a clip; of a long clip, the movements that stand out."""

    clip: Annotated[str, Positional, arg(metavar="CLIP")]
    """A folder of frames, a video file, or the index of a camera, such as 0."""
    method: Literal["flow", "ten-cell"] = "flow"
    """flow (the pattern of motion that comes and goes) or ten-cell (how much ten cells of the face
    change)."""
    onset: int | None = None
    """Number of the onset frame, if it is known; the two seconds from it on are looked at. Default:
    the quietest frame before the rise."""
    trimmed: bool = False
    """The clip runs from onset to offset: its first frame is the onset, and an apex that noise
    hides is drawn towards its middle."""
    fps: float | None = None
    """Frames a second. Default: those in a video's header; of a folder unknown."""
    cropped: bool = False
    """The frames are face crops already."""
    figure: Path | None = None
    """Picture of the curve to write (.png); of a long clip that of the strongest movement."""
    json: bool = False
    """Print JSON."""
    faces: FaceOptions = FACES


def run(options: SpotApexConfig) -> None:
    """Find the apex of a clip."""
    from casme_tf.recognition.spot import spot_clip

    found = spot_clip(**keywords(options, "json"))
    if options.json:
        print(json.dumps(found.to_json()))
        return
    print(found.describe())
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if found.figure is not None:
        print(found.figure)
