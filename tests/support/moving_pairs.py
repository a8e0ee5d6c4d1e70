"""Frame pairs with known motion, and OpenCV's answers on them, for the tests of the layers."""

from __future__ import annotations

import cv2
import numpy as np
from skimage import data

MARGIN = 16  # px kept around the frame, so that nothing unknown moves into it
OPENCV = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 19,
    "iterations": 5,
    "poly_n": 7,
    "poly_sigma": 1.2,
}


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Smoothed noise, float32 in 8…247."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height + 2 * MARGIN, width + 2 * MARGIN)).astype(np.float32)
    return cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), rng.uniform(1, 3)), None, 8, 247, cv2.NORM_MINMAX
    )


def photo(height: int, width: int) -> np.ndarray:
    """A photograph of a person, float32 in 8…247: clipping would take the pixel noise away."""
    size = (width + 2 * MARGIN, height + 2 * MARGIN)
    gray = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.normalize(
        cv2.resize(gray, size, interpolation=cv2.INTER_AREA), None, 8, 247, cv2.NORM_MINMAX
    )


def moved(
    picture: np.ndarray, dx: float, dy: float, seed: int, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The picture before and after a motion of (dx, dy) px, each with its own pixel noise.

    Returns:
        Onset and apex, `(H, W)` uint8.
    """
    rng = np.random.default_rng(seed)
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = picture.shape[::-1]
    after = cv2.warpAffine(
        picture, shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    onset, apex = (
        np.clip(np.rint(frame + rng.normal(0, noise, frame.shape)), 0, 255).astype(np.uint8)
        for frame in (picture, after)
    )
    inside = slice(MARGIN, -MARGIN)
    return onset[inside, inside].copy(), apex[inside, inside].copy()


def random_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A texture (even seed) or the photograph (odd) moved by 0.1–3 px in some direction."""
    rng = np.random.default_rng(seed)
    distance, angle = rng.uniform(0.1, 3), rng.uniform(0, 2 * np.pi)
    picture = photo(height, width) if seed % 2 else texture(height, width, seed)
    return moved(picture, distance * np.cos(angle), distance * np.sin(angle), seed)


def opencv_flow(onset: np.ndarray, apex: np.ndarray, **changes: float) -> np.ndarray:
    """OpenCV's flow with the source system's settings, `(H, W, 2)` float32."""
    settings = {**OPENCV, **changes}
    return cv2.calcOpticalFlowFarneback(onset, apex, None, *settings.values(), 0)


def batch(*frames: np.ndarray) -> np.ndarray:
    """Stack `(H, W)` uint8 frames to `(B, H, W, 1)` float32."""
    return np.stack(frames).astype(np.float32)[..., None]
