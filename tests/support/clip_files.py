"""Small clips as files: videos that OpenCV writes, and what is wrong with some."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, frames: list[np.ndarray], code: str = "mp4v", fps: float = 200) -> Path:
    """Write frames `(H, W, 3)` uint8 RGB as a video file."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), fps, (width, height)
    )
    assert writer.isOpened(), f"this OpenCV cannot write {code}"
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def turn_on_playback(path: Path) -> None:
    """Have players turn an .mp4 a quarter clockwise, as telephones write it when held upright."""
    content = bytearray(path.read_bytes())
    # The matrix of the track header lies 40 bytes after its flags, as 9 fixed-point numbers.
    header = content.index(b"tkhd") + 4
    _, _, width, _ = struct.unpack(">4i", bytes(4) * 3 + content[header + 80 : header + 84])
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, width, 0, 1 << 30)
    content[header + 40 : header + 76] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
