"""Hair: behind the head and in front of the forehead, combed away from a whorl."""

from __future__ import annotations

import cv2
import numpy as np

from casme_tf.synthetic.person import Person
from casme_tf.synthetic.texture import noise, step


def hair_behind(
    person: Person, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the hair behind face and neck.

    Args:
        person: Traits of the person.
        x, y: `(H, W)` positions of the pixels, frame px.
        rng: Source of chance.

    Returns:
        RGB in 0…1, `(H, W, 3)`, and its cover in 0…1, `(H, W)`; float32.
    """
    strands, comb, _ = _strands(person, x, y, rng)
    bottom = person.chin + 48 if person.hair_style == "long" else person.eye_y + 14
    outline = _cap(person, x, y) + 0.010 * comb
    cover = step((1 - outline) * person.half_width, 2.2) * step(bottom + 5 * comb - y, 10)
    if person.hair_style == "long":
        away = np.abs(x - person.x) / person.half_width
        fall = step((1.13 - away + 0.03 * comb) * person.half_width, 3) * step(y - person.y, 24)
        cover = np.maximum(cover, fall * step(bottom + 7 * comb - y, 12))
    return 0.8 * strands, cover.astype(np.float32)


def hair_in_front(
    person: Person, x: np.ndarray, y: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the hair over the forehead and temples; arguments and result as in `hair_behind`.

    Args:
        person: Traits of the person.
        x, y: `(H, W)` positions of the pixels, frame px.
        radius: `Person.radius` there.
        rng: Source of chance.
    """
    strands, comb, fine = _strands(person, x, y, rng)
    across = (x - person.x) / person.half_width
    away = np.abs(across)
    if person.hair_style == "fringe":
        edge = person.brow_y - 20 + 10 * away**2 + 7 * comb
    elif person.hair_style == "parted":
        part = np.abs(across - 0.25)
        edge = person.hairline - 16 + 46 * part**1.3 + 4 * comb
    else:
        edge = person.hairline + 14 * away**2 - 6 * np.cos(5 * across) + 2 * comb
    edge = edge + 4 * fine
    temple = person.eye_y + 4 + 5 * comb
    edge = edge + (temple - edge) * step(
        away - (0.87 if person.hair_style != "long" else 0.84), 0.07
    )
    if person.hair_style == "long":
        edge = edge + (person.chin - edge) * step(away - 0.93, 0.05)
    cap = step((1 - _cap(person, x, y) - 0.010 * comb) * person.half_width, 2.2)
    front = step(edge - y, 4.5) * cap
    shadow = step(edge + 9 - y, 9) * cap * (1 - front) * step(1 - radius, 0.03) * 0.28
    # A shadow is thin dark paint: it darkens the skin beneath without hiding it.
    cover = front + shadow * (1 - front)
    rgb = strands * (front / np.maximum(cover, 1e-6))[..., None]
    return rgb.astype(np.float32), cover.astype(np.float32)


def _cap(person: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the radius of the head with its hair: 1 on the outline of the hair."""
    middle = person.y - 22
    thick = {"short": 1.04, "parted": 1.09, "fringe": 1.08, "long": 1.13}[person.hair_style]
    across = np.abs(x - person.x) / (person.half_width * thick)
    height = np.where(y < middle, middle - person.crown + 16, 1.35 * (person.chin - middle))
    return ((across**2.3 + np.abs((y - middle) / height) ** 2.3) ** (1 / 2.3)).astype(np.float32)


def _strands(
    person: Person, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the colour of combed hair, and its locks and strands as noise along the combing."""
    whorl = (person.x + (40 if person.hair_style == "parted" else 0), person.crown - 20)
    angle = np.arctan2(y - whorl[1] + 60, x - whorl[0])
    reach = np.hypot(x - whorl[0], y - whorl[1])
    size = (64, 2048)
    wave = 0.012 * noise(rng, x.shape, 60, 2)
    u = ((angle + wave) / np.pi * 0.5 + 0.5) % 1 * (size[1] - 1)
    v = np.clip(reach / 420, 0, 1) * (size[0] - 1)

    def along(grain: float) -> np.ndarray:
        texture = cv2.resize(noise(rng, (16, size[1]), grain, 2), size[::-1])
        return cv2.remap(texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)

    fine, coarse = along(4.0), along(26.0)
    gloss = np.exp(-0.5 * ((y - person.crown - 26 - 8 * coarse) / 20) ** 2)
    facing = 1 + 0.35 * person.light[0] * np.clip((x - person.x) / person.half_width, -1, 1)
    bright = facing * (0.85 + 0.20 * fine + 0.13 * coarse + 0.55 * gloss)
    rgb = (
        np.array(person.hair, np.float32) * np.clip(bright, 0.2, None)[..., None]
        + 0.02 * gloss[..., None]
    )
    return rgb.astype(np.float32), coarse, fine
