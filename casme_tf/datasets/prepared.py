"""Reading and checking the folder that preparation writes and the TFDS builders read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casme_tf.clips.images import read_rgb
from casme_tf.datasets.corpora import CORPORA
from casme_tf.datasets.sheet_cells import parse_clip, parse_emotion, parse_frame, parse_subject
from casme_tf.datasets.spreadsheet import read_tables
from casme_tf.errors import UserError, UserErrors, command


def prepare_command(folder: Path | str = "prepared_dataset") -> str:
    """Return the command that makes a prepared folder."""
    given = ("--raw", "CASME2-RAW", "--coding", "CASME2-coding-20140508.xlsx")
    return command("casme-tf", "prepare-dataset", *given, "--out", folder)


_COLUMNS = (
    "corpus",
    "subject",
    "clip",
    "onset",
    "apex",
    "offset",
    "action_units",
    "emotion",
    "apex_source",
    "fps",
)
_OPTIONAL = ("coding_sheet",)
_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True)
class PreparedClip:
    """One clip of a prepared folder.

    Args:
        corpus: Corpus that it is of, one of `corpora.CORPORA`.
        coding_sheet: Edition of its coding sheet; "" if unknown.
        subject: Subject such as "sub01".
        clip: Clip such as "EP02_01f".
        onset_path: JPEG of the face in the onset frame.
        apex_path: JPEG of the face in the apex frame, cropped with the same box.
        onset: Index of the onset frame in the raw clip.
        apex: Index of the apex frame.
        offset: Index of the offset frame; `None` if unknown.
        action_units: As the coding sheet writes them; "" if none.
        emotion: One of `labels.EMOTIONS`.
        apex_source: Where the apex came from, such as "sheet".
        fps: Frames per second of the raw clip.
    """

    corpus: str
    coding_sheet: str
    subject: str
    clip: str
    onset_path: Path
    apex_path: Path
    onset: int
    apex: int
    offset: int | None
    action_units: str
    emotion: str
    apex_source: str
    fps: float


def read_prepared_folder(folder: Path | str) -> tuple[PreparedClip, ...]:
    """Read a prepared folder, and make sure that manifest and images agree.

    Args:
        folder: Holds manifest.csv and subXX/ROI_<clip>/{onset_frame,apex_frame}.jpg.

    Returns:
        Its clips, sorted by subject and clip.

    Raises:
        UserError: If manifest.csv is missing, no table, lacks columns, or lists clips of several
            corpora.
        UserErrors: If rows are wrong, rows and images do not match, or images are not whole
            JPEG files of one size a pair; all of it is listed.
    """
    folder = Path(folder)
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise UserError(
            f"A prepared folder must hold manifest.csv. Received: {folder} without it. Make it: "
            f"{prepare_command(folder)}"
        )
    table = read_tables(manifest)[0]
    missing = table.missing(_COLUMNS)
    if missing == ["corpus"]:
        raise UserError(
            f"{manifest} must say in the column corpus which corpus its clips are of. Received: a "
            "table without it, as of an older version. Run the command that made it once more, "
            f"which keeps the prepared clips: {prepare_command(folder)}"
        )
    if missing:
        raise UserError(
            f"{manifest} must have the columns {', '.join(_COLUMNS)}, each once. "
            f"Not there once: {', '.join(missing)}. Make it again: {prepare_command(folder)}"
        )
    problems: list[str] = []
    clips: dict[tuple[str, str], PreparedClip] = {}
    listed: set[Path] = set()
    columns = (*_COLUMNS, *(name for name in _OPTIONAL if not table.missing([name])))
    for number, cells in table.records({name: name for name in columns}):
        listed.add(_clip_folder(folder, cells["subject"], cells["clip"]))
        clip, row_problems = _prepared_clip(folder, cells)
        if clip is not None and (clip.subject, clip.clip) in clips:
            row_problems.append("a clip must be listed once. Received: listed again.")
        elif clip is not None:
            clips[clip.subject, clip.clip] = clip
        where = f"manifest.csv row {number} ({cells['subject']}/{cells['clip']})"
        problems += [f"{where}: {problem}" for problem in row_problems]
    for clip in clips.values():
        problems += _image_problems(clip)
    for path in sorted(folder.glob("sub*/ROI_*")):
        if path not in listed:
            problems.append(f"{path} must have a row in manifest.csv. Received: none.")
    if not problems and not clips:
        problems.append("manifest.csv: must list clips. Received: a header without rows.")
    if problems:
        raise UserErrors(
            f"{folder} must hold two whole images for each row of manifest.csv "
            f"(problems: {len(problems)}). Make it again: {prepare_command(folder)}",
            problems,
        )
    counts = Counter(clip.corpus for clip in clips.values())
    if len(counts) > 1:
        held = " and ".join(f"{counts[name]} of {name}" for name in sorted(counts))
        raise UserError(
            f"A prepared folder must hold clips of one corpus. Received: {folder}, with {held}. "
            f"Prepare each corpus into a folder of its own: {prepare_command()}"
        )
    return tuple(clips[key] for key in sorted(clips))


def _clip_folder(folder: Path, subject: str, clip: str) -> Path:
    return folder / subject / f"ROI_{clip}"


def _prepared_clip(folder: Path, cells: dict[str, str]) -> tuple[PreparedClip | None, list[str]]:
    parsers: dict[str, Callable[[str, str], Any]] = {
        "corpus": _parse_corpus,
        "subject": parse_subject,
        "clip": parse_clip,
        "onset": _parse_required_frame,
        "apex": _parse_required_frame,
        "offset": parse_frame,
        "emotion": parse_emotion,
        "fps": _parse_fps,
    }
    fields: dict[str, Any] = {name: cells[name] for name in ("action_units", "apex_source")}
    fields |= {name: cells.get(name, "") for name in _OPTIONAL}
    problems = []
    for name, parse in parsers.items():
        try:
            fields[name] = parse(cells[name], name)
        except UserError as error:
            problems.append(str(error))
    if problems:
        return None, problems
    images = _clip_folder(folder, fields["subject"], fields["clip"])
    fields |= {"onset_path": images / "onset_frame.jpg", "apex_path": images / "apex_frame.jpg"}
    return PreparedClip(**fields), []


def _parse_corpus(text: str, column: str) -> str:
    if text not in CORPORA:
        raise UserError(
            f"{column} must be one of {', '.join(CORPORA)}. Received: {text or 'nothing'}."
        )
    return text


def _parse_required_frame(text: str, column: str) -> int:
    frame = parse_frame(text, column)
    if frame is None:
        raise UserError(f"{column} must be a frame number. Received: {text or 'nothing'}.")
    return frame


def _parse_fps(text: str, column: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise UserError(f"{column} must be a number above 0. Received: {text or 'nothing'}.")
    return fps


def _image_problems(clip: PreparedClip) -> list[str]:
    problems = []
    sizes = []
    for path in (clip.onset_path, clip.apex_path):
        try:
            height, width = read_rgb(path).shape[:2]
        except UserError as error:
            problems.append(str(error))
            continue
        sizes.append(f"{width}×{height} px")
        with path.open("rb") as file:
            if file.read(len(_JPEG_START)) != _JPEG_START:
                problems.append(f"{path} must be a JPEG. Received: another image format.")
    if len(set(sizes)) > 1:
        problems.append(
            f"{clip.onset_path.parent} must hold onset_frame.jpg and apex_frame.jpg of one size. "
            f"Received: {sizes[0]} and {sizes[1]}."
        )
    return problems
