"""What estimating optical flow does to a field: blur, loss, noise and invented motion."""

from __future__ import annotations

import numpy as np

from casme_tf.synthetic.subject import step
from scripts.lab.fields.faces import Crops, Faces
from scripts.lab.fields.ingredients import Ingredients
from scripts.lab.fields.other_motion import smooth_noise

_BLURS = np.exp(np.linspace(np.log(0.3), np.log(2.0), 12))
"""Standard deviations, cells."""


FLAT_SHARE = 0.3
"""Share of fields that look as if they were estimated with a penalty on their total variation."""


def estimate(
    field: np.ndarray,
    faces: Faces,
    crops: Crops,
    noise: np.ndarray,
    ingredients: Ingredients,
    rng: np.random.Generator,
) -> np.ndarray:
    """Turn true motion into what an optical flow might say of it.

    Args:
        field: `(n, size, size, 2)` true motion, px.
        faces: The faces, whose brows, eyes and mouth have more texture than the skin.
        crops: The crops.
        noise: `(n,)` root mean square of the noise, px.
        ingredients: Looked at are `smoothing`, `noise` and `artifacts`.
        rng: Source of chance.

    Returns:
        `(n, size, size, 2)` float32, px.
    """
    count, size = field.shape[:2]
    texture = _texture(faces, crops, size, rng)  # (n, size, size, 1), about 1 on the skin
    if ingredients.smoothing:
        which = rng.integers(0, len(_BLURS), (count,))
        field = _blur(field, which)
        lack = np.where(rng.random(count) < 0.6, rng.uniform(0, 0.8, count), 0)
        field = field * (texture / (texture + lack[:, None, None, None]))
    if ingredients.noise:
        grain = smooth_noise(count, size, rng, channels=2)
        grain *= np.clip(1 / np.sqrt(texture), 0.3, 3)
        field = field + noise[:, None, None, None] * grain
    if ingredients.smoothing:
        flat = np.flatnonzero(rng.random(count) < FLAT_SHARE)
        weights = np.exp(rng.uniform(np.log(0.02), np.log(0.3), len(flat)))
        field[flat] = _flatten(field[flat], weights)
    if ingredients.artifacts:
        field = _invent(field, faces, crops, rng)
    return field.astype(np.float32)


def _texture(faces: Faces, crops: Crops, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how much texture there is, relative to skin."""
    count = len(faces.eye_x)
    x, y = crops.grid(size)
    away = np.abs(x)

    def of(values: np.ndarray) -> np.ndarray:
        return values[:, None, None]

    def bump(at_x: np.ndarray, at_y: np.ndarray, width: float, height: float) -> np.ndarray:
        return np.exp(-0.5 * (((away - of(at_x)) / width) ** 2 + ((y - of(at_y)) / height) ** 2))

    features = bump(faces.eye_x, faces.eye_y, 26, 12) + bump(faces.eye_x, faces.brow_y, 30, 8)
    features += bump(0 * faces.eye_x, faces.mouth_y, 38, 10)
    features += 0.6 * bump(0 * faces.eye_x, faces.nose_y, 24, 12)
    strong = np.exp(rng.uniform(0, 2, count))
    patches = np.exp(0.6 * smooth_noise(count, size, rng, finest=9)[..., 0])
    radius = np.sqrt(
        (x / of(faces.half_width)) ** 2 + ((y - 10) / of(0.5 * (faces.chin - faces.crown))) ** 2
    )
    # A plain wall or a bookshelf.
    behind = of(np.exp(rng.uniform(-2.5, 2, count)))
    inside = step(1.15 - radius, 0.3)
    skin = patches * (1 + of(strong) * features)
    return (inside * skin + (1 - inside) * behind * patches)[..., None].astype(np.float32)


def _flatten(field: np.ndarray, weights: np.ndarray, steps: int = 15) -> np.ndarray:
    """Penalize each field's total variation, relative to its largest value, by a weight `(n,)`.

    As TV-L1 flow comes out: flat inside what moves, with sharp borders. After Chambolle, "An
    algorithm for total variation minimization and applications" (JMIV 20, 2004).
    """
    largest = np.abs(field).max(axis=(1, 2, 3), keepdims=True) + np.float32(1e-9)
    given = np.moveaxis(field / largest, -1, 1)  # (n, 2, size, size)
    weight = weights[:, None, None, None].astype(np.float32)
    across, along = np.zeros_like(given), np.zeros_like(given)

    def divergence() -> np.ndarray:
        return np.diff(across, axis=3, prepend=0) + np.diff(along, axis=2, prepend=0)

    for _ in range(steps):
        rest = divergence() - given / weight
        slope_x = np.diff(rest, axis=3, append=rest[..., -1:])
        slope_y = np.diff(rest, axis=2, append=rest[..., -1:, :])
        norm = 1 + 0.25 * np.hypot(slope_x, slope_y)
        across, along = (across + 0.25 * slope_x) / norm, (along + 0.25 * slope_y) / norm
    return np.moveaxis(given - weight * divergence(), 1, -1) * largest


def _blur(field: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Blur each field by one of `_BLURS`, the border repeated."""
    size = field.shape[1]
    matrices = np.stack([_blur_matrix(size, sigma) for sigma in _BLURS])[which][:, None]
    planes = np.moveaxis(field, -1, 1)
    return np.moveaxis(matrices @ planes @ np.swapaxes(matrices, -1, -2), 1, -1)


def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((size, size))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        rows = np.arange(size)
        matrix[rows, np.clip(rows + offset, 0, size - 1)] += weight
    return matrix.astype(np.float32)


def _invent(field: np.ndarray, faces: Faces, crops: Crops, rng: np.random.Generator) -> np.ndarray:
    """Add motion that nobody made: at the crop's border, at hair and glasses; and lose patches."""
    count, size = field.shape[:2]
    x, y = crops.grid(size)
    cell = np.arange(size)
    edge = np.minimum(cell, size - 1 - cell)
    border = np.minimum(edge[:, None], edge[None, :])

    def some(share: float, low: float, high: float) -> np.ndarray:
        amount = np.exp(rng.uniform(np.log(low), np.log(high), count))
        return np.where(rng.random(count) < share, amount, 0)[:, None, None, None]

    wild = smooth_noise(count, size, rng, channels=2)
    at_border = np.exp(-border / rng.uniform(0.3, 1.0, (count, 1, 1)))[..., None]
    field = field + some(0.6, 0.03, 2.0) * at_border * wild
    up = 0.5 * (faces.chin - faces.crown)[:, None, None]
    middle = (0.5 * (faces.chin + faces.crown))[:, None, None]
    radius = np.sqrt((x / faces.half_width[:, None, None]) ** 2 + ((y - middle) / up) ** 2)
    rim = np.exp(-0.5 * ((radius - rng.uniform(0.85, 1.1, (count, 1, 1))) / 0.1) ** 2)
    above = np.less(y, rng.uniform(-130, -50, (count, 1, 1)))
    hair = np.maximum(rim * np.less(y, 40), 0.5 * above)[..., None]
    field = field + some(0.3, 0.03, 0.6) * hair * smooth_noise(count, size, rng, channels=2)
    eye_x = faces.eye_x[:, None, None]
    ring = np.sqrt(((np.abs(x) - eye_x) / 36) ** 2 + ((y - 4) / 26) ** 2)
    glasses = np.exp(-0.5 * ((ring - 1) / 0.2) ** 2)[..., None]
    worn = np.less(rng.random(count), 0.15)
    keep = 1 - worn[:, None, None, None] * rng.uniform(0.3, 1, (count, 1, 1, 1)) * glasses
    field = field * keep
    glint = np.where(worn, rng.uniform(0, 0.4, count), 0)[:, None, None, None]
    field = field + glint * glasses * smooth_noise(count, size, rng, channels=2)
    lost = smooth_noise(count, size, rng, finest=6)
    threshold = np.where(rng.random(count) < 0.2, rng.uniform(0.8, 2.0, count), 9.0)
    return field * (1 - step(lost - threshold[:, None, None, None], 0.4))
