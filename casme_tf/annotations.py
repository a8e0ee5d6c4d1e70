"""Reading the coding sheet of CASME II: one record for each clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from casme_tf.corrections import SHIPPED_CORRECTIONS, Correction, read_corrections
from casme_tf.errors import UserError, UserErrors
from casme_tf.sheet_cells import (
    MISSING_FRAME,
    parse_action_units,
    parse_clip,
    parse_emotion,
    parse_frame,
    parse_subject,
)
from casme_tf.spreadsheet import read_tables

T = TypeVar("T")

_CODING_SHEET = {
    "subject": "Subject",
    "clip": "Filename",
    "onset": "OnsetFrame",
    "apex": "ApexFrame",
    "offset": "OffsetFrame",
    "action_units": "Action Units",
    "emotion": "Estimated Emotion",
}
_SOURCE_INDEX = {
    "subject": "subject",
    "clip": "folder",
    "onset": "onset_frame",
    "apex": "apex_frame",
    "emotion": "emotion",
}

# What tells the published sheets apart; file names do not, since users rename files.
_EMOTIONS_OF_2014 = Counter(
    others=99, disgust=63, happiness=32, repression=27, surprise=25, sadness=7, fear=2
)
_ONLY_CLIP_WITHOUT_APEX_IN_2014 = ("sub04", "EP12_01f")
_CLIP_ADDED_LATER = ("sub24", "EP02_07")


@dataclass(frozen=True)
class Clip:
    """One micro-expression of the coding sheet.

    Args:
        subject: Subject as in folder names, such as "sub01".
        clip: Clip as in folder names, such as "EP02_01f".
        onset: Index N of the frame `imgN.jpg` in which the movement begins.
        apex: Index of the frame in which it is strongest; `None` if the sheet has none.
        offset: Index of the frame in which it ends; `None` if the sheet has none.
        action_units: As the sheet writes them, such as "4", "4+7" or "L12+R4"; "" if none.
        emotion: One of `labels.EMOTIONS`.
    """

    subject: str
    clip: str
    onset: int
    apex: int | None
    offset: int | None
    action_units: str
    emotion: str


@dataclass(frozen=True)
class CodingSheet:
    """All clips of a coding sheet.

    Args:
        clips: In the order of the sheet.
        version: Which sheet this is, judged by its content.
        notes: What is odd in it but not wrong, and what was corrected; one line each.
    """

    clips: tuple[Clip, ...]
    version: str
    notes: tuple[str, ...]


@dataclass
class _Row:
    number: int
    cells: dict[str, str]
    subject: str | None = None
    clip: str | None = None

    @property
    def where(self) -> str:
        named = f" ({self.subject}/{self.clip})" if self.subject and self.clip else ""
        return f"row {self.number}{named}"


def read_coding_sheet(
    path: Path | str, *, corrections: Path | str | None = SHIPPED_CORRECTIONS
) -> CodingSheet:
    """Read a coding sheet of CASME II in any of its versions, or the source system's index.

    Args:
        path: An .xlsx or .csv file with the columns Subject, Filename, OnsetFrame, ApexFrame,
            OffsetFrame, Action Units, Estimated Emotion; or subject, folder, onset_frame,
            apex_frame, emotion. Other columns are passed over.
        corrections: Corrections to apply, see `corrections.read_corrections`. Default: those
            that come with this package. `None`: the sheet as it is.

    Returns:
        The clips, the sheet's version, and notes about irregularities.

    Raises:
        UserError: If the file is missing, not a spreadsheet, empty, or lacks a column.
        UserErrors: If rows are wrong; all of them are listed, by row number.

    Example:
        >>> sheet = read_coding_sheet("CASME2-coding-20140508.xlsx")  # doctest: +SKIP
        >>> sheet.version, len(sheet.clips)  # doctest: +SKIP
        ('coding sheet 2014 (255 rows)', 255)
    """
    columns, rows = _read_rows(Path(path))
    problems: list[str] = []
    notes: list[str] = []
    _name_clips(rows, columns, problems)
    version = _version(rows, columns)
    if corrections is not None:
        _apply_corrections(rows, Path(corrections), problems, notes)
    clips = [_clip(row, columns, problems) for row in rows]
    if problems:
        raise UserErrors(
            f"{path} must be put right, in the file itself or by a corrections file "
            f"(problems: {len(problems)}):",
            problems,
        )
    whole = tuple(clip for clip in clips if clip is not None)
    for row, clip in zip(rows, whole, strict=True):
        notes += [f"{row.where}: {oddity}" for oddity in _oddities(clip, "offset" in columns)]
    return CodingSheet(clips=whole, version=version, notes=tuple(notes))


def _read_rows(path: Path) -> tuple[dict[str, str], list[_Row]]:
    tables = read_tables(path)
    table, columns, missing = min(
        (
            (table, columns, table.missing(columns.values()))
            for table in tables
            for columns in (_CODING_SHEET, _SOURCE_INDEX)
        ),
        key=lambda choice: len(choice[2]) / len(choice[1]),
    )
    if missing:
        raise UserError(
            f"A coding sheet must have the columns {', '.join(columns.values())}, each once. "
            f"Received: {path} with {', '.join(filter(None, table.header))}; "
            f"not there once: {', '.join(missing)}."
        )
    rows = [
        _Row(number, dict.fromkeys(_CODING_SHEET, "") | cells)
        for number, cells in table.records(columns)
    ]
    if not rows:
        raise UserError(f"A coding sheet must list clips. Received: {path}, a header without rows.")
    return columns, rows


def _name_clips(rows: list[_Row], columns: dict[str, str], problems: list[str]) -> None:
    first_rows: dict[tuple[str, str], int] = {}
    for row in rows:
        row.subject = _parsed(row, "subject", parse_subject, columns, problems)
        row.clip = _parsed(row, "clip", parse_clip, columns, problems)
        if row.subject and row.clip:
            first = first_rows.setdefault((row.subject, row.clip), row.number)
            if first != row.number:
                problems.append(
                    f"{row.where}: a clip must be listed once. Received: it is in row {first} too."
                )


def _version(rows: list[_Row], columns: dict[str, str]) -> str:
    if columns is _SOURCE_INDEX:
        return "source index"
    names = {(row.subject, row.clip) for row in rows}
    without_apex = [(row.subject, row.clip) for row in rows if row.cells["apex"] in MISSING_FRAME]
    emotions = Counter(row.cells["emotion"].casefold() for row in rows)
    if emotions == _EMOTIONS_OF_2014 and without_apex == [_ONLY_CLIP_WITHOUT_APEX_IN_2014]:
        return "coding sheet 2014 (255 rows)"
    if len(rows) == 256 and _CLIP_ADDED_LATER in names:
        return "later coding sheet (256 rows)"
    return "coding sheet"


def _apply_corrections(rows: list[_Row], path: Path, problems: list[str], notes: list[str]) -> None:
    rows_of_clips = {(row.subject, row.clip): row for row in rows}
    for correction in read_corrections(path):
        row = rows_of_clips.get((correction.subject, correction.clip))
        if row is not None and correction.applies_to(row.cells):
            notes.append(_correction_note(row, correction, path))
            row.cells[correction.field] = correction.value
        elif path == SHIPPED_CORRECTIONS:
            continue  # about another version of the sheet
        elif row is None:
            problems.append(
                f"{path.name} row {correction.row}: a correction must be about a clip of the "
                f"sheet. Received: {correction.subject}/{correction.clip}."
            )
        else:
            notes.append(
                f"{row.where}: {path.name} row {correction.row} was not applied, since the "
                f"{correction.field} is {row.cells[correction.field]!r} and not "
                f"{correction.sheet_value!r}"
            )


def _correction_note(row: _Row, correction: Correction, path: Path) -> str:
    return (
        f"{row.where}: {correction.field} read as {correction.value!r} instead of "
        f"{row.cells[correction.field]!r} ({path.name} row {correction.row}: {correction.reason})"
    )


def _clip(row: _Row, columns: dict[str, str], problems: list[str]) -> Clip | None:
    frames = {
        field: _parsed(row, field, parse_frame, columns, problems)
        for field in ("onset", "apex", "offset")
    }
    emotion = _parsed(row, "emotion", parse_emotion, columns, problems)
    onset, apex = frames["onset"], frames["apex"]
    if row.cells["onset"] in MISSING_FRAME:
        problems.append(
            f"{row.where}: {columns['onset']} must be a frame number. "
            f"Received: {row.cells['onset'] or 'nothing'}."
        )
    if onset is not None and apex is not None and onset > apex:
        problems.append(
            f"{row.where}: the onset must not come after the apex. "
            f"Received: onset {onset}, apex {apex}."
        )
    if row.subject is None or row.clip is None or onset is None or emotion is None:
        return None
    return Clip(
        subject=row.subject,
        clip=row.clip,
        onset=onset,
        apex=apex,
        offset=frames["offset"],
        action_units=parse_action_units(row.cells["action_units"]),
        emotion=emotion,
    )


def _parsed(
    row: _Row,
    field: str,
    parse: Callable[[str, str], T],
    columns: dict[str, str],
    problems: list[str],
) -> T | None:
    column = columns.get(field, _CODING_SHEET[field])
    try:
        return parse(row.cells[field], column)
    except UserError as error:
        problems.append(f"{row.where}: {error}")
        return None


def _oddities(clip: Clip, sheet_has_offsets: bool) -> Iterator[str]:
    if clip.apex is None:
        yield "no apex"
    elif clip.apex == clip.onset:
        yield f"apex equals onset (frame {clip.apex}): the pair shows no motion"
    elif clip.apex == clip.offset:
        yield f"apex equals offset (frame {clip.apex})"
    if clip.offset is None:
        if sheet_has_offsets:
            yield "no offset"
    elif clip.offset < (clip.onset if clip.apex is None else clip.apex):
        end = "onset" if clip.apex is None else "apex"
        yield f"offset (frame {clip.offset}) before {end} (frame {getattr(clip, end)})"
