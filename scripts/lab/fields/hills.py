"""Displacement fields as sums of smooth hills, for many faces at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from scripts.lab.fields.faces import Crops


@dataclass(frozen=True)
class Hills:
    """Smooth hills of motion, any number on each face; each attribute has one value a hill.

    Attributes:
        face: Index of the face.
        x, y: Middle, px of `Faces`.
        move_x, move_y: Displacement in the middle, px, right and down.
        width, height: Standard deviations, px.
        power: Shape: 2 is Gaussian, less has a sharper top and longer tails.
    """

    face: np.ndarray
    x: np.ndarray
    y: np.ndarray
    move_x: np.ndarray
    move_y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    power: np.ndarray


def render(hills: Hills, crops: Crops, size: int) -> np.ndarray:
    """Add the hills up, as they are seen in the crops.

    A tilted face turns places and directions; the hills' own axes stay upright, which at tilts of
    some degrees is a small part of how much they differ anyway.

    Args:
        hills: The hills, sorted by face.
        crops: The crops.
        size: Cells a side.

    Returns:
        `(n, size, size, 2)` float32, dx right and dy down, px of a crop of `FRAME` px.
    """
    count = len(crops.left)
    if not len(hills.face):
        return np.zeros((count, size, size, 2), np.float32)
    face = hills.face
    cos, sin = np.cos(crops.roll)[face], np.sin(crops.roll)[face]
    x, y = cos * hills.x - sin * hills.y, sin * hills.x + cos * hills.y
    move = np.stack(
        [cos * hills.move_x - sin * hills.move_y, sin * hills.move_x + cos * hills.move_y], axis=-1
    )
    move *= crops.scale()[face]
    share = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = crops.left[face, None] + share * crops.width[face, None] - x[:, None]
    along = crops.top[face, None] + share * crops.height[face, None] - y[:, None]
    column = _hill(across, hills.width, hills.power)
    row = _hill(along, hills.height, hills.power)
    shape = row[:, :, None] * column[:, None, :]  # (hills, size, size)
    starts = np.searchsorted(face, np.arange(count + 1))
    indices = np.arange(len(face))
    parts = [
        csr_matrix((move[:, axis].astype(np.float32), indices, starts), (count, len(face)))
        @ shape.reshape(len(face), -1)
        for axis in range(2)
    ]
    return np.stack(parts, axis=-1).reshape(count, size, size, 2)


def _hill(distance: np.ndarray, width: np.ndarray, power: np.ndarray) -> np.ndarray:
    relative = np.abs(distance) / (np.sqrt(2) * width[:, None]).astype(np.float32)
    return np.exp(-(relative ** power[:, None].astype(np.float32)))
