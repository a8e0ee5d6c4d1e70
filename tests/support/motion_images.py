"""Made-up motion images in the layout that other groups publish."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

_CLASSES = 3


def write_motion_images(
    folder: Path, databases: tuple[str, ...] = ("samm", "smic"), subjects: int = 3, seed: int = 0
) -> Path:
    """Write two clips a class of each subject; each class moves another part of the face."""
    rng = np.random.default_rng(seed)
    images = folder / "datasets" / "some_flow"
    images.mkdir(parents=True)
    rows = ["dataset,sub,filename_o,label,apex"]
    y, x = np.mgrid[:28, :28]
    for database in databases:
        for number in range(subjects):
            subject = f"0{number}" if database == "samm" else f"s{number} ä/#"
            for label in range(_CLASSES):
                for take in range(2):
                    clip = f"{label}_{take}"
                    hill = np.exp(-(((x - 14) / 5) ** 2 + ((y - 6 - 8 * label) / 3) ** 2))
                    field = hill[..., None] * [1.0, -2.0] + 0.1 * rng.standard_normal((28, 28, 2))
                    low, high = field.min((0, 1)), field.max((0, 1))
                    scaled = 255 * (field - low) / (high - low)
                    image = np.dstack([scaled, np.zeros((28, 28))]).round().astype(np.uint8)
                    name = f"{subject}_{clip} .png".replace("/", "-")
                    _, content = cv2.imencode(".png", image[..., ::-1])
                    (images / name).write_bytes(content.tobytes())
                    rows.append(f"{database},{subject.replace('/', '-')},{clip},{label},")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
