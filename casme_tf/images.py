"""Reading a frame from a file, with every way in which that fails told apart, and resizing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from casme_tf.errors import UserError


def read_rgb(path: Path | str) -> np.ndarray:
    """Read an image file as RGB.

    Grey images are repeated over three channels; transparency is dropped; a rotation that a
    camera noted in the file is applied.

    Args:
        path: A JPEG, PNG or any other format that Pillow reads.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        UserError: If the file is missing, empty, truncated, not an image, or has more than 8 bits a
            channel.

    Example:
        >>> read_rgb("sub01/EP02_01f/img46.jpg").shape  # doctest: +SKIP
        (480, 640, 3)
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"A frame must be an image file. Received: {path}, which does not exist.")
    if path.stat().st_size == 0:
        raise UserError(f"A frame must be an image file. Received: {path}, which is empty.")
    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError:
        raise UserError(
            f"A frame must be an image file. Received: {path}, which is no image format we know."
        ) from None
    except Exception as error:  # Pillow raises many unrelated kinds on damaged files
        raise UserError(f"{path} must be a whole image file. Received: {error}.") from None
    if mode.startswith(("I", "F")):
        raise UserError(
            f"A frame must have 8 bits a channel. Received: {path} with more (mode {mode})."
        )
    return rgb


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame as the input pipeline does, without TensorFlow.

    Args:
        frame: `(H, W, 3)` uint8.
        size: Side of the result, px.

    Returns:
        `(size, size, 3)` uint8, within one grey level of `input_pipeline.resize_frame`.
    """
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))
