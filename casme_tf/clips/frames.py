"""The frames of a clip, from a folder or from memory; image files: reading, resizing, coding."""

from __future__ import annotations

import io
import re
import shlex
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from casme_tf.errors import UserError

__all__ = [
    "FolderFrames",
    "Frame",
    "Frames",
    "MemoryFrames",
    "read_rgb",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""What a folder of frames is made of; other files in it are passed over."""

TO_CONVERT = frozenset({".heic", ".heif", ".avif", ".gif"})
"""Images that are not read: compressed as video, or with 256 colors."""

Subsampling = Literal["4:4:4", "4:2:0"]

JPEG_QUALITY = 100
"""Quality of the frames we write. In a face of 280×340 px, coding at 100 makes a motion of
0.0055 px on average; at 98 it is 0.007, at 95 0.009 and at 90 0.016. A frame takes 100 to 144 kB,
where at 90 it takes 28. Measured by `scripts/lab/measure_jpeg.py`."""

JPEG_SUBSAMPLING: Subsampling = "4:4:4"
"""Chroma in full: motion, which is seen in gray, is the same with 4:2:0, but color is off by
0.5 gray levels in place of 0.8 to 1.5."""

# Pillow would try all its plugins whatever a file is called; that of EPS starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_MAX_PIXELS = 50_000_000


def read_rgb(path: Path | str) -> np.ndarray:
    """Read an image file as RGB.

    Gray images are repeated over three channels; transparency is dropped; a rotation that a
    camera noted in the file is applied.

    Args:
        path: A JPEG, PNG, BMP, TIFF or WebP file of at most 50 million pixels.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        UserError: If the file is missing, empty, truncated, not such an image, too large, or has
            more than 8 bits a channel.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"A frame must be an image file. Received: {path}, which does not exist.")
    if path.stat().st_size == 0:
        raise UserError(f"A frame must be an image file. Received: {path}, which is empty.")
    if path.suffix.lower() in TO_CONVERT:
        raise UserError(convert_first(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on sizes and damaged metadata
            with Image.open(path, formats=_FORMATS) as image:
                _require_readable(path, image)
                image.load()
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(
            f"A frame must be a JPEG, PNG, BMP, TIFF or WebP file. Received: {path}, which is none."
        ) from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(path, "many more")) from None
    except Exception as error:  # Pillow raises many unrelated kinds on damaged files
        raise UserError(f"{path} must be a whole image file. Received: {error}.") from None


def convert_first(path: Path) -> str:
    """Return the message for an image of `TO_CONVERT`, with the command that converts it."""
    command = shlex.join(["magick", str(path), str(path.with_suffix(".png"))])
    return (
        f"Frames must be {', '.join(sorted(IMAGE_SUFFIXES))} files. Received: {path}. Convert it, "
        f"for example with ImageMagick: {command}"
    )


def _require_readable(path: Path, image: Image.Image) -> None:
    """Check what the header says before any pixel is decoded."""
    if image.width * image.height > _MAX_PIXELS:
        raise UserError(_too_large(path, f"{image.width}×{image.height}"))
    # Pillow cuts 16-bit RGB to its high byte and calls the result RGB.
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        raise UserError(
            f"A frame must have 8 bits a channel. Received: {path} with more (mode {image.mode}). "
            "Convert it, scaled, not cut."
        )


def _too_large(path: Path, received: str) -> str:
    return (
        f"A frame must have at most {_MAX_PIXELS // 10**6} million pixels. Received: {path} with "
        f"{received}. Make it smaller, or cut out the face."
    )


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame as the input pipeline does, without TensorFlow."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def encode_jpeg(
    rgb: np.ndarray, *, quality: int = JPEG_QUALITY, subsampling: Subsampling = JPEG_SUBSAMPLING
) -> bytes:
    """Encode a frame as JPEG."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


class Frame(NamedTuple):
    """One frame of a clip.

    Attributes:
        number: Of an image file the number its name ends in, as the N of `imgN.jpg`; else its
            position in the clip, from 0.
        rgb: `(H, W, 3)` uint8, RGB.
        seconds: Time since the clip began; None if the clip does not say how fast it is.
    """

    number: int
    rgb: np.ndarray
    seconds: float | None


class Frames(Protocol):
    """A clip that can be iterated over repeatedly, one frame in memory at a time.

    Attributes:
        name: What messages call it.
        fps: Frames a second; None if unknown.
        count: Number of frames by its header; None if unknown. A video's header may be wrong.
        notes: What is unusual but not wrong, one line each; more may come during iteration.
    """

    name: str
    fps: float | None
    count: int | None
    notes: list[str]

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all."""
        ...


class MemoryFrames:
    """Frames that are in memory already.

    Args:
        frames: `n` frames `(H, W, 3)` uint8, RGB, of one size; numbered from 0.
        fps: Frames a second; None (default) if unknown.
        name: What messages call it.

    Raises:
        UserError: If there is no frame, or they are not such frames.

    Example:
        >>> clip = MemoryFrames([np.zeros((48, 64, 3), np.uint8)] * 3, fps=200)
        >>> [(frame.number, frame.seconds) for frame in clip.between(1)]
        [(1, 0.005), (2, 0.01)]
    """

    def __init__(
        self, frames: Sequence[np.ndarray], fps: float | None = None, name: str = "the clip"
    ) -> None:
        self.name, self.fps = name, require_fps(fps)
        self.count: int | None = len(frames)
        self.notes: list[str] = []
        self._frames = frames
        if not len(frames):
            raise UserError(f"A clip must have frames. Received: {name}, which has none.")
        for number, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise UserError(
                    f"Frames must be uint8 (H, W, 3). Received: frame {number} of {name}, "
                    f"{frame.dtype} {frame.shape}."
                )
            require_one_size(self.name, number, frame.shape[:2], frames[0].shape[:2])

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all."""
        for number, rgb in enumerate(self._frames):
            if _wanted(number, first, last):
                yield Frame(number, rgb, None if self.fps is None else number / self.fps)


class FolderFrames:
    """The image files of a folder, in natural order: img9.jpg before img10.jpg.

    Files whose names end in numbers keep these: the frame of `img46.jpg` is number 46. If names
    have no numbers, or two have the same, frames are numbered from 0. A folder with raw frames of
    CASME II (`imgN.jpg`) and its authors' crops (`reg_imgN.jpg`) is taken for its raw frames.

    Args:
        folder: The folder.
        fps: Frames a second; None (default) if unknown.

    Raises:
        UserError: If it has no image files.
    """

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.name, self.fps = str(folder), require_fps(fps)
        self.notes: list[str] = []
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        to_convert = sorted(path for path in files if path.suffix.lower() in TO_CONVERT)
        raw = [path for path in images if re.fullmatch(r"img\d+", path.stem)]
        if raw and len(raw) < len(images):
            self.notes.append(f"{folder}: {len(images) - len(raw)} files other than imgN ignored.")
            images = raw
        if to_convert and not images:
            raise UserError(convert_first(to_convert[0]))
        if to_convert:
            self.notes.append(
                f"{folder}: {len(to_convert)} files ignored, such as {to_convert[0].name}, "
                "which must be converted to .png or .jpg first."
            )
        if not images:
            raise UserError(
                "A clip's folder must hold image files "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Received: {folder}, which has none."
            )
        self._paths = sorted(images, key=_natural)
        self._numbers = _file_numbers(self._paths)
        self.count: int | None = len(images)

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all."""
        size = None
        for number, path in zip(self._numbers, self._paths, strict=True):
            if _wanted(number, first, last):
                rgb = read_rgb(path)
                size = size or rgb.shape[:2]
                require_one_size(self.name, number, rgb.shape[:2], size)
                seconds = None if self.fps is None else (number - self._numbers[0]) / self.fps
                yield Frame(number, rgb, seconds)


def require_one_size(
    clip: str, number: int, size: tuple[int, ...], of_others: tuple[int, ...]
) -> None:
    """Make sure that a frame has the size of the others."""
    if size != of_others:
        raise UserError(
            f"Frames of a clip must have one size. Received: {clip}, whose frame {number} has "
            f"{size[1]}×{size[0]} px and others {of_others[1]}×{of_others[0]} px."
        )


def require_fps(fps: float | None) -> float | None:
    """Return the frames a second."""
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"Frames a second must be a number above 0. Received: {fps:g}.")
    return fps


def _wanted(number: int, first: int | None, last: int | None) -> bool:
    return (first is None or number >= first) and (last is None or number <= last)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order digits by their value and the rest by letters."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _file_numbers(paths: list[Path]) -> list[int]:
    found = [re.search(r"(\d+)$", path.stem) for path in paths]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) == len(paths) and all(a < b for a, b in pairwise(numbers)):
        return numbers
    return list(range(len(paths)))
