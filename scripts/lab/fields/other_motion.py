"""Motion that is no expression: lids and eyes, the head before its background, and what is no
face."""

from __future__ import annotations

import numpy as np

from casme_tf.labels import BLINK
from casme_tf.synthetic.motion import PULLS
from casme_tf.synthetic.subject import landmarks_of, step
from scripts.lab.fields.faces import FRAME, Crops, Faces
from scripts.lab.fields.hills import Hills, render

OTHER_KINDS = ("smooth", "hills", "scrambled", "warp", "edge")
"""What moves where no face does: a smooth random field, hills anywhere, an expression turned over
or stood on its side, a shear or wave of all, half of the picture."""

_COARSE = (2, 3, 4, 6, 9, 14)
"""Cells a side of the grids that smooth fields are drawn on."""


def lid_hills(faces: Faces, blink: np.ndarray, gaze: np.ndarray, rng: np.random.Generator) -> Hills:
    """Return the hills of closing lids and of eyes that turn.

    Args:
        faces: The faces.
        blink: `(n,)` how far the lids close, px of `Faces`, negative where they open; 0 for none.
        gaze: `(n, 2)` how far the eyes turn, px, right and down; the lids go along.
        rng: Source of chance for reach and place.
    """
    marks = landmarks_of(faces)
    columns = []
    for face in np.flatnonzero((blink != 0) | (gaze != 0).any(axis=1)).tolist():
        wide, high, uneven = np.exp(0.2 * rng.standard_normal(3))
        off = 2.5 * rng.standard_normal(2)
        for side, share in ((-1, uneven), (1, 1 / uneven)):
            if blink[face]:
                for pull in PULLS[BLINK]:
                    away, y = (marks[pull.at][axis][face] for axis in range(2))
                    columns.append(
                        (
                            face,
                            side * (away + off[0]),
                            y + off[1],
                            0.0,
                            pull.down * blink[face] * share,
                            pull.width * wide,
                            pull.height * high,
                            2.0,
                        )
                    )
            if gaze[face].any():
                x = side * (faces.eye_x[face] + off[0])
                columns.append((face, x, off[1], *gaze[face], 13 * wide, 8 * high, 2.0))
                lid = (face, x, off[1] - faces.eye_open[face], 0.0, 0.6 * gaze[face, 1])
                columns.append((*lid, 20 * wide, 8 * high, 2.0))
    table = np.array(columns, np.float32).reshape(-1, 8).T
    return Hills(table[0].astype(np.int64), *table[1:])


def head_field(
    faces: Faces, crops: Crops, size: int, amount: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw how heads move in front of a still background.

    Shift, tilt, approach, and turning and nodding, by which near parts of the face move further
    than its rim.

    Args:
        faces: The faces.
        crops: The crops.
        size: Cells a side.
        amount: `(n,)` typical shift, px of `Faces`; 0 for a still head.
        rng: Source of chance.

    Returns:
        `(n, size, size, 2)` float32, px of the crop.
    """
    count = len(amount)
    x, y = crops.grid(size)
    middle = (0.5 * (faces.chin + faces.crown))[:, None, None]
    across = x / faces.half_width[:, None, None]
    along = (y - middle) / (0.5 * (faces.chin - faces.crown))[:, None, None]
    radius = np.sqrt(across**2 + along**2)
    depth = np.sqrt(np.clip(1 - radius**2, 0, 1))
    # Hair and ears go along with the head; below it the neck does in part.
    reach = rng.uniform(1.05, 1.4, (count, 1, 1))
    share = step(reach - radius, 0.25)
    neck = rng.uniform(0, 1, (count, 1, 1)) * step(along - 0.8, 0.3) * step(0.8 - np.abs(across))
    share = np.maximum(share, neck)

    def normal() -> np.ndarray:
        return (amount * rng.standard_normal(count))[:, None, None]

    shift_x, shift_y, turn, nod = normal(), normal(), 0.5 * normal(), 0.5 * normal()
    tilt, nearer = 0.004 * normal(), 0.003 * normal()
    below = y - 0.8 * faces.chin[:, None, None]
    move_x = shift_x + turn * depth - tilt * below + nearer * x
    move_y = shift_y + nod * depth + tilt * x + nearer * (y - middle)
    field = np.stack([share * move_x, share * move_y], axis=-1)
    return (field * crops.scale()[:, None, None, :]).astype(np.float32)


def smooth_noise(
    count: int, size: int, rng: np.random.Generator, *, channels: int = 1, finest: int = 14
) -> np.ndarray:
    """Draw smooth random fields, each of a coarseness of its own.

    Args:
        count: Number of fields.
        size: Cells a side.
        rng: Source of chance.
        channels: Values a cell.
        finest: Cells a side of the finest grid that they are drawn on.

    Returns:
        `(count, size, size, channels)` float32, root mean square 1.
    """
    grids = [cells for cells in _COARSE if cells <= finest]
    total = np.zeros((count, channels, size, size), np.float32)
    for weight in (1.0, 0.5):
        chosen = rng.integers(len(grids), size=count)
        for k, cells in enumerate(grids):
            these = np.flatnonzero(chosen == k)
            grid = rng.standard_normal((len(these), channels, cells + 3, cells + 3), np.float32)
            down, across = _interpolation(cells, size, rng.random(2))
            total[these] += np.float32(weight) * (down @ grid @ across.T)
    total /= np.sqrt((total**2).mean(axis=(1, 2, 3), keepdims=True)) + np.float32(1e-12)
    return np.moveaxis(total, 1, -1)


def other_field(
    kinds: np.ndarray, expression: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw motion that is not a face's.

    Args:
        kinds: `(n,)` indices of `OTHER_KINDS`.
        expression: `(n, size, size, 2)` an expression's motion, to be turned over.
        size: Cells a side.
        rng: Source of chance.

    Returns:
        `(n, size, size, 2)` float32, its largest displacement 1.
    """
    count = len(kinds)
    field = smooth_noise(count, size, rng, channels=2, finest=9)
    y, x = np.mgrid[:size, :size].astype(np.float32) / (size - 1) - 0.5
    for i, kind in enumerate(kinds):
        name = OTHER_KINDS[kind]
        if name == "hills":
            field[i] = _random_hills(size, rng)
        elif name == "scrambled":
            field[i] = _scramble(expression[i], rng)
        elif name == "warp":
            field[i] = _warp(x, y, rng)
        elif name == "edge":
            angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
            half = step(np.cos(angle) * x + np.sin(angle) * y - at, rng.uniform(0.03, 0.2))
            field[i] = half[..., None] * rng.standard_normal(2)
    length = np.sqrt((field**2).sum(axis=-1)).max(axis=(1, 2))
    return field / (length[:, None, None, None] + 1e-12)


def _random_hills(size: int, rng: np.random.Generator) -> np.ndarray:
    """Hills anywhere, in the whole picture's coordinates; sometimes the same on both sides."""
    count = int(rng.integers(1, 7))
    x, y = rng.uniform(-0.5, 0.5, (2, count))
    move = rng.standard_normal((2, count))
    width, height = np.exp(rng.uniform(np.log(0.04), np.log(0.25), (2, count)))
    if rng.random() < 0.3:
        x, y = np.concatenate([-np.abs(x), np.abs(x)]), np.tile(y, 2)
        move = np.concatenate([move * [[-1], [1]], move], axis=1)
        width, height = np.tile(width, 2), np.tile(height, 2)
    one = np.zeros(1, np.float32)
    whole = Crops(one - 0.5, one - 0.5, one + 1, one + 1, one)
    power = np.full(len(x), 2.0)
    move_x, move_y = move / FRAME
    hills = Hills(np.zeros(len(x), np.int64), x, y, move_x, move_y, width, height, power)
    return render(hills, whole, size)[0]


def _scramble(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stand an expression on its head or its side, vectors and all."""
    if rng.random() < 0.5:
        return field[::-1] * np.array([1, -1], np.float32)
    sign = 1 if rng.random() < 0.5 else -1
    turned = np.rot90(field, sign)
    return np.stack([sign * turned[..., 1], -sign * turned[..., 0]], axis=-1)


def _warp(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    matrix = rng.standard_normal((2, 2))
    field = np.stack([x, y], axis=-1) @ matrix
    if rng.random() < 0.5:
        angle, cycles = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 3)
        along = np.cos(angle) * x + np.sin(angle) * y
        wave = np.sin(2 * np.pi * (cycles * along + rng.random()))
        field = 0.3 * field + wave[..., None] * rng.standard_normal(2)
    return field.astype(np.float32)


def _interpolation(cells: int, size: int, start: np.ndarray) -> np.ndarray:
    """Return two matrices `(2, size, cells + 3)` that interpolate a grid by cubic B-splines."""
    places = start[:, None] + np.arange(size) * (cells / size)
    distance = np.abs(places[:, :, None] - (np.arange(cells + 3) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)
