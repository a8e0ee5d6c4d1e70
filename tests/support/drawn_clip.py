"""One clip of the stand-in generator, with its true apex, for tests of what finds apexes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import draw_schedule


@lru_cache(maxsize=4)
def drawn_clip(frames: int = 17, index: int = 3) -> tuple[tuple[np.ndarray, ...], int]:
    """Return the frames `(480, 640, 3)` uint8 RGB of a clip without a blink, and its apex."""
    schedule = draw_schedule(subjects=3, clips=12, frames=frames, seed=4)
    clip = schedule.clips[index]
    motion = replace(schedule.motion(clip), blink=(0.0, 0.0), rest=0.1)
    portrait = paint_portrait(schedule.traits(clip.subject), schedule.portrait_rng(clip.subject))
    return tuple(render_clip(portrait, motion, schedule.sensor_rng(clip))), clip.apex
