"""Following one face through a clip: upright crops without the head's motion, and what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from casme_tf.clips.detector import Detector, Face, NoFaceError
from casme_tf.clips.frames import Frame
from casme_tf.clips.layout import (
    EYES,
    HEIGHT,
    MIDDLE,
    WIDTH,
    Affine,
    after,
    apply,
    displacement,
    face_mask,
    fit_similarity,
    inverse,
    scale,
    skin_points,
    upright,
)
from casme_tf.errors import UserError

__all__ = [
    "FaceTracker",
    "TrackedFace",
]

MIN_LIKENESS = 0.7
"""Least correlation of a crop with the one it was aligned to, -1…1. A face seen again, in noise of
24 gray levels, has 0.9; another part of the picture about 0."""

CUT = 12.0
"""Mean difference of consecutive frames, gray levels, in which a scene changes. Made small, a frame
that moved by 3 px differs by 9 at most; mirrored ones by 47."""

MOST_FRAMES = 1200
"""Frames that a track keeps at most: 84 MB of crops."""

_THUMBNAIL = (64, 48)  # to look for changes of scene
_LONGEST_SIDE = 1280  # px; frames are made smaller to look for faces
_WINDOW = (25, 25)  # of sparse flow, px
_LEVELS = 3
_SETTLED = 0.5  # px; the crop is cut again until the head is off by less
_ROUNDS = 3
_COMPARED_AT = 4  # crops are compared at a quarter of their size, where noise weighs little
_AROUND = (9, 9)  # px around a point over which dense flow is averaged
_PADDING = 0.5  # around a frame that is a face crop, as a share of it

# As in the source system and in `layers.FarnebackFlow`.
_FARNEBACK = (0.5, 3, 19, 5, 7, 1.2, 0)


class Aligned(NamedTuple):
    """A face brought into the upright crop."""

    crop: np.ndarray
    pose: Affine
    moved: np.ndarray
    likeness: float


def find_face(detector: Detector, rgb: np.ndarray, *, cropped: bool = False) -> Face:
    """Find the largest face in a frame of any size."""
    height, width = rgb.shape[:2]
    shrink = max(height, width) / _LONGEST_SIDE
    if shrink > 1:
        size = (max(round(width / shrink), 1), max(round(height / shrink), 1))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    else:
        shrink = 1.0
    around = (0, 0)
    if cropped:
        around = (round(_PADDING * rgb.shape[1]), round(_PADDING * rgb.shape[0]))
        rgb = cv2.copyMakeBorder(
            rgb, around[1], around[1], around[0], around[0], cv2.BORDER_CONSTANT, value=(128,) * 3
        )
    face = detector.detect(rgb)
    return replace(
        face,
        x=(face.x - around[0]) * shrink,
        y=(face.y - around[1]) * shrink,
        width=face.width * shrink,
        height=face.height * shrink,
        keypoints=((face.keypoints - np.array(around)) * shrink).astype(np.float32),
    )


def upright_crop(rgb: np.ndarray, pose: Affine) -> np.ndarray:
    """Cut the upright crop out of a frame, `(HEIGHT, WIDTH)` uint8, gray."""
    corners = apply(inverse(pose), np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]]))
    shrink = max(int(1 / scale(pose)), 1)
    margin = 4 * shrink
    x, y = (max(int(low) - margin, 0) for low in corners.min(axis=0))
    x_end, y_end = (int(high) + margin for high in corners.max(axis=0))
    part = rgb[y:y_end, x:x_end]
    height, width = (side // shrink * shrink for side in part.shape[:2])
    if not height or not width:
        return np.zeros((HEIGHT, WIDTH), np.uint8)
    gray = cv2.cvtColor(part[:height, :width], cv2.COLOR_RGB2GRAY)
    if shrink > 1:
        # A warp takes single pixels, and would alias in a face that it makes much smaller.
        size = (width // shrink, height // shrink)
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    half = (shrink - 1) / 2
    to_frame = np.array([[shrink, 0.0, x + half], [0.0, shrink, y + half]])
    return cv2.warpAffine(
        gray,
        after(pose, to_frame),
        (WIDTH, HEIGHT),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def align(rgb: np.ndarray, pose: Affine, reference: np.ndarray) -> Aligned:
    """Align a frame to a crop of an earlier one by following points of the skin."""
    points = skin_points()
    for _ in range(_ROUNDS):
        crop = upright_crop(rgb, pose)
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            reference, crop, points[:, None], None, winSize=_WINDOW, maxLevel=_LEVELS
        )
        moved, kept = found[:, 0] - points, status[:, 0] == 1
        if kept.sum() < len(points) // 3:
            return Aligned(crop, pose, np.zeros_like(points), -1.0)
        head = fit_similarity(points[kept].astype(np.float64), moved[kept].astype(np.float64))
        off = displacement(head, points)
        moved[~kept] = off[~kept]
        if np.abs(off).max() < _SETTLED or not 0.5 < scale(head) < 2:
            break
        pose = after(inverse(head), pose)
    return Aligned(crop, pose, moved, likeness(reference, crop))


def farneback(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Return the optical flow between gray frames `(H, W)` uint8, `(H, W, 2)` float32 px."""
    return cv2.calcOpticalFlowFarneback(onset, apex, None, *_FARNEBACK)


def dense_motion(reference: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Return how far each of `skin_points` has moved, by Farneback's flow: `(n, 2)` float32, px."""
    flow = farneback(reference, crop)
    x, y = np.rint(skin_points()).astype(int).T
    return cv2.blur(flow, _AROUND)[y, x]


def warped_difference(reference: np.ndarray, crop: np.ndarray) -> float:
    """Return the largest difference of two crops inside the face that motion does not explain."""
    flow = farneback(reference, crop)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    back = cv2.remap(
        crop, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    inside = face_mask()
    left = back - back[inside].mean() - reference + reference[inside].mean()
    return float(cv2.blur(np.abs(cv2.GaussianBlur(left, (0, 0), 2)), (17, 17))[inside].max())


def likeness(reference: np.ndarray, crop: np.ndarray) -> float:
    """Return the correlation of two crops inside the face, -1…1; 0 if one is plain."""
    size = (WIDTH // _COMPARED_AT, HEIGHT // _COMPARED_AT)
    inside = face_mask()[_COMPARED_AT // 2 :: _COMPARED_AT, _COMPARED_AT // 2 :: _COMPARED_AT]
    first, second = (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)[inside].astype(np.float64)
        for image in (reference, crop)
    )
    first, second = first - first.mean(), second - second.mean()
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else 0.0


@dataclass(frozen=True)
class TrackedFace:
    """A face in `T` frames, seen from where it was in the first of them.

    Attributes:
        numbers: `(T,)` int, the frames' numbers.
        seconds: `(T,)` float64 since the clip began; None if its speed is unknown.
        crops: `(T, HEIGHT, WIDTH)` uint8, gray: the face upright, the head's motion taken out.
        motion: `(T, n, 2)` float32: how far each of `skin_points` has moved on the face since the
            first frame, px of the crop. Where the face was not seen, what lies between.
        head: `(T,)` how far the head has moved since the first frame, as a share of the distance
            of the eyes, mean over the face.
        seen: `(T,)` bool, whether the face was seen.
        light: `(T,)` mean gray level of the face, 0…255.
        face: The face in the first frame, px of the frame.
        keypoints: `(6, 2)` its keypoints in the crop, px.
        frame_size: Height and width of the frames, px.
        skipped: How many frames came before the first with a face.
        cuts: Numbers of the frames with which another scene begins.
    """

    numbers: np.ndarray
    seconds: np.ndarray | None
    crops: np.ndarray
    motion: np.ndarray
    head: np.ndarray
    seen: np.ndarray
    light: np.ndarray
    face: Face
    keypoints: np.ndarray
    frame_size: tuple[int, int]
    skipped: int
    cuts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)


class _Row(NamedTuple):
    number: int
    seconds: float | None
    crop: np.ndarray
    motion: np.ndarray
    head: float
    seen: bool


class CutFinder:
    """Finds the frames of a clip with which another scene begins."""

    def __init__(self) -> None:
        self.found: list[int] = []
        self._last: np.ndarray | None = None

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        small = cv2.resize(frame.rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA)
        thumbnail = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        thumbnail -= thumbnail.mean()  # a change of light is no cut
        if self._last is not None and np.abs(thumbnail - self._last).mean() > CUT:
            self.found.append(frame.number)
        self._last = thumbnail


class FaceTracker:
    """Takes the frames of a clip one after another and follows the largest face of the first.

    Each frame is aligned with the first one that shows a face: points of the skin are followed,
    the head's shift, turn and change of size are fitted to them robustly and taken out. A face that
    is lost is searched again.

    Args:
        detector: Finds the face.
        cropped: The frames are face crops already.
        face: The face in the first frame, if it is found already.
    """

    def __init__(
        self, detector: Detector, *, cropped: bool = False, face: Face | None = None
    ) -> None:
        self._detector = detector
        self._cropped = cropped
        self._found = face
        self._skipped = 0
        self._face: Face | None = None
        self._rows: list[_Row] = []
        self._cuts = CutFinder()
        # What is known from the first frame with a face on.
        self._frame_size = (0, 0)
        self._eyes = 0.0
        self._pose = self._first_pose = np.eye(2, 3)
        self._reference = self._middle = np.zeros((0, 0))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        if len(self._rows) == MOST_FRAMES:
            raise UserError(
                f"A clip must have at most {MOST_FRAMES} frames. Received: more. Pass a shorter "
                "one, or its speed, so that it can be searched in parts."
            )
        self._cuts.add(frame)
        if self._face is None:
            self._begin(frame)
            return
        found = self._follow(frame.rgb)
        if found.likeness < MIN_LIKENESS:
            self._note(frame, found.crop, np.zeros_like(self._rows[0].motion), 0.0, seen=False)
            return
        moved = dense_motion(self._reference, found.crop)
        points = skin_points().astype(np.float64)
        left = fit_similarity(points, moved.astype(np.float64))
        self._pose = after(inverse(left), found.pose)
        crop = upright_crop(frame.rgb, self._pose)
        motion = moved - displacement(left, points)
        # Both poses map to one crop, so going there and back is the head's way between the frames.
        way = displacement(after(inverse(self._pose), self._first_pose), self._middle)
        head = float(np.linalg.norm(way, axis=1).mean()) / self._eyes
        self._note(frame, crop, motion.astype(np.float32), head, seen=True)

    def finish(self) -> TrackedFace:
        """Return the face in all frames that were taken."""
        if self._face is None:
            raise NoFaceError(
                f"A clip must show a face. Received: {self._skipped} frames in which none is "
                "found. Look at the frames: a face that lies on its side, turns away or is smaller "
                "than a fiftieth of the frame is not found."
            )
        seen = np.array([row.seen for row in self._rows])
        times = [row.seconds for row in self._rows]
        crops = np.stack([row.crop for row in self._rows])
        return TrackedFace(
            numbers=np.array([row.number for row in self._rows]),
            seconds=None if None in times else np.array(times, np.float64),
            crops=crops,
            motion=_bridge(np.stack([row.motion for row in self._rows]), seen),
            head=_bridge(np.array([row.head for row in self._rows]), seen),
            seen=seen,
            light=crops[:, face_mask()].mean(axis=1),
            face=self._face,
            keypoints=apply(self._first_pose, self._face.keypoints.astype(np.float64)),
            frame_size=self._frame_size,
            skipped=self._skipped,
            cuts=tuple(self._cuts.found),
        )

    def _begin(self, frame: Frame) -> None:
        try:
            self._face = self._found or find_face(self._detector, frame.rgb, cropped=self._cropped)
        except NoFaceError:
            self._skipped += 1
            return
        height, width = frame.rgb.shape[:2]
        self._frame_size = (height, width)
        self._pose = self._first_pose = upright(self._face.keypoints)
        back = inverse(self._first_pose)
        self._eyes = EYES * float(np.hypot(back[0, 0], back[1, 0]))  # px of the frame
        reach = EYES * np.array([[0, 0], [-0.5, 0], [0.5, 0], [0, 1]])
        self._middle = apply(back, np.array(MIDDLE) + reach)
        self._reference = upright_crop(frame.rgb, self._pose)
        still = np.zeros((len(skin_points()), 2), np.float32)
        self._note(frame, self._reference, still, 0.0, seen=True)

    def _follow(self, rgb: np.ndarray) -> Aligned:
        found = align(rgb, self._pose, self._reference)
        if found.likeness >= MIN_LIKENESS:
            return found
        try:
            face = find_face(self._detector, rgb, cropped=self._cropped)
        except NoFaceError:
            return found
        return align(rgb, upright(face.keypoints), self._reference)

    def _note(
        self, frame: Frame, crop: np.ndarray, motion: np.ndarray, head: float, *, seen: bool
    ) -> None:
        self._rows.append(_Row(frame.number, frame.seconds, crop, motion, head, seen))


def _bridge(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill rows `(T, …)` that are not known with what lies between those that are."""
    if known.all():
        return values
    flat = values.reshape(len(values), -1)
    places = np.arange(len(values))
    filled = [np.interp(places, places[known], column[known]) for column in flat.T]
    return np.stack(filled, axis=1).reshape(values.shape).astype(values.dtype)
