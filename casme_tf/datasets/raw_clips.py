"""Where the frames of CASME II lie, in the folders and names that it is handed out in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from casme_tf.datasets.coding_sheet import Clip
from casme_tf.errors import UserError

RAW_NAME = "img{}.jpg"
"""A raw frame, 640×480 px; its index is not padded."""

CROPPED_NAME = "reg_img{}.jpg"
"""A frame that the authors of CASME II cropped to the face and registered."""

_SUBJECT = re.compile(r"sub\d+")
_FRAME = re.compile(r"(reg_)?img\d+\.jpg")
_DEPTH = 2  # Cropped-updated/Cropped


class FrameNotFoundError(UserError):
    """A frame that the coding sheet names is not on disk."""


@dataclass(frozen=True)
class FramePair:
    """The files of a clip's two frames."""

    onset: Path
    apex: Path
    cropped: bool


@dataclass(frozen=True)
class FrameFiles:
    """The files of a clip's frames."""

    numbers: tuple[int, ...]
    paths: tuple[Path, ...]
    cropped: bool


def find_root(raw: Path | str) -> Path:
    """Find the folder that holds the subjects' folders."""
    raw = Path(raw)
    if not raw.is_dir():
        raise UserError(
            f"The raw clips must be in a folder. Received: {raw}, which is "
            f"{'no folder' if raw.exists() else 'not there'}."
        )
    roots = _roots_below(raw, _DEPTH)
    if len(roots) > 1:
        listed = ", ".join(str(root) for root in roots)
        raise UserError(f"{raw} must hold one corpus. Received: {listed}. Pass one of them.")
    if not roots:
        raise UserError(
            "The raw clips must lie in subXX/<clip>/imgN.jpg or subXX/<clip>/reg_imgN.jpg. "
            f"Received: {raw}, which has no such file. Pass the folder that holds sub01, sub02, …"
        )
    return roots[0]


def find_pair(root: Path, clip: Clip) -> FramePair:
    """Find the onset and the apex frame of a clip."""
    if clip.apex is None:
        raise UserError("The coding sheet must name the apex. Received: none for this clip.")
    folder = _clip_folder(root, clip)
    pairs = [
        FramePair(
            folder / name.format(clip.onset), folder / name.format(clip.apex), name == CROPPED_NAME
        )
        for name in (RAW_NAME, CROPPED_NAME)
    ]
    for pair in pairs:
        if pair.onset.is_file() and pair.apex.is_file():
            return pair
    expected = pairs[all(name.startswith("reg_") for name in _frame_names(folder))]
    missing = [path for path in (expected.onset, expected.apex) if not path.is_file()]
    raise FrameNotFoundError(
        f"Both frames of the clip must be there. Received: no {' and no '.join(map(str, missing))}."
    )


def find_frames(root: Path, clip: Clip) -> FrameFiles:
    """Find all frames of a clip from its onset to its offset, or to its end if that is unknown."""
    folder = _clip_folder(root, clip)
    names = _frame_names(folder)
    for name in (RAW_NAME, CROPPED_NAME):
        if name.format(clip.onset) not in names:
            continue
        before, after = name.split("{}")
        indices = sorted(
            int(found.removeprefix(before).removesuffix(after))
            for found in names
            if found.startswith(before)
        )
        kept = [i for i in indices if i >= clip.onset and (clip.offset is None or i <= clip.offset)]
        if len(kept) < 2:
            raise FrameNotFoundError(
                f"The clip must have frames after its onset. Received: {folder}, with none from "
                f"{clip.onset + 1} on."
            )
        paths = tuple(folder / name.format(i) for i in kept)
        return FrameFiles(tuple(kept), paths, name == CROPPED_NAME)
    raise FrameNotFoundError(
        f"The clip must have its onset frame. Received: no {folder / RAW_NAME.format(clip.onset)}."
    )


def _clip_folder(root: Path, clip: Clip) -> Path:
    folder = root / clip.subject / clip.clip
    if not folder.is_dir():
        raise FrameNotFoundError(f"The clip must have a folder {folder}. Received: none there.")
    return folder


def _roots_below(folder: Path, depth: int) -> list[Path]:
    try:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
        if any(_holds_frames(path) for path in folders if _SUBJECT.fullmatch(path.name)):
            return [folder]
    except OSError:  # not ours to read
        return []
    if depth == 0:
        return []
    return [root for path in folders for root in _roots_below(path, depth - 1)]


def _holds_frames(subject: Path) -> bool:
    return any(_frame_names(path) for path in subject.iterdir() if path.is_dir())


def _frame_names(clip: Path) -> list[str]:
    return [path.name for path in clip.iterdir() if _FRAME.fullmatch(path.name)]
