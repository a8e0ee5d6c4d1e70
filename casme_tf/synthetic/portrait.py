"""A subject's portrait: the head as a layer of its own in front of a still wall.

The face is a relief (an ellipsoid with brow ridge, sockets, nose, lips and chin) lit from one
side after Lambert, with pores, spots and blotches on its skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from casme_tf.synthetic.features import (
    hair_behind,
    hair_in_front,
    paint_brow,
    paint_eye,
    paint_mouth,
    paint_nostrils,
)
from casme_tf.synthetic.subject import FRAME_SIZE, Subject, bump, noise, step

SCALE = 2
"""Pixels of a portrait for one pixel of a frame, so that warping does not blur."""


@dataclass(frozen=True)
class Portrait:
    """A painted subject; values in gray levels, 0…255."""

    layer: np.ndarray
    wall: np.ndarray


def paint_portrait(subject: Subject, rng: np.random.Generator) -> Portrait:
    """Paint a subject with a neutral face."""
    height, width = FRAME_SIZE[0] * SCALE, FRAME_SIZE[1] * SCALE
    y, x = np.meshgrid(
        (np.arange(height, dtype=np.float32) + 0.5) / SCALE - 0.5,
        (np.arange(width, dtype=np.float32) + 0.5) / SCALE - 0.5,
        indexing="ij",
    )
    radius = subject.radius(x, y)
    rgb = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)

    behind, cover = hair_behind(subject, x, y, rng)
    _cover_with(rgb, alpha, behind, cover)
    _cover_with(rgb, alpha, *_paint_body(subject, x, y, rng))
    _cover_with(rgb, alpha, *_paint_ears(subject, x, y))

    face = _paint_skin(subject, x, y, radius, rng)
    for side in (-1, 1):
        paint_eye(face, x, y, subject, side, rng)
        paint_brow(face, x, y, subject, side, rng)
    paint_mouth(face, x, y, subject, rng)
    paint_nostrils(face, x, y, subject)
    _cover_with(rgb, alpha, face, step((0.985 - radius) * subject.half_width, 1.2))

    front, cover = hair_in_front(subject, x, y, radius, rng)
    _cover_with(rgb, alpha, front, cover)

    layer = np.dstack([np.clip(rgb, 0, 1) * 255, alpha])
    # Nothing finer than a frame's pixel may remain, or sampling would alias.
    layer = cv2.GaussianBlur(layer, (0, 0), 0.55 * SCALE)
    return Portrait(layer, _paint_wall(subject, rng))


def _cover_with(rgb: np.ndarray, alpha: np.ndarray, paint: np.ndarray, cover: np.ndarray) -> None:
    rgb *= (1 - cover)[..., None]
    rgb += paint * cover[..., None]
    alpha *= 1 - cover
    alpha += cover


def _shade(subject: Subject, relief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the diffuse and the mirrored light on a relief given in frame pixels."""
    slope_y, slope_x = np.gradient(relief)
    slope_y *= SCALE
    slope_x *= SCALE
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    light = subject.light
    facing = (-slope_x * light[0] - slope_y * light[1] + light[2]) / length
    half = np.array(light) + np.array([0, 0, 1])
    half /= np.linalg.norm(half)
    mirrored = (-slope_x * half[0] - slope_y * half[1] + half[2]) / length
    diffuse = subject.ambient + (1.08 - subject.ambient) * np.clip(facing, 0, None)
    return diffuse.astype(np.float32), (np.clip(mirrored, 0, None) ** 24).astype(np.float32)


def _relief(
    subject: Subject, x: np.ndarray, y: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the height of the face towards the camera, frame px."""
    dome = np.clip(1 - np.minimum(radius, 0.998) ** 2.2, 0, 1)
    relief = 0.78 * subject.half_width * np.sqrt(dome)
    away = np.abs(x - subject.x)
    right = subject.x + away
    marks = {name: (subject.x + dx, my) for name, (dx, my) in subject.landmarks().items()}

    # Nose: a ridge that rises and widens towards its tip and ends soon below it.
    along = np.clip((y - subject.eye_y + 12) / (subject.nose_y - subject.eye_y), 0, 1.0)
    end = step(subject.nose_y + 2 - y, 9)
    ridge = np.exp(-0.5 * (away / (8 + 6 * along)) ** 2)
    relief += subject.nose_height * along**1.3 * end * ridge
    relief += 7 * bump(right, y, (marks["nose wing"][0] - 5, subject.nose_y - 5), 7, 7)
    relief += 6 * bump(x, y, (subject.x, subject.nose_y - 9), 12, 10)

    relief += 5 * bump(right, y, marks["mid brow"], 30, 11)
    relief -= 8 * bump(right, y, (subject.x + subject.eye_x - 3, subject.eye_y), 27, 15)
    relief += 7 * bump(right, y, (subject.x + subject.eye_x, subject.eye_y + 1), 19, 11)
    relief += 6 * bump(right, y, (subject.x + subject.eye_x + 14, subject.eye_y + 42), 30, 24)
    relief -= 1.6 * bump(x, y, (subject.x, (subject.nose_y + subject.mouth_y) / 2 - 2), 5, 12)
    relief += 4 * bump(x, y, (subject.x, subject.mouth_y - 7), 34, 9)
    relief += 5 * bump(x, y, (subject.x, subject.mouth_y + 9), 26, 7)
    relief -= 5 * bump(x, y, (subject.x, subject.mouth_y + 24), 26, 7)
    relief += 8 * bump(x, y, marks["chin boss"], 26, 16)

    # The fold from the nose wing to beside the lip corner.
    t = np.clip((y - subject.nose_y + 12) / (subject.mouth_y - subject.nose_y + 14), 0, 1)
    fold = subject.nose_width + 6 + (subject.mouth_width - subject.nose_width + 4) * t**1.2
    depth = bump(right, y, (subject.x + 45, (subject.nose_y + subject.mouth_y) / 2), 40, 18)
    relief -= (0.8 + 1.6 * subject.wrinkles) * depth * np.exp(-0.5 * ((away - fold) / 3.5) ** 2)

    lines = noise(rng, relief.shape, 90, 2)
    for level in (30, 44, 58):
        height = subject.brow_y - level + 3 * lines + 0.0006 * away**2
        line = np.exp(-0.5 * ((y - height) / 1.5) ** 2) * step(75 - away, 25)
        relief -= 0.55 * subject.wrinkles * line * (1 + 0.4 * lines)
    for angle in (-0.45, 0.0, 0.4):
        outward = right - (subject.x + subject.eye_x + subject.eye_width + 6)
        off = y - subject.eye_y - 2 - angle * outward
        reach = step(outward, 6) * step(26 - outward, 10)
        relief -= 0.5 * subject.wrinkles * np.exp(-0.5 * (off / 1.2) ** 2) * reach

    relief += 0.11 * noise(rng, relief.shape, 9, 3)
    relief -= 0.07 * np.clip(noise(rng, relief.shape, 3.6), 0.6, None)
    return relief


def _paint_skin(
    subject: Subject, x: np.ndarray, y: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Paint the bare skin of the face: `(H, W, 3)`, RGB in 0…1."""
    diffuse, shine = _shade(subject, _relief(subject, x, y, radius, rng))
    right = subject.x + np.abs(x - subject.x)
    blotches = 0.022 * noise(rng, x.shape, 80, 4) + 0.026 * noise(rng, x.shape, 11, 3)
    red = 0.75 * bump(right, y, (subject.x + subject.eye_x + 10, subject.nose_y - 10), 30, 24)
    red += 0.8 * bump(x, y, (subject.x, subject.nose_y - 6), 14, 12)
    red += 0.25 * noise(rng, x.shape, 36, 3)
    tired = bump(right, y, (subject.x + subject.eye_x - 4, subject.eye_y + 17), 22, 7)
    socket = bump(right, y, (subject.x + subject.eye_x, subject.eye_y - 12), 26, 10)
    dark = 1 + blotches - 0.10 * tired - 0.09 * socket

    spots = np.zeros(x.shape, np.float32)
    for _ in range(subject.freckles):
        at = (subject.x + rng.normal(0, 62), subject.eye_y + 45 + rng.normal(0, 50))
        size = max(1, round(float(rng.uniform(0.4, 1.5)) * SCALE))
        center = (round(at[0] * SCALE), round(at[1] * SCALE))
        cv2.circle(spots, center, size, float(rng.uniform(0.12, 0.4)), -1, cv2.LINE_AA)
    dark -= cv2.GaussianBlur(spots, (0, 0), 1.3)

    if subject.stubble:
        hairs = np.clip(noise(rng, x.shape, 2.6), -0.3, None)
        beard = step(y - subject.nose_y - 8, 22)
        beard *= 1 - bump(x, y, (subject.x, subject.mouth_y), 30, 10)
        dark -= subject.stubble * beard * (0.28 + 0.22 * hairs)

    skin = np.array(subject.skin, np.float32)
    rgb = skin * (dark * diffuse)[..., None]
    rgb *= 1 + red[..., None] * np.array([0.03, -0.055, -0.05], np.float32)
    rgb += (0.10 * shine * (1 + 0.3 * noise(rng, x.shape, 4, 2)))[..., None]
    return rgb


def _paint_ears(subject: Subject, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    away = np.abs(x - subject.x)
    across = (away - subject.half_width + 1) / 15
    along = (y - subject.eye_y - 22) / 36
    distance = np.sqrt(across**2 + along**2)
    hollow = np.exp(-0.5 * (((across - 0.25) / 0.3) ** 2 + (along / 0.55) ** 2))
    facing = 0.5 + 0.5 * np.sign(x - subject.x) * subject.light[0]
    bright = (0.62 + 0.25 * facing - 0.25 * hollow - 0.12 * distance**2).astype(np.float32)
    rgb = (
        np.array(subject.skin, np.float32)
        * bright[..., None]
        * np.array([1.04, 0.95, 0.94], np.float32)
    )
    return rgb, step((1 - distance) * 15, 1.2)


def _paint_body(
    subject: Subject, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint neck and shoulders."""
    away = np.abs(x - subject.x)
    half = 0.60 * subject.half_width + 14 * step(y - subject.chin - 18, 40)
    neck = step(half - away, 2) * step(y - subject.chin + 110, 8)
    round_off = np.sqrt(np.clip(1 - (away / (half + 2)) ** 2, 0, 1))
    facing = 1 + 0.3 * subject.light[0] * (x - subject.x) / half
    under_chin = 1 - 0.45 * step(subject.chin + 34 - y - 0.002 * away**2, 26)
    bright = (0.45 + 0.4 * round_off) * facing * under_chin
    bright *= 1 + 0.03 * noise(rng, x.shape, 12, 3)
    rgb = np.array(subject.skin, np.float32) * bright[..., None]

    shoulder = subject.chin + 34 + 0.00095 * away**2 + 9 * step(62 - away, 14)
    shirt = step(y - shoulder, 1.5)
    cloth = 0.75 + 0.06 * noise(rng, x.shape, 5, 2) + 0.08 * noise(rng, x.shape, 70, 2)
    cloth *= 1 + 0.25 * subject.light[0] * np.clip((x - subject.x) / 200, -1, 1)
    rgb = rgb + (np.array(subject.shirt, np.float32) * cloth[..., None] - rgb) * shirt[..., None]
    return rgb.astype(np.float32), np.maximum(neck, shirt).astype(np.float32)


def _paint_wall(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Paint what is behind: a plain wall, brighter where the light comes from."""
    height, width = FRAME_SIZE
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    along = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    bright = 1 + 0.10 * subject.light[0] * across - 0.06 * along
    bright = bright + 0.02 * noise(rng, FRAME_SIZE, 160, 3) + 0.008 * noise(rng, FRAME_SIZE, 6, 2)
    wall = np.array(subject.wall, np.float32) * bright[..., None] * 255
    return np.clip(wall, 0, 255).astype(np.float32)
