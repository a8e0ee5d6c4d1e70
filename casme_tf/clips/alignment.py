"""Bringing the face of a frame into the same upright crop as in an earlier frame."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from casme_tf.clips.detector import Detector, Face
from casme_tf.clips.layout import (
    HEIGHT,
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
)

MIN_LIKENESS = 0.7
"""Least correlation of a crop with the one it was aligned to, -1…1. A face seen again, in noise of
24 gray levels, has 0.9; another part of the picture about 0."""

_LONGEST_SIDE = 1280  # px; frames are made smaller to look for faces
_WINDOW = (25, 25)  # of sparse flow, px
_LEVELS = 3
_SETTLED = 0.5  # px; the crop is cut again until the head is off by less
_ROUNDS = 3
_THUMBNAIL = 4  # crops are compared at a quarter of their size, where noise weighs little
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
    size = (WIDTH // _THUMBNAIL, HEIGHT // _THUMBNAIL)
    inside = face_mask()[_THUMBNAIL // 2 :: _THUMBNAIL, _THUMBNAIL // 2 :: _THUMBNAIL]
    first, second = (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)[inside].astype(np.float64)
        for image in (reference, crop)
    )
    first, second = first - first.mean(), second - second.mean()
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else 0.0
