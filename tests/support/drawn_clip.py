"""One clip of the stand-in generator, with its true apex, for tests of what finds apexes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from casme_tf.synthetic.casting import cast
from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait


@lru_cache(maxsize=4)
def drawn_clip(frames: int = 17, index: int = 3) -> tuple[tuple[np.ndarray, ...], int]:
    """Return the frames `(480, 640, 3)` uint8 RGB of a clip without a blink, and its apex."""
    cast_ = cast(subjects=3, clips=12, frames=frames, seed=4)
    clip = cast_.clips[index]
    motion = replace(cast_.motion(clip), blink=(0.0, 0.0), rest=0.1)
    portrait = paint_portrait(cast_.person(clip.subject), cast_.portrait_chance(clip.subject))
    return tuple(render_clip(portrait, motion, cast_.sensor_chance(clip))), clip.apex
