"""Reasons to doubt an answer, from the frames that it was predicted from."""

from __future__ import annotations

import cv2
import numpy as np

from casme_tf.clips.apex import CLEAR, Spotting
from casme_tf.clips.detector import Face
from casme_tf.clips.layout import EYES, face_mask
from casme_tf.clips.search import STANDS_OUT, Interval, Search
from casme_tf.clips.tracking import TrackedFace, warped_difference

SMALL_FACE = 120.0
"""Width of a face, px, below which a micro-expression moves less than half a pixel. Faces of
CASME II are about 280 px wide, and move by a pixel or two."""

DARK, BRIGHT = 45.0, 225.0
"""Mean gray levels of a face that is too dark or too bright, of 0…255."""

FLAT = 8.0
"""Standard deviation of a face's gray levels, below which there is nothing to follow."""

HEAD_MOVED = 0.05
"""Motion of the head from onset to apex, as a share of the eyes' distance: in CASME II 6 px."""

CHANGED_LIGHT = 12.0
"""Change of the face's mean gray level from onset to apex."""

LARGE = 0.04
"""Largest motion on the face, as a share of the eyes' distance: in CASME II 4.6 px. Drawn
micro-expressions reach 0.016, a smile of 15 px in a face of 260 px reaches 0.06 to 0.07."""

NOT_MOTION = 20.0
"""Largest difference of the two faces, gray levels, that motion does not explain. Drawn
micro-expressions leave 6.5 at most, a smile of 15 px 9; a hand or glasses 58 and more."""

SATURATED = 0.04
"""Share of a face's pixels that are white. Drawn faces have none."""

BLOCKS = 1.6
"""Differences across the borders of JPEG's blocks, over those inside. Frames that were not
compressed reach 1.2, those of quality 75 1.4, of quality 15 1.9 and more."""

COMBED = 1.2
"""Difference of a row from its neighbors, over that from the rows next to these. Noise alone has
1; a frame whose two halves are 3 px apart has 1.9 and more."""

AGAIN = 3
"""Movements of half the strongest or more in one clip, as in speech."""

FASTEST = 1000.0
"""Frames a second; no camera that faces are filmed with is faster."""

FEW_FRAMES = 5
SLOW = 60.0
"""Frames a second, below which a movement of 1/25 s is in two frames at most."""

LONGEST_RISE = 0.5
"""Seconds from onset to apex; a micro-expression lasts no longer than half a second in all.

Source: Yan et al., How Fast Are the Leaked Facial Expressions, 2013.
"""


def pair_doubts(faces: TrackedFace) -> list[str]:
    """Judge two frames."""
    doubts: list[str] = []
    if faces.face.width < SMALL_FACE:
        doubts.append(
            f"The face is small: {faces.face.width:.0f} px wide, where {SMALL_FACE:.0f} px or more "
            "are needed to see a micro-expression."
        )
    light, inside = faces.light[0], faces.crops[0][face_mask()]
    if light < DARK:
        doubts.append(f"The face is dark: gray level {light:.0f} of 255 on average.")
    elif light > BRIGHT or max((crop[face_mask()] >= 250).mean() for crop in faces.crops) > (
        SATURATED
    ):
        doubts.append(f"The face is overexposed: gray level {light:.0f} of 255 on average.")
    elif inside.std() < FLAT:
        doubts.append("The face has too little contrast for its motion to be seen.")
    if not faces.seen[-1]:
        doubts.append(
            "The face of the onset frame is not found again in the apex frame: something covers "
            "it, the light changed, or the scene did."
        )
        return doubts
    if warped_difference(faces.crops[0], faces.crops[-1]) > NOT_MOTION:
        doubts.append(
            "Onset and apex differ by more than motion: something covers the face in one of them, "
            "or they are of two scenes."
        )
        return doubts
    largest = np.linalg.norm(faces.motion[-1], axis=1).max() / EYES
    if largest > LARGE:
        doubts.append(
            f"The face moved by {largest:.0%} of the distance of the eyes, more than a "
            "micro-expression: a full expression, or speech."
        )
    if faces.head[-1] > HEAD_MOVED:
        doubts.append(
            f"The head moved by {faces.head[-1]:.0%} of the distance of the eyes between onset "
            "and apex, more than any micro-expression moves a face."
        )
    if abs(faces.light[-1] - light) > CHANGED_LIGHT:
        doubts.append("The light changed between onset and apex.")
    return doubts


def frame_doubts(crops: list[np.ndarray]) -> list[str]:
    """Judge how frames were recorded."""
    doubts = []
    gray = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) for crop in crops]
    if max(map(_blocks, gray)) > BLOCKS:
        doubts.append(
            "The frames are strongly compressed (JPEG or video of low quality), which moves what "
            "did not move."
        )
    if max(map(_combing, gray)) > COMBED:
        doubts.append("A frame is interlaced: its odd and even rows are of two moments.")
    return doubts


def _blocks(gray: np.ndarray) -> float:
    """Return how much larger steps are every 8 px than elsewhere, in the lesser direction."""
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(gray, axis=axis)).mean(axis=1 - axis)
        whole = steps[: len(steps) // 8 * 8]
        if not len(whole):
            return 0.0
        phases = whole.reshape(-1, 8).mean(axis=0)
        at = int(phases.argmax())
        ratios.append(float(phases[at] / max(np.median(np.delete(phases, at)), 1e-3)))
    return min(ratios)


def _combing(gray: np.ndarray) -> float:
    near = np.abs(gray[1:-1] - (gray[:-2] + gray[2:]) / 2).mean()
    far = np.abs(gray[2:-2] - (gray[:-4] + gray[4:]) / 2).mean()
    return float(near / max(far, 1e-3))


def place_doubts(face: Face, frame_size: tuple[int, int]) -> list[str]:
    """Judge where a face lies in its frame."""
    doubts = []
    if face.count > 1:
        doubts.append(f"There are {face.count} faces; the largest was taken.")
    height, width = frame_size
    # BlazeFace cuts its box at the edge, but not where it thinks that ears are.
    x, y = face.keypoints.T
    if x.min() < 0 or x.max() > width or y.max() > height or face.y + face.height > height:
        doubts.append("The face is cut off by the edge of the frame.")
    return doubts


def clip_doubts(spotting: Spotting, fps: float | None) -> list[str]:
    """Judge a clip and how its apex was found."""
    doubts = [f"The scene changes at frame {number}." for number in spotting.cuts]
    if spotting.unseen:
        frames = len(spotting.numbers) + spotting.skipped
        doubts.append(f"No face is seen in {spotting.unseen} of {frames} frames.")
    if len(spotting.numbers) < FEW_FRAMES:
        doubts.append(f"The clip is short: {len(spotting.numbers)} frames.")
    if fps is None:
        doubts.append("The speed of the clip is unknown; pass it with --fps.")
    elif fps > FASTEST:
        doubts.append(
            f"The speed is not plausible: at {fps:.0f} frames a second the clip would take "
            f"{len(spotting.numbers) / fps:.2g} s. Pass the camera's with --fps."
        )
    elif fps < SLOW:
        doubts.append(
            f"The clip is slow: at {fps:.3g} frames a second, a movement of 1/25 s is seen "
            f"{'once' if fps < 50 else 'twice'} at most."
        )
    rise = spotting.duration(spotting.onset, spotting.apex)
    if rise is not None and rise > LONGEST_RISE:
        doubts.append(
            f"The rise takes {rise:.2f} s; a micro-expression takes {LONGEST_RISE:g} s in all."
        )
    if not spotting.moved:
        doubts.append("Nothing moved that stands out from noise.")
    elif (movements := _movements(spotting)) >= AGAIN:
        doubts.append(
            f"The face moves again and again, {movements} times in this part of the clip, as in "
            "speech or chewing."
        )
    elif spotting.method != "given" and spotting.clearness < CLEAR:
        doubts.append(
            f"The apex is not clear: frames {spotting.near[0]} to {spotting.near[-1]} may as well "
            "be it."
        )
    return doubts


def _movements(spotting: Spotting) -> int:
    """Count the peaks that rise by half of the strongest over what is between them."""
    curve = np.concatenate([[0.0], spotting.smooth, [0.0]])
    from scipy.signal import find_peaks  # a second, which a pair does not need

    return len(find_peaks(curve, prominence=max(curve.max(), 1e-6) / 2)[0])


def search_doubts(search: Search, fps: float | None) -> list[str]:
    """Judge a long clip, and say what came closest if nothing stands out in it."""

    def when(first: int, last: int) -> str:
        if fps is None:
            return f"frames {first} to {last}"
        return f"{first / fps:.1f} to {last / fps:.1f} s"

    doubts = [f"The scene changes at frame {number}." for number in search.cuts]
    if search.unseen:
        spans = ", ".join(when(*span) for span in search.without_face[:5])
        more = ", …" if len(search.without_face) > 5 else ""
        doubts.append(
            f"No face is followed in {search.unseen} of {search.windows} windows ({spans}{more})."
        )
    if not search.clear and search.closest is not None:
        doubts.append(_closest(search.closest))
    return doubts


def _closest(each: Interval) -> str:
    rise = each.spotting.duration(each.spotting.onset, each.spotting.apex)
    frames = f"The strongest movement is from frame {each.onset} to frame {each.apex}"
    ask = f"Predict it all the same with --onset {each.onset} --apex {each.apex}."
    if each.spotting.moved and each.stands_out and rise is not None and rise > LONGEST_RISE:
        return (
            f"{frames}; its rise takes {rise:.2f} s, where a micro-expression takes "
            f"{LONGEST_RISE:g} s in all. {ask}"
        )
    return (
        f"{frames}, {each.score:.1f} times what usually moves in this clip, where {STANDS_OUT:g} "
        f"times are needed. {ask}"
    )
