"""A subject's portrait: the head as a layer of its own in front of a still wall.

The face is a relief (an ellipsoid with brow ridge, sockets, nose, lips and chin) lit from one
side after Lambert, with pores, spots and blotches on its skin. Eyes, brows, mouth, nostrils and
hair are painted in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from casme_tf.synthetic.subject import FRAME_SIZE, Subject, bump, noise, step, strokes

Window = tuple[slice, slice]


def _paint_eye(
    face: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    subject: Subject,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Paint an eye with lids, iris, crease and lashes."""
    center = (subject.x + side * subject.eye_x, subject.eye_y)
    window = _window(x, y, center, 48, 34)
    skin, px, py = face[window], x[window], y[window]
    outward = side * (px - center[0])
    height = py - center[1] + subject.eye_tilt * outward
    t = np.clip(outward / subject.eye_width, -1, 1)
    # The opening is highest a little towards the nose.
    arc = np.clip(1 - t * t, 0, 1)
    upper = -subject.eye_open * arc**0.62 * (1 - 0.12 * t)
    lower = 0.72 * subject.eye_open * arc**0.8 * (1 + 0.18 * t)
    inside = step(height - upper, 0.8) * step(lower - height, 0.8)
    inside *= step(subject.eye_width - np.abs(outward), 1)
    within = np.abs(outward) < subject.eye_width + 3

    # Creases, bag and lid shadow lie on the skin around.
    fade = step(subject.eye_width + 4 - np.abs(outward), 8)
    crease = np.exp(-0.5 * ((height - upper + 6.5) / 1.3) ** 2) * fade
    bag = np.exp(-0.5 * ((height - lower - 9) / 1.8) ** 2) * fade
    skin *= (1 - 0.30 * crease - 0.10 * bag)[..., None]
    lid = step(height - upper + 6, 2) * step(upper - height, 1) * fade
    skin *= (1 + 0.04 * lid)[..., None]

    distance = np.hypot(outward + 1.0, height + 1.0)
    radius = 0.42 * subject.eye_width
    angle = np.arctan2(height, outward)
    rays = 0.10 * np.sin(23 * angle + 6 * rng.random()) + 0.08 * np.sin(37 * angle)
    white = np.array([0.86, 0.83, 0.80], np.float32) * np.float32(0.62 + 0.38 * subject.ambient)
    ball = np.broadcast_to(white, skin.shape) * (1 - 0.22 * (t * t))[..., None]
    veins = 0.02 * noise(rng, px.shape, 5, 2)
    ball = ball * (1 + veins[..., None])
    ring = np.clip(distance / radius, 0, 1)
    iris = (
        np.array(subject.iris, np.float32)
        * (1.15 + rays + 0.5 * (ring - 0.5) - 0.9 * ring**8)[..., None]
    )
    ball = _mix(ball, iris, step(radius - distance, 0.8))
    ball = _mix(ball, np.array([0.02, 0.02, 0.02], np.float32), step(0.42 * radius - distance, 0.7))
    glint = np.hypot(outward + 1 - side * 7 * subject.light[0], height + 5)
    ball = _mix(ball, np.array([0.97, 0.97, 0.97], np.float32), step(1.7 - glint, 0.9))
    ball = ball * (1 - 0.42 * np.exp(-np.clip(height - upper, 0, None) / 3.2))[..., None]
    skin[:] = _mix(skin, ball, inside)

    corner = bump(outward, height, (-subject.eye_width + 1.5, 0.5), 2.6, 2.0)
    skin[:] = _mix(skin, np.array([0.66, 0.38, 0.34], np.float32), 0.75 * corner)
    line = np.exp(-0.5 * ((height - upper) / 1.25) ** 2) * within * fade
    skin[:] = _mix(skin, np.array([0.06, 0.04, 0.04], np.float32), 0.88 * line)
    rim = np.exp(-0.5 * ((height - lower) / 1.0) ** 2) * within * fade
    skin *= (1 - 0.30 * rim)[..., None]

    along = rng.uniform(-0.8, 1.0, 46)
    root = np.stack([along, -subject.eye_open * (1 - along**2).clip(0) ** 0.62], 1)
    root[:, 0] *= subject.eye_width
    root[:, 1] -= subject.eye_tilt * root[:, 0]
    tip = root + np.stack([1.0 + 3.2 * along, -2.2 - 2.2 * rng.random(46)], 1)
    hairs = _strokes(px, py, center, side, root, tip)
    skin[:] = _mix(skin, np.array([0.05, 0.04, 0.04], np.float32), 0.75 * hairs)


def _paint_brow(
    face: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    subject: Subject,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Paint a brow hair by hair."""
    center = (subject.x + side * subject.eye_x, subject.brow_y)
    window = _window(x, y, center, 62, 30)
    skin, px, py = face[window], x[window], y[window]
    count = 330
    t = rng.uniform(-1, 1, count)
    middle = -subject.brow_arch * (1 - ((t - 0.25) / 1.25) ** 2) + 2.0
    thick = subject.brow_thickness * np.where(t < 0.1, 1.0, 1.0 - 0.65 * (t - 0.1) / 0.9)
    root = np.stack([t * 1.18 * subject.eye_width + 4, middle], 1)
    root[:, 1] += rng.uniform(-1, 1, count) * thick
    lean = np.interp(t, [-1, -0.4, 1], [-1.25, -0.5, 0.25]) + rng.normal(0, 0.2, count)
    length = rng.uniform(5, 9, count)[:, None]
    tip = root + length * np.stack([np.cos(lean), np.sin(lean)], 1)
    hairs = _strokes(px, py, center, side, root, tip)
    away = side * (px - center[0]) / (1.18 * subject.eye_width)
    t_here = np.clip(away, -1, 1)
    ridge = py - center[1] + subject.brow_arch * (1 - ((t_here - 0.25) / 1.25) ** 2) - 2.0
    bed = np.exp(-0.5 * (ridge / (0.75 * subject.brow_thickness)) ** 2) * step(
        1.15 - np.abs(away), 0.2
    )
    color = np.array(subject.hair, np.float32) * np.float32(0.75)
    skin[:] = _mix(skin, color, 0.38 * bed)
    skin[:] = _mix(skin, color, 0.72 * hairs)


def _paint_mouth(
    face: np.ndarray, x: np.ndarray, y: np.ndarray, subject: Subject, rng: np.random.Generator
) -> None:
    """Paint closed lips."""
    center = (subject.x, subject.mouth_y)
    window = _window(x, y, center, subject.mouth_width + 16, 34)
    skin, px, py = face[window], x[window], y[window]
    across = np.clip((px - center[0]) / subject.mouth_width, -1, 1)
    away, height = np.abs(across), py - center[1]
    seam = 1.2 * np.cos(2 * np.pi * away) * (1 - away) - 0.6 * away**2
    bow = 1 - 0.30 * np.exp(-0.5 * (away / 0.09) ** 2)
    top = seam - subject.upper_lip * (1 - away**1.9).clip(0) ** 0.8 * bow
    bottom = seam + subject.lower_lip * (1 - away**2.3).clip(0) ** 0.7
    lips = step(height - top, 1.4) * step(bottom - height, 1.8) * step(1 - np.abs(across), 0.05)

    cracks = noise(rng, (1, px.shape[1]), 3.2, 2) * 0.6 + 0.5 * noise(rng, px.shape, 4, 2)
    upper = step(seam - height, 1.2)
    bright = 1.02 - 0.20 * upper + 0.045 * cracks
    red = np.array([1.0, 0.72, 0.72], np.float32) * (1 - 0.25 * subject.lip_red)
    red[0] += 0.16 * subject.lip_red
    shine = bump(px, height, (center[0] + 12 * subject.light[0], 0.5 * subject.lower_lip), 16, 2.4)
    lip = skin * red * bright[..., None] + (0.10 * shine * (1 + 0.4 * cracks))[..., None]
    skin[:] = _mix(skin, lip, 0.92 * lips)
    line = np.exp(-0.5 * ((height - seam) / 1.25) ** 2) * step(0.93 - np.abs(across), 0.10)
    skin[:] = _mix(skin, np.array([0.16, 0.06, 0.06], np.float32), 0.80 * line)
    pits = bump(np.abs(px - center[0]), height, (0.95 * subject.mouth_width, 0.2), 3.4, 2.4)
    skin *= (1 - 0.38 * pits)[..., None]
    shadow = bump(px, height, (center[0], subject.lower_lip + 5), 24, 3.5)
    skin *= (1 - 0.14 * shadow)[..., None]


def _paint_nostrils(face: np.ndarray, x: np.ndarray, y: np.ndarray, subject: Subject) -> None:
    """Paint the nostrils and the shadow under the nose."""
    center = (subject.x, subject.nose_y)
    window = _window(x, y, center, subject.nose_width + 14, 26)
    skin, px, py = face[window], x[window], y[window]
    away, height = np.abs(px - center[0]), py - center[1]
    hole = bump(away, height - 0.10 * (away - 12), (0.46 * subject.nose_width, 2.0), 4.6, 2.1)
    wing = np.exp(
        -0.5 * ((np.hypot(away - 0.62 * subject.nose_width, 1.1 * (height + 5)) - 10) / 1.8) ** 2
    )
    wing *= step(away - 0.62 * subject.nose_width, 5)
    under = bump(px, height, (center[0], 5.5), 0.62 * subject.nose_width, 2.6)
    skin *= (1 - 0.30 * wing - 0.22 * under)[..., None]
    skin[:] = _mix(skin, np.array([0.13, 0.06, 0.05], np.float32), np.clip(0.95 * hole, 0, 0.85))


def _mix(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return below + (above - below) * cover[..., None].astype(np.float32)


def _window(
    x: np.ndarray, y: np.ndarray, center: tuple[float, float], half_x: float, half_y: float
) -> Window:
    columns = np.searchsorted(x[0], [center[0] - half_x, center[0] + half_x])
    rows = np.searchsorted(y[:, 0], [center[1] - half_y, center[1] + half_y])
    return slice(*map(int, rows)), slice(*map(int, columns))


def _strokes(
    x: np.ndarray,
    y: np.ndarray,
    center: tuple[float, float],
    side: int,
    root: np.ndarray,
    tip: np.ndarray,
) -> np.ndarray:
    """Draw hairs given as (outward, down) from a center, frame px, in the window of x and y."""
    per_px = 1 / (x[0, 1] - x[0, 0])
    origin = np.array([x[0, 0], y[0, 0]])
    outward = np.array([side, 1])
    starts = (np.array(center) + outward * root - origin) * per_px
    ends = (np.array(center) + outward * tip - origin) * per_px
    return strokes(x.shape, starts, ends)


def _hair_behind(
    subject: Subject, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the hair behind face and neck."""
    strands, comb, _ = _strands(subject, x, y, rng)
    bottom = subject.chin + 48 if subject.hair_style == "long" else subject.eye_y + 14
    outline = _cap(subject, x, y) + 0.010 * comb
    cover = step((1 - outline) * subject.half_width, 2.2) * step(bottom + 5 * comb - y, 10)
    if subject.hair_style == "long":
        away = np.abs(x - subject.x) / subject.half_width
        fall = step((1.13 - away + 0.03 * comb) * subject.half_width, 3) * step(y - subject.y, 24)
        cover = np.maximum(cover, fall * step(bottom + 7 * comb - y, 12))
    return 0.8 * strands, cover.astype(np.float32)


def _hair_in_front(
    subject: Subject, x: np.ndarray, y: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the hair over the forehead and temples."""
    strands, comb, fine = _strands(subject, x, y, rng)
    across = (x - subject.x) / subject.half_width
    away = np.abs(across)
    if subject.hair_style == "fringe":
        edge = subject.brow_y - 20 + 10 * away**2 + 7 * comb
    elif subject.hair_style == "parted":
        part = np.abs(across - 0.25)
        edge = subject.hairline - 16 + 46 * part**1.3 + 4 * comb
    else:
        edge = subject.hairline + 14 * away**2 - 6 * np.cos(5 * across) + 2 * comb
    edge = edge + 4 * fine
    temple = subject.eye_y + 4 + 5 * comb
    edge = edge + (temple - edge) * step(
        away - (0.87 if subject.hair_style != "long" else 0.84), 0.07
    )
    if subject.hair_style == "long":
        edge = edge + (subject.chin - edge) * step(away - 0.93, 0.05)
    cap = step((1 - _cap(subject, x, y) - 0.010 * comb) * subject.half_width, 2.2)
    front = step(edge - y, 4.5) * cap
    shadow = step(edge + 9 - y, 9) * cap * (1 - front) * step(1 - radius, 0.03) * 0.28
    # A shadow is thin dark paint: it darkens the skin beneath without hiding it.
    cover = front + shadow * (1 - front)
    rgb = strands * (front / np.maximum(cover, 1e-6))[..., None]
    return rgb.astype(np.float32), cover.astype(np.float32)


def _cap(subject: Subject, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the radius of the head with its hair: 1 on the outline of the hair."""
    middle = subject.y - 22
    thick = {"short": 1.04, "parted": 1.09, "fringe": 1.08, "long": 1.13}[subject.hair_style]
    across = np.abs(x - subject.x) / (subject.half_width * thick)
    height = np.where(y < middle, middle - subject.crown + 16, 1.35 * (subject.chin - middle))
    return ((across**2.3 + np.abs((y - middle) / height) ** 2.3) ** (1 / 2.3)).astype(np.float32)


def _strands(
    subject: Subject, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the color of combed hair, and its locks and strands as noise along the combing."""
    whorl = (subject.x + (40 if subject.hair_style == "parted" else 0), subject.crown - 20)
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
    gloss = np.exp(-0.5 * ((y - subject.crown - 26 - 8 * coarse) / 20) ** 2)
    facing = 1 + 0.35 * subject.light[0] * np.clip((x - subject.x) / subject.half_width, -1, 1)
    bright = facing * (0.85 + 0.20 * fine + 0.13 * coarse + 0.55 * gloss)
    rgb = (
        np.array(subject.hair, np.float32) * np.clip(bright, 0.2, None)[..., None]
        + 0.02 * gloss[..., None]
    )
    return rgb.astype(np.float32), coarse, fine


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

    behind, cover = _hair_behind(subject, x, y, rng)
    _cover_with(rgb, alpha, behind, cover)
    _cover_with(rgb, alpha, *_paint_body(subject, x, y, rng))
    _cover_with(rgb, alpha, *_paint_ears(subject, x, y))

    face = _paint_skin(subject, x, y, radius, rng)
    for side in (-1, 1):
        _paint_eye(face, x, y, subject, side, rng)
        _paint_brow(face, x, y, subject, side, rng)
    _paint_mouth(face, x, y, subject, rng)
    _paint_nostrils(face, x, y, subject)
    _cover_with(rgb, alpha, face, step((0.985 - radius) * subject.half_width, 1.2))

    front, cover = _hair_in_front(subject, x, y, radius, rng)
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
