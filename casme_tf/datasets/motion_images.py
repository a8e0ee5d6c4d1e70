"""Motion images that other groups have published, read as the project's own motion.

A published set holds one small image a clip, from its onset to its apex: red is u (dx, right),
green v (dy, down), blue the optical strain. Each channel was scaled to 0…255 by itself, so that
neither the unit nor the zero of the motion is known. Here each image's median is taken for zero,
its u and v are brought to one spread, and the strain is computed again by the package's own
definition; which direction and which relative strength a part of the face moves with is kept, how
far it moves is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from casme_tf.datasets.pairs import SchemeClips
from casme_tf.errors import UserError
from casme_tf.labels import MEGC3

__all__ = ["read_motion_images"]

MOTION_IMAGES = "motion-images"
"""The corpus of such clips."""

SIZE = 28
"""Side of an image, cells."""

CROP = 224
"""Side of the crop that displacements refer to, px."""

SPREAD = 0.35
"""Standard deviation that u and v of an image are brought to, px of a crop of `CROP` px."""

_COLUMNS = ("dataset", "sub", "filename_o", "label")


def read_motion_images(folder: Path | str, databases: Sequence[str] = ()) -> SchemeClips:
    """Read published motion images in the layout of the 2019 challenge's composite.

    The folder holds one index, a CSV table with the columns dataset, sub, filename_o and label (0
    negative, 1 positive, 2 surprise), and the images, `datasets/NAME/SUB_FILENAME.png`; a blank
    before `.png`, as in published sets, is allowed. A subject is named by database and subject,
    such as `samm/006`.

    Args:
        folder: The published folder.
        databases: Names of the databases to read, as in the index, in either case. Default: all.

    Returns:
        The clips in the classes of `labels.MEGC3`, in the order of the index. Instead of `onset`
        and `apex` they have `motion`, `(n, 28, 28, 3)` float32: dx and dy with a median of 0 and a
        spread of 0.35 px, and the strain's magnitude in px per px, if the crop is 224 px.

    Raises:
        UserError: If there is no index, an image is missing or is none, a class is unknown, or
            none of its clips is of a named database.
    """
    folder = Path(folder).expanduser()
    index = _read_index(folder)
    known = sorted(index["dataset"].unique())
    wanted = sorted({name.lower() for name in databases}) or known
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(
            f"--databases must name some of {', '.join(known)}. Received: {', '.join(unknown)}."
        )
    index = index[index["dataset"].isin(wanted)]
    images = {path.stem.strip(): path for path in sorted(folder.glob("datasets/*/*.png"))}
    names = (index["sub"] + "_" + index["filename_o"]).tolist()
    if missing := [name for name in names if name not in images]:
        raise UserError(
            f"{folder} must hold an image of each clip, datasets/*/SUB_FILENAME.png. "
            f"Received: {len(missing)} of {len(names)} without, the first {missing[0]}."
        )
    motion = as_motion(np.stack([_read_image(images[name]) for name in names]))
    subjects = (index["dataset"] + "/" + index["sub"]).to_numpy(dtype=str)
    labels = index["label"].astype(np.int64).to_numpy()
    clips = index["filename_o"].to_numpy(dtype=str)
    return SchemeClips(
        MEGC3.classes,
        clips,
        subjects,
        labels,
        {"motion": motion},
        MOTION_IMAGES,
        databases=tuple(wanted),
    )


def as_motion(images: np.ndarray) -> np.ndarray:
    """Turn images `(n, 28, 28, 3)` of u and v (and strain, not used) into motion."""
    field = images[..., :2].astype(np.float32)
    field -= np.median(field, axis=(1, 2), keepdims=True)
    spread = field.std(axis=(1, 2, 3), keepdims=True)
    field *= SPREAD / np.maximum(spread, 1e-6)
    return np.concatenate([field, strain(field)], axis=-1)


def strain(field: np.ndarray) -> np.ndarray:
    """Return the strain `(n, s, s, 1)` of a field `(n, s, s, 2)`, px, as `UVStrain` computes it."""
    along_y, along_x = np.gradient(field, CROP / field.shape[1], axis=(1, 2))
    stretch = along_x[..., 0] ** 2 + along_y[..., 1] ** 2
    shear = along_y[..., 0] + along_x[..., 1]
    return np.sqrt(stretch + 0.5 * shear**2)[..., None].astype(np.float32)


def _read_index(folder: Path) -> pd.DataFrame:
    """Read the one table of clips in a folder; every cell is text."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (OSError, ValueError):
            continue
        if set(_COLUMNS) <= set(table.columns):
            found.append((path, table[list(_COLUMNS)].apply(lambda cells: cells.str.strip())))
    if len(found) != 1:
        received = ", ".join(path.name for path, _ in found) or "none"
        raise UserError(
            f"{folder} must hold one table of clips (.csv) with the columns "
            f"{', '.join(_COLUMNS)}. Received: {received}."
        )
    path, index = found[0]
    classes = [str(number) for number in range(len(MEGC3.classes))]
    wrong = index[~index["label"].isin(classes)]
    if len(wrong) or index.empty:
        row = f"{wrong.iloc[0]['label']!r} of {wrong.iloc[0]['filename_o']}" if len(wrong) else ""
        raise UserError(
            f"The column label of {path.name} must be a class: 0 negative, 1 positive, "
            f"2 surprise. Received: {row or 'no clips'}."
        )
    index["dataset"] = index["dataset"].str.lower()
    if index.duplicated(list(_COLUMNS[:3])).any():
        twice = index[index.duplicated(list(_COLUMNS[:3]))].iloc[0]
        raise UserError(
            f"{path.name} must name each clip once. Received: {twice['filename_o']} of "
            f"{twice['dataset']} {twice['sub']} twice."
        )
    return index


def _read_image(path: Path) -> np.ndarray:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None or image.shape != (SIZE, SIZE, 3):
        received = "no image" if image is None else f"{image.shape[1]} × {image.shape[0]}"
        raise UserError(
            f"A motion image must be a PNG of {SIZE} × {SIZE} px. Received: {path}, {received}."
        )
    return image[..., ::-1]
