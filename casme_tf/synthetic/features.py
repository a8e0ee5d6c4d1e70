"""Eyes, brows, mouth, nostrils and hair, painted in place."""

from __future__ import annotations

import cv2
import numpy as np

from casme_tf.synthetic.subject import Subject, bump, noise, step, strokes

Window = tuple[slice, slice]


def paint_eye(
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


def paint_brow(
    face: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    subject: Subject,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Paint a brow hair by hair; arguments as in `paint_eye`."""
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


def paint_mouth(
    face: np.ndarray, x: np.ndarray, y: np.ndarray, subject: Subject, rng: np.random.Generator
) -> None:
    """Paint closed lips; arguments as in `paint_eye`."""
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


def paint_nostrils(face: np.ndarray, x: np.ndarray, y: np.ndarray, subject: Subject) -> None:
    """Paint the nostrils and the shadow under the nose; arguments as in `paint_eye`."""
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


def hair_behind(
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


def hair_in_front(
    subject: Subject, x: np.ndarray, y: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the hair over the forehead and temples; arguments and result as in `hair_behind`."""
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
