"""The prepared folder: its manifest, how it is checked, and which corpus it is of."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from casme_tf.clips.frames import read_rgb
from casme_tf.datasets.coding_sheet import Clip
from casme_tf.datasets.databases import CASME2, Database
from casme_tf.datasets.spreadsheet import parse_clip, parse_fps, parse_frame, read_tables
from casme_tf.errors import UserError, UserErrors, command
from casme_tf.files import atomic_file, explain_write_errors

__all__ = ["ManifestRow", "PreparedClip", "read_prepared_folder"]

STAND_IN = "stand-in"
"""Clips that `synthesize` drew: no figure measured on them is one of CASME II."""

ARGUMENTS_FILE = "corpus.json"
"""What `synthesize` writes next to the clips that it draws."""

_LEVELS_ABOVE = 3  # beside CASME2-RAW, or beside the folder of Cropped-updated/Cropped
_KEYS = {"generator", "seed"}


def find_stand_in_record(root: Path) -> Path | None:
    """Find the `corpus.json` by which a stand-in corpus is known."""
    for start in dict.fromkeys((root.absolute(), root.resolve())):
        for folder in (start, *start.parents[:_LEVELS_ABOVE]):
            path = folder / ARGUMENTS_FILE
            if _is_record(path):
                return path
    return None


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be JSON, since it may say that the clips below it are stand-in data. "
            f"Received: {error}. Draw the stand-in corpus again, or move the file away if it is "
            "another's."
        ) from None
    return isinstance(content, dict) and content.keys() >= _KEYS


SHEET = "sheet"
"""Source of an apex that the coding sheet names."""

MANIFEST = "manifest.csv"
MISSING = "missing.csv"
"""Clips of the table that could not be prepared."""
PARTIAL = "manifest.partial.csv"


@dataclass(frozen=True)
class ManifestRow:
    """One prepared clip, as text in the cells of `manifest.csv`.

    Args:
        subject: Subject such as "sub01".
        clip: Clip such as "EP02_01f".
        onset: Index of the onset frame.
        apex: Index of the apex frame.
        offset: Index of the offset frame, or "".
        action_units: As in the coding sheet, or "".
        emotion: One of `labels.ALL_EMOTIONS`.
        objective: Objective class, "I" to "VII", or "".
        apex_source: Where the apex came from: "sheet", or such as "spotted-flow".
        fps: Frames a second of the camera.
        box_x: Left side of the crop in the source frame, px.
        box_y: Upper side, px.
        box_width: Width, px.
        box_height: Height, px.
        face_score: Score of the face in the onset frame, 0…1; "" if it was cropped already.
        face_range: Model that found the face, "short" or "full"; "cropped" if none had to.
        faces: Number of faces in the onset frame; "" if it was cropped already.
        frame_width: Width of the source frame, px.
        frame_height: Height of the source frame, px.
        recipe: Digest of everything but the frames that the result depends on.
        source_digest: Digest of the two source files.
        frames_digest: Digest of the two files written.
    """

    subject: str
    clip: str
    onset: str
    apex: str
    offset: str
    action_units: str
    emotion: str
    objective: str
    apex_source: str
    fps: str
    box_x: str
    box_y: str
    box_width: str
    box_height: str
    face_score: str
    face_range: str
    faces: str
    frame_width: str
    frame_height: str
    recipe: str
    source_digest: str
    frames_digest: str

    @property
    def key(self) -> tuple[str, str]:
        """Subject and clip."""
        return self.subject, self.clip


_ROW_COLUMNS = [column.name for column in fields(ManifestRow)]
# First, since the last cell of a line can be torn.
_FOLDER_COLUMNS = ["database", "corpus", "coding_sheet"]
_COLUMNS = [*_FOLDER_COLUMNS, *_ROW_COLUMNS]


class Manifest:
    """The manifest of a folder of prepared clips."""

    def __init__(self, folder: Path, database: str, corpus: str, sheet: str) -> None:
        self._about = [database, corpus, sheet]
        self._final = folder / MANIFEST
        self._partial = folder / PARTIAL
        self.complete = self._final.is_file()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"The output must be a folder. Received: {folder}, a file.")
        self.rows: list[ManifestRow] = []
        about: set[tuple[str, ...]] = set()
        if self.complete or self._partial.is_file():
            self.rows, about = _read(self._final if self.complete else self._partial)
        elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UserError(
                "The output must be a new folder or one that this command wrote. Received: "
                f"{folder}, which holds files but no {MANIFEST}. Choose another folder."
            )
        wanted = _corpus(database, corpus)
        if others := sorted({_corpus(*each[:2]) for each in about} - {wanted}):
            raise UserError(
                f"A folder must hold clips of one corpus, here {wanted}. Received: {folder}, which "
                f"holds clips of {', '.join(others)}. Choose another folder, or delete that one."
            )
        self.current = about == {tuple(self._about)} or not self.rows

    def begin(self) -> None:
        """Mark the folder as incomplete."""
        self._write(self._partial, self.rows)
        with explain_write_errors(self._final):
            self._final.unlink(missing_ok=True)
        self.complete = False

    def add(self, row: ManifestRow) -> None:
        """Note a clip that is done; a later note of the same clip counts."""
        with (
            explain_write_errors(self._partial),
            self._partial.open("a", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file, lineterminator="\n").writerow(self._cells(row))

    def finish(self, rows: Iterable[ManifestRow]) -> None:
        """Write the final rows and mark the folder as complete, if it is not."""
        if not self.complete:
            self.rows = list(rows)
            self._write(self._final, self.rows)
        with explain_write_errors(self._partial):
            self._partial.unlink(missing_ok=True)
        self.complete = self.current = True

    def _write(self, path: Path, rows: Iterable[ManifestRow]) -> None:
        with (
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(map(self._cells, rows))

    def _cells(self, row: ManifestRow) -> list[str]:
        return [*self._about, *asdict(row).values()]


def _corpus(database: str, corpus: str) -> str:
    """Name a corpus for messages."""
    return corpus if corpus != STAND_IN or database == CASME2.name else f"{corpus} ({database})"


def _read(path: Path) -> tuple[list[ManifestRow], set[tuple[str, ...]]]:
    """Return the clips, and the different contents of `_FOLDER_COLUMNS`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} must be a table that this command wrote. Received: {error}."
        ) from None
    if header != _COLUMNS:
        raise UserError(
            f"{path} must be a table that this command wrote. Received: other columns, perhaps of "
            "another version. Delete that folder, or choose another one."
        )
    # The last line of a partial manifest may be torn.
    lines = [line for line in lines if len(line) == len(header)]
    rows = [ManifestRow(*line[len(_FOLDER_COLUMNS) :]) for line in lines]
    about = {tuple(line[: len(_FOLDER_COLUMNS)]) for line in lines}
    return list({row.key: row for row in rows}.values()), about


def write_missing(folder: Path, clips: Iterable[Clip]) -> None:
    """Write the clips that could not be prepared into a prepared folder; nothing if there is none.

    Figures of a class scheme are known clip by clip for some databases, so that a clip that is
    missing can be named.
    """
    path = folder / MISSING
    lines = [
        ",".join([c.subject, c.clip, c.emotion, c.objective, "" if c.apex is None else SHEET])
        for c in clips
    ]
    with explain_write_errors(path):
        path.unlink(missing_ok=True)
    if lines:
        with atomic_file(path) as temporary:
            temporary.write_text(
                "\n".join(["subject,clip,emotion,objective,apex_source", *lines]) + "\n"
            )


def prepare_command(folder: Path | str = "prepared_dataset", database: Database = CASME2) -> str:
    """Return the command that makes a prepared folder."""
    given: tuple[str, ...] = ("--raw", "CASME2-RAW", "--coding", "CASME2-coding-20140508.xlsx")
    if database is not CASME2:
        coding = ("--coding", f"{database.dataset}.xlsx") if database.columns else ()
        given = ("--database", database.name, "--raw", database.dataset.upper(), *coding)
    return command("casme-tf", "prepare-dataset", *given, "--out", folder)


_REQUIRED = (
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
_OPTIONAL = ("database", "coding_sheet", "objective")
_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True)
class PreparedClip:
    """One clip of a prepared folder.

    Args:
        database: Database in whose layout it is, one of `databases.DATABASES`.
        corpus: Corpus that it is of, the database, or `STAND_IN`.
        coding_sheet: Edition of its coding sheet; "" if unknown.
        subject: Subject such as "sub01".
        clip: Clip such as "EP02_01f".
        onset_path: JPEG of the face in the onset frame.
        apex_path: JPEG of the face in the apex frame, cropped with the same box.
        onset: Index of the onset frame in the raw clip.
        apex: Index of the apex frame.
        offset: Index of the offset frame; `None` if unknown.
        action_units: As the coding sheet writes them; "" if none.
        emotion: One of `labels.ALL_EMOTIONS`.
        objective: Objective class, "I" to "VII"; "" if unknown.
        apex_source: Where the apex came from, such as "sheet".
        fps: Frames per second of the raw clip.
    """

    database: str
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
    objective: str
    apex_source: str
    fps: float


def read_prepared_folder(
    folder: Path | str, database: Database = CASME2
) -> tuple[PreparedClip, ...]:
    """Read a prepared folder, and make sure that manifest and images agree.

    Args:
        folder: Holds manifest.csv and subXX/ROI_<clip>/{onset_frame,apex_frame}.jpg.
        database: Whose clips it must hold.

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
            f"{prepare_command(folder, database)}"
        )
    table = read_tables(manifest)[0]
    missing = table.missing(_REQUIRED)
    if missing:
        raise UserError(
            f"{manifest} must have the columns {', '.join(_REQUIRED)}, each once. "
            f"Not there once: {', '.join(missing)}. Make it again: "
            f"{prepare_command(folder, database)}"
        )
    problems: list[str] = []
    clips: dict[tuple[str, str], PreparedClip] = {}
    listed: set[Path] = set()
    columns = (*_REQUIRED, *(name for name in _OPTIONAL if not table.missing([name])))
    records = list(table.records({name: name for name in columns}))
    databases = {cells.get("database") or CASME2.name for _, cells in records}
    if others := sorted(databases - {database.name}):
        raise UserError(
            f"The prepared folder must be that of {database.title}. Received: {folder}, with clips "
            f"of {', '.join(others)}. Build that data set, or prepare: "
            f"{prepare_command(database=database)}"
        )
    for number, cells in records:
        listed.add(_clip_folder(folder, cells["subject"], cells["clip"]))
        clip, row_problems = _prepared_clip(folder, cells, database)
        if clip is not None and (clip.subject, clip.clip) in clips:
            row_problems.append("a clip must be listed once. Received: listed again.")
        elif clip is not None:
            clips[clip.subject, clip.clip] = clip
        where = f"manifest.csv row {number} ({cells['subject']}/{cells['clip']})"
        problems += [f"{where}: {problem}" for problem in row_problems]
    for clip in clips.values():
        problems += _image_problems(clip)
    for path in sorted(folder.glob("*/ROI_*")):
        if path not in listed:
            problems.append(f"{path} must have a row in manifest.csv. Received: none.")
    if not problems and not clips:
        problems.append("manifest.csv: must list clips. Received: a header without rows.")
    if problems:
        raise UserErrors(
            f"{folder} must hold two whole images for each row of manifest.csv "
            f"(problems: {len(problems)}). Make it again: {prepare_command(folder, database)}",
            problems,
        )
    counts = Counter(clip.corpus for clip in clips.values())
    if len(counts) > 1:
        held = " and ".join(f"{counts[name]} of {name}" for name in sorted(counts))
        raise UserError(
            f"A prepared folder must hold clips of one corpus. Received: {folder}, with {held}. "
            f"Prepare each corpus into a folder of its own: {prepare_command(database=database)}"
        )
    return tuple(clips[key] for key in sorted(clips))


def _clip_folder(folder: Path, subject: str, clip: str) -> Path:
    return folder / subject / f"ROI_{clip}"


def _prepared_clip(
    folder: Path, cells: dict[str, str], database: Database
) -> tuple[PreparedClip | None, list[str]]:
    parsers: dict[str, Callable[[str, str], Any]] = {
        "corpus": partial(_one_of, (database.name, STAND_IN)),
        "subject": database.subject_name,
        "clip": parse_clip,
        "onset": _parse_required_frame,
        "apex": _parse_required_frame,
        "offset": parse_frame,
        "emotion": partial(_one_of, database.emotions),
        "fps": parse_fps,
    }
    fields: dict[str, Any] = {name: cells[name] for name in ("action_units", "apex_source")}
    fields |= {name: cells.get(name, "") for name in _OPTIONAL}
    fields["database"] = fields["database"] or CASME2.name
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


def _one_of(known: Sequence[str], text: str, column: str) -> str:
    if text not in known:
        raise UserError(
            f"{column} must be one of {', '.join(known)}. Received: {text or 'nothing'}."
        )
    return text


def _parse_required_frame(text: str, column: str) -> int:
    frame = parse_frame(text, column)
    if frame is None:
        raise UserError(f"{column} must be a frame number. Received: {text or 'nothing'}.")
    return frame


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
