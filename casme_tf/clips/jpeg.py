"""Writing frames as JPEG so well that the coding itself moves nothing."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image

Subsampling = Literal["4:4:4", "4:2:0"]

JPEG_QUALITY = 100
"""Quality of the frames we write. In a face of 280×340 px, coding at 100 makes a motion of
0.0055 px on average; at 98 it is 0.007, at 95 0.009 and at 90 0.016. A frame takes 100 to 144 kB,
where at 90 it takes 28. Measured by `jpeg_fidelity.measure_jpeg_fidelity`."""

JPEG_SUBSAMPLING: Subsampling = "4:4:4"
"""Chroma in full: motion, which is seen in grey, is the same with 4:2:0, but colour is off by
0.5 grey levels in place of 0.8 to 1.5."""


def encode_jpeg(
    rgb: np.ndarray, *, quality: int = JPEG_QUALITY, subsampling: Subsampling = JPEG_SUBSAMPLING
) -> bytes:
    """Encode a frame as JPEG.

    Args:
        rgb: `(H, W, 3)` uint8, RGB.
        quality: 1…100.
        subsampling: How chroma is sampled: "4:4:4" in full, "4:2:0" at half the size.

    Returns:
        The content of a .jpg file.

    Example:
        >>> encode_jpeg(np.zeros((8, 8, 3), np.uint8))[:2]
        b'\\xff\\xd8'
    """
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()
