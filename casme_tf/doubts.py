"""Reasons not to believe an answer, told from the frames that it was given for."""

from __future__ import annotations

from casme_tf.apex import CLEAR, Spotting
from casme_tf.face_crop import Face
from casme_tf.face_layout import face_mask
from casme_tf.face_track import TrackedFace

SMALL_FACE = 120.0
"""Width of a face, px, below which a micro-expression moves less than half a pixel. Faces of
CASME II are about 280 px wide, and move by a pixel or two."""

DARK, BRIGHT = 45.0, 225.0
"""Mean grey levels of a face that is too dark or too bright, of 0…255."""

FLAT = 8.0
"""Standard deviation of a face's grey levels, below which there is nothing to follow."""

HEAD_MOVED = 0.05
"""Motion of the head from onset to apex, as a share of the eyes' distance: in CASME II 6 px."""

CHANGED_LIGHT = 12.0
"""Change of the face's mean grey level from onset to apex."""

FEW_FRAMES = 5
SLOW = 60.0
"""Frames a second, below which a movement of 1/25 s is in two frames at most."""

LONGEST_RISE = 0.5
"""Seconds from onset to apex; a micro-expression lasts no longer than half a second in all.

Source: Yan et al., How Fast Are the Leaked Facial Expressions, 2013.
"""


def pair_doubts(faces: TrackedFace) -> list[str]:
    """Judge two frames.

    Args:
        faces: The face followed from the onset frame to the apex frame.

    Returns:
        Reasons for distrust, one sentence each.
    """
    told = []
    if faces.face.width < SMALL_FACE:
        told.append(
            f"The face is small: {faces.face.width:.0f} px wide, where {SMALL_FACE:.0f} px or more "
            "are needed to see a micro-expression."
        )
    light, inside = faces.light[0], faces.crops[0][face_mask()]
    if light < DARK:
        told.append(f"The face is dark: grey level {light:.0f} of 255 on average.")
    elif light > BRIGHT:
        told.append(f"The face is overexposed: grey level {light:.0f} of 255 on average.")
    elif inside.std() < FLAT:
        told.append("The face has too little contrast for its motion to be seen.")
    if not faces.seen[-1]:
        told.append("The face of the onset frame is not found again in the apex frame.")
        return told
    if faces.head[-1] > HEAD_MOVED:
        told.append(
            f"The head moved by {faces.head[-1]:.0%} of the distance of the eyes between onset "
            "and apex, more than any micro-expression moves a face."
        )
    if abs(faces.light[-1] - light) > CHANGED_LIGHT:
        told.append("The light changed between onset and apex.")
    return told


def place_doubts(face: Face, frame_size: tuple[int, int]) -> list[str]:
    """Judge where a face lies in its frame.

    Args:
        face: The face in the onset frame.
        frame_size: Height and width of the frame, px.
    """
    told = []
    if face.count > 1:
        told.append(f"There are {face.count} faces; the largest was taken.")
    height, width = frame_size
    # BlazeFace cuts its box at the edge, but not where it thinks that ears are.
    x, y = face.keypoints.T
    if x.min() < 0 or x.max() > width or y.max() > height or face.y + face.height > height:
        told.append("The face is cut off by the edge of the frame.")
    return told


def clip_doubts(spotting: Spotting, fps: float | None) -> list[str]:
    """Judge a clip and how its apex was found.

    Args:
        spotting: What was found.
        fps: Frames a second; None if unknown.
    """
    told = []
    if spotting.unseen:
        frames = len(spotting.numbers) + spotting.skipped
        told.append(f"No face is seen in {spotting.unseen} of {frames} frames.")
    if len(spotting.numbers) < FEW_FRAMES:
        told.append(f"The clip is short: {len(spotting.numbers)} frames.")
    if fps is None:
        told.append("The speed of the clip is unknown; pass it with --fps.")
    elif fps < SLOW:
        told.append(
            f"The clip is slow: at {fps:.3g} frames a second, a movement of 1/25 s is seen "
            f"{'once' if fps < 50 else 'twice'} at most."
        )
    rise = spotting.duration(spotting.onset, spotting.apex)
    if rise is not None and rise > LONGEST_RISE:
        told.append(
            f"The rise takes {rise:.2f} s; a micro-expression takes {LONGEST_RISE:g} s in all."
        )
    if not spotting.moved:
        told.append("Nothing moved that stands out from noise.")
    elif spotting.method != "given" and spotting.clearness < CLEAR:
        told.append(
            f"The apex is not clear: frames {spotting.near[0]} to {spotting.near[-1]} may as well "
            "be it."
        )
    return told
