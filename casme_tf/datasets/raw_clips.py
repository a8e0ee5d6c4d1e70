"""Where the frames of a database lie, in the folders and names that it is handed out in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from casme_tf.datasets.coding_sheet import Clip, CodingSheet
from casme_tf.datasets.databases import SMIC_CODES, Database
from casme_tf.errors import UserError, UserErrors

__all__ = ["read_folders"]

_CROPPED = "reg_"
"""Begins the names of frames that the authors of a database cropped to the face."""

_SUFFIXES = {".jpg", ".jpeg", ".bmp", ".png"}
_NUMBER = re.compile(r"\d+(?=\D*$)")
_DEPTH = 3  # SMIC_all_raw/HS, Part_A_ME_clip/frame, Cropped-updated/Cropped


class FrameNotFoundError(UserError):
    """A frame that the table names is not on disk."""


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


def find_root(raw: Path | str, database: Database) -> Path:
    """Find the folder below which the clips of a database lie as its `places` say."""
    raw = Path(raw)
    if not raw.is_dir():
        raise UserError(
            f"The raw clips must be in a folder. Received: {raw}, which is "
            f"{'no folder' if raw.exists() else 'not there'}."
        )
    roots = _roots_below(raw, database.patterns(), _DEPTH)
    part = database.name.partition("/")[2]
    of_part = [r for r in roots if part in map(str.casefold, r.relative_to(raw).parts)]
    roots = of_part if len(of_part) == 1 else roots
    if len(roots) > 1:
        listed = ", ".join(str(root) for root in roots)
        raise UserError(f"{raw} must hold one corpus. Received: {listed}. Pass one of them.")
    if not roots:
        places = " or ".join(f"{pattern}/*.{{jpg,bmp,png}}" for pattern in database.patterns())
        raise UserError(
            f"The raw clips of {database.title} must lie in {places}, with numbers in the names. "
            f"Received: {raw}, which has no such file. Pass the folder that holds the subjects."
        )
    return roots[0]


def find_pair(root: Path, clip: Clip, database: Database) -> FramePair:
    """Find the onset and the apex frame of a clip."""
    if clip.apex is None:
        raise UserError("The coding sheet must name the apex. Received: none for this clip.")
    folder = _clip_folder(root, clip, database)
    raw, cropped = _frames(folder)
    for frames in (raw, cropped):
        if clip.onset in frames and clip.apex in frames:
            return FramePair(frames[clip.onset], frames[clip.apex], frames is cropped)
    present = raw or cropped
    missing = [n for n in (clip.onset, clip.apex) if n not in present]
    raise FrameNotFoundError(
        "Both frames of the clip must be there. Received: no "
        f"{' and no '.join(str(_expected(folder, n)) for n in missing)}."
    )


def find_frames(root: Path, clip: Clip, database: Database) -> FrameFiles:
    """Find all frames of a clip from its onset to its offset, or to its end if that is unknown."""
    folder = _clip_folder(root, clip, database)
    raw, cropped = _frames(folder)
    for frames in (raw, cropped):
        if clip.onset not in frames:
            continue
        last = max(frames) if clip.offset is None else clip.offset
        kept = {n: path for n, path in sorted(frames.items()) if clip.onset <= n <= last}
        if len(kept) < 2:
            raise FrameNotFoundError(
                f"The clip must have frames after its onset. Received: {folder}, with none from "
                f"{clip.onset + 1} on."
            )
        return FrameFiles(tuple(kept), tuple(kept.values()), frames is cropped)
    raise FrameNotFoundError(
        f"The clip must have its onset frame. Received: no {_expected(folder, clip.onset)}."
    )


def missing_frames(root: Path, clip: Clip, database: Database) -> int:
    """Return how many numbers between onset and offset have no frame; 0 of a pair alone."""
    raw, cropped = _frames(_clip_folder(root, clip, database))
    frames = raw or cropped
    if len(frames) <= 2:
        return 0
    last = max(frames, default=clip.onset) if clip.offset is None else clip.offset
    return sum(number not in frames for number in range(clip.onset, last + 1))


def read_folders(root: Path, database: Database) -> CodingSheet:
    """Make the table of a database that has none from its folders, as SMIC's are named.

    Onset and offset are the first and the last frame, the emotion is that of the clip's name, and
    an apex is not known.

    Args:
        root: The folder of the subjects, `sN`.
        database: The database.

    Raises:
        UserError: If the folder is that of another part of the database.
        UserErrors: If a folder has frames but not the name of a clip.
    """
    part = database.name.partition("/")[2]
    others = {"hs", "vis", "nir"} - {part}
    if found := others & {name.casefold() for name in root.parts[-2:]}:
        raise UserError(
            f"The clips must be those of {database.title}. Received: {root}. Give --database "
            f"{database.dataset}/{found.pop()}, or the folder of {part.upper()}."
        )
    clips, notes, problems = [], [], []
    folders = {path for pattern in database.patterns() for path in root.glob(pattern)}
    for folder in sorted(folders, key=lambda path: path.name):
        raw, cropped = _frames(folder)
        frames = raw or cropped
        if not frames:
            continue
        match = re.fullmatch(r"s(\d+)_([a-z]+)_\d+", folder.name)
        if match is None or match[2] not in SMIC_CODES:
            problems.append(f"{folder}: a clip must be named such as s1_ne_01.")
            continue
        emotion = SMIC_CODES[match[2]]
        if folder.parent.name not in ("micro", emotion):
            notes.append(f"{folder.name}: {emotion} by its name, in the folder {folder.parent}")
        clips.append(
            Clip(
                subject=database.subject_name(match[1]),
                clip=folder.name,
                onset=min(frames),
                apex=None,
                offset=max(frames),
                action_units="",
                emotion=emotion,
                fps=database.fps or 0.0,
            )
        )
    if problems:
        raise UserErrors(f"Folders of {database.title} must be put right:", problems)
    return CodingSheet(tuple(clips), f"folders ({len(clips)} clips)", tuple(notes))


def _clip_folder(root: Path, clip: Clip, database: Database) -> Path:
    source = clip.source or clip.clip
    digits = re.search(r"\d+$", clip.subject)
    fields = {"subject": clip.subject, "number": int(digits[0]) if digits else 0}
    places = [p.format(**fields, source=source, onset=clip.onset) for p in database.places]
    for place in places:
        if found := _existing(root, place):
            return found
    raise FrameNotFoundError(
        f"The clip must have a folder {root / places[0]}. Received: none there."
    )


def _existing(root: Path, place: str) -> Path | None:
    """Return the one folder at a place below the root; names are compared without case."""
    folders = [root]
    for name in place.split("/"):
        exact = [folder / name for folder in folders if "*" not in name]
        folders = [path for path in exact if path.is_dir()] or [
            path
            for folder in folders
            for path in folder.iterdir()
            if path.is_dir() and (name == "*" or path.name.casefold() == name.casefold())
        ]
    return folders[0] if len(folders) == 1 else None


def _roots_below(folder: Path, patterns: tuple[str, ...], depth: int) -> list[Path]:
    try:
        if any(_holds_frames(path) for pattern in patterns for path in folder.glob(pattern)):
            return [folder]
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # not ours to read
        return []
    if depth == 0:
        return []
    return [root for path in folders for root in _roots_below(path, patterns, depth - 1)]


def _holds_frames(folder: Path) -> bool:
    return folder.is_dir() and any(True for _ in _frame_files(folder))


def _frame_files(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        number = _NUMBER.search(path.stem)
        if number and path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
            yield int(number[0]), path


def _frames(folder: Path) -> tuple[dict[int, Path], dict[int, Path]]:
    """Return the raw and the cropped frames of a folder by number."""
    found = sorted(_frame_files(folder), reverse=True)
    raw = {n: path for n, path in found if not path.name.startswith(_CROPPED)}
    return raw, {n: path for n, path in found if path.name.startswith(_CROPPED)}


def _expected(folder: Path, number: int) -> Path | str:
    """Return the name that a missing frame would have, by the example of another one."""
    raw, cropped = _frames(folder)
    example = next(iter((raw or cropped).values()), None)
    if example is None:
        return f"frame {number} in {folder}"
    digits = _NUMBER.search(example.stem)
    width = len(digits[0]) if digits and digits[0].startswith("0") else 1
    return folder / f"{_NUMBER.sub(f'{number:0{width}d}', example.stem)}{example.suffix}"
