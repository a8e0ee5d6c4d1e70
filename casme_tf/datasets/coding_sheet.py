"""Reading the table of a database: one record for each clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from casme_tf.datasets.databases import (
    CASME2,
    COLUMNS,
    EDITION_2014,
    EDITION_2019,
    EDITION_LATER,
    Columns,
    Database,
    require_not_another,
)
from casme_tf.datasets.spreadsheet import (
    MISSING_FRAME,
    are_action_units,
    parse_action_units,
    parse_clip,
    parse_fps,
    parse_frame,
    read_tables,
)
from casme_tf.errors import UserError, UserErrors
from casme_tf.labels import OBJECTIVE

__all__ = ["Clip", "CodingSheet", "Correction", "read_coding_sheet", "read_corrections"]

SHIPPED_CORRECTIONS = Path(__file__).with_name("corrections.csv")
"""The corrections that come with this package."""

_COLUMNS = ("subject", "clip", "field", "sheet_value", "value", "reason")

_VALUE_PARSERS: dict[str, Callable[[str], object]] = {
    "clip": lambda text: parse_clip(text, "value"),
    "onset": lambda text: parse_frame(text, "value"),
    "apex": lambda text: parse_frame(text, "value"),
    "offset": lambda text: parse_frame(text, "value"),
    "action_units": parse_action_units,
    "emotion": str.casefold,
}


@dataclass(frozen=True)
class Correction:
    """One row of a corrections file.

    Args:
        row: Its row number in the file, from 1.
        subject: Subject such as "sub05".
        clip: Clip such as "EP09_05f"; where the clip's name is wrong, as the sheet has it.
        field: What is wrong: clip, onset, apex, offset, action_units or emotion.
        sheet_value: What a sheet must say for the row to apply, so that it is left alone in the
            versions that are right: a value, or a field's name for "the same as that field".
            Blank: apply always.
        value: What to read instead, as it would be written in the sheet.
        reason: Why, in a sentence.
    """

    row: int
    subject: str
    clip: str
    field: str
    sheet_value: str
    value: str
    reason: str

    def applies_to(self, cells: Mapping[str, str]) -> bool:
        """Return whether a clip's cells, field by field as text, have the mistake."""
        expected = cells.get(self.sheet_value, self.sheet_value)
        return not self.sheet_value or self._parsed(cells[self.field]) == self._parsed(expected)

    def _parsed(self, text: str) -> object:
        try:
            return _VALUE_PARSERS[self.field](text)
        except UserError:
            return text


def read_corrections(path: Path | str, database: Database = CASME2) -> tuple[Correction, ...]:
    """Read a corrections file.

    Args:
        path: A .csv or .xlsx with the columns subject, clip, field, sheet_value, value, reason;
            see `Correction`.
        database: Whose table it corrects. Default: CASME II.

    Returns:
        The corrections in the order of the file.

    Raises:
        UserError: If the file is missing, not a table, or lacks a column.
        UserErrors: If rows name unknown fields, impossible values or no reason.

    Example:
        >>> [fix.clip for fix in read_corrections(SHIPPED_CORRECTIONS)]
        ['EP09_05f']
    """
    table = read_tables(path)[0]
    if missing := table.missing(_COLUMNS):
        raise UserError(
            f"A corrections file must have the columns {', '.join(_COLUMNS)}, each once. "
            f"Received: {path} with {', '.join(filter(None, table.header))}; "
            f"not there once: {', '.join(missing)}."
        )
    corrections: list[Correction] = []
    problems: list[str] = []
    for row, cells in table.records({name: name for name in _COLUMNS}):
        try:
            corrections.append(_correction(row, cells, database))
        except UserError as error:
            problems.append(f"row {row}: {error}")
    if problems:
        raise UserErrors(f"The corrections file {path} must be put right:", problems)
    return tuple(corrections)


def _correction(row: int, cells: dict[str, str], database: Database) -> Correction:
    if cells["field"] not in _VALUE_PARSERS:
        raise UserError(
            f"field must be one of {', '.join(_VALUE_PARSERS)}. Received: {cells['field']!r}."
        )
    if not cells["reason"]:
        raise UserError("reason must say why the sheet is wrong. Received: nothing.")
    if cells["field"] == "emotion":
        database.emotion_name(cells["value"], "value")
    _VALUE_PARSERS[cells["field"]](cells["value"])
    return Correction(
        row=row,
        subject=database.subject_name(cells["subject"], "subject"),
        clip=cells["clip"] if cells["field"] == "clip" else parse_clip(cells["clip"], "clip"),
        field=cells["field"],
        sheet_value=cells["sheet_value"],
        value=cells["value"],
        reason=cells["reason"],
    )


T = TypeVar("T")

_SOURCE_INDEX: Columns = {
    "subject": ("subject",),
    "clip": ("folder",),
    "onset": ("onset_frame",),
    "apex": ("apex_frame",),
    "emotion": ("emotion",),
}
_HEADER_WITHIN = 20
"""Rows in which a header is looked for: some tables begin with prose."""

# By which the published sheets are recognized; not by file names, since users rename files.
_EMOTIONS_OF_2014 = Counter(
    others=99, disgust=63, happiness=32, repression=27, surprise=25, sadness=7, fear=2
)
_EMOTIONS_OF_2019 = _EMOTIONS_OF_2014 + Counter(surprise=3)
_EMOTIONS_OF_2019["sadness"] -= 3
_CLIP_ADDED_LATER = ("sub24", "EP02_07")
_LISTED = 5
"""Clips named in a note at most, unless a frame of theirs is not used."""
_NOT_USED = "not used"

_WITNESS = ("sub01", "EP19_05f")
"""A clip of CASME II whose action units differ between the editions."""
_WITNESS_UNITS = {"4+L10": "2014", "4+7+L10": "2019"}
_FAST = 100  # frames a second from which neighbours hardly differ
_LONGEST = 1.0  # s; micro-expressions are shorter


@dataclass(frozen=True)
class Clip:
    """One micro-expression of a table.

    Args:
        subject: Subject as the database writes it, such as "sub01".
        clip: Name that is unique for the subject, such as "EP02_01f"; with the onset where the
            table's name is not, such as "a_355".
        onset: Number of the frame in which the movement begins, the N of `imgN.jpg`.
        apex: Number of the frame in which it is strongest; `None` if the table names none that can
            be used.
        offset: Number of the frame in which it ends; `None` if the table has none.
        action_units: Such as "4", "4+7" or "L12+R4"; "" if none.
        emotion: One of `labels.ALL_EMOTIONS`.
        source: Its name in the table; "" if that is `clip`.
        fps: Frames a second.
        objective: Objective class, "I" to "VII"; "" if the table has none.
    """

    subject: str
    clip: str
    onset: int
    apex: int | None
    offset: int | None
    action_units: str
    emotion: str
    source: str = ""
    fps: float = 200.0
    objective: str = ""


@dataclass(frozen=True)
class CodingSheet:
    """All clips of a coding sheet.

    Args:
        clips: In the order of the sheet.
        version: Which sheet this is, judged by its content.
        notes: What is unusual in it but not wrong, and what was corrected; one line each.
        left_out: What is wrong with each row that was left out.
    """

    clips: tuple[Clip, ...]
    version: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass
class _Row:
    number: int
    cells: dict[str, str]
    subject: str | None = None
    clip: str | None = None
    odd: list[tuple[str, str]] = field(default_factory=list)
    """Each kind of oddity in it, and what is said of it."""

    @property
    def where(self) -> str:
        named = f" ({self.subject}/{self.clip})" if self.subject and self.clip else ""
        return f"row {self.number}{named}"


def read_coding_sheet(
    path: Path | str,
    database: Database = CASME2,
    *,
    corrections: Sequence[Path] = (SHIPPED_CORRECTIONS,),
    leave_out: bool = False,
) -> CodingSheet:
    """Read the table of a database in any of its editions, or the source system's index.

    Args:
        path: An .xlsx, .xls or .csv file with the database's columns, for CASME II Subject,
            Filename, OnsetFrame, ApexFrame, OffsetFrame, Action Units, Estimated Emotion, or
            shorter names of these; or subject, folder, onset_frame, apex_frame, emotion. Prose
            above the header and other columns are passed over.
        database: Whose table it is. Default: CASME II.
        corrections: Corrections files to apply in this order, see `read_corrections`.
            Default: the one that comes with this package. Empty: the sheet as it is.
        leave_out: Leave out rows that cannot be read. Default: they are an error.

    Returns:
        The clips, the sheet's version, and notes about irregularities.

    Raises:
        UserError: If the file is missing, not a spreadsheet, empty, lacks a column, is another
            database's, or no row can be read.
        UserErrors: If rows are wrong and not to be left out; all of them are listed, by row number.
    """
    columns, rows = _read_rows(Path(path), database)
    problems: list[str] = []
    notes: list[str] = []
    files = {
        file: read_corrections(file, database)
        for file in map(Path, corrections)
        if file != SHIPPED_CORRECTIONS or database is CASME2
    }
    for file, fixes in files.items():
        _correct_names(rows, fixes, file, notes, database)
    wrong = _name_clips(rows, columns, problems, database)
    version = _version(rows, columns, database)
    of_rows = len(problems)
    for file, fixes in files.items():
        _apply_corrections(rows, fixes, file, problems, notes)
    of_files = len(problems) - of_rows  # which leaving rows out does not put right
    clips: list[tuple[_Row, Clip]] = []
    for row in rows:
        before = len(problems)
        clip = _clip(row, columns, problems, database)
        if clip is not None and len(problems) == before and row not in wrong:
            clips.append((row, clip))
    if problems and (not leave_out or of_files or not clips):
        raise UserErrors(
            f"{path} must be put right, in the file itself or by a corrections file "
            f"(problems: {len(problems)}):",
            problems,
        )
    for row, clip in clips:
        row.odd += _oddities_of(row, clip, columns)
    notes += _oddities([row for row, _ in clips])
    if version.startswith("edition of 2019"):
        notes.append(
            "this is the edition of 2019: three clips are surprise that are sadness in that of "
            "2014. Compare figures of the same edition only."
        )
    return CodingSheet(
        clips=tuple(clip for _, clip in clips),
        version=version,
        notes=tuple(notes),
        left_out=tuple(problems),
    )


def _read_rows(path: Path, database: Database) -> tuple[Columns, list[_Row]]:
    tables = [
        each
        for table in read_tables(path)
        for each in (table, *(table.below(number) for number, _ in table.rows[:_HEADER_WITHIN]))
    ]
    for table in tables:
        require_not_another(database, table.missing, path)
    needed = {
        name: names for name, names in database.columns.items() if name not in database.optional
    }
    kinds = [needed, _SOURCE_INDEX] if database is CASME2 else [needed]
    table, columns, missing = min(
        (
            (table, columns, table.missing(columns.values()))
            for table in tables
            for columns in kinds
        ),
        key=lambda choice: len(choice[2]) / len(choice[1]),
    )
    if missing:
        required = ", ".join(names[0] for names in columns.values())
        raise UserError(
            f"A coding sheet must have the columns {required}, each once. "
            f"Received: {path} with {', '.join(filter(None, table.header))}; "
            f"not there once: {', '.join(missing)}."
        )
    if columns is needed:
        more = {name: database.columns[name] for name in database.optional}
        columns = needed | {n: names for n, names in more.items() if not table.missing([names])}
    rows = [
        _Row(number, dict.fromkeys((*COLUMNS, "objective", "fps"), "") | cells)
        for number, cells in table.records(columns)
    ]
    if not rows:
        raise UserError(f"A coding sheet must list clips. Received: {path}, a header without rows.")
    return columns, rows


def _name_clips(
    rows: list[_Row], columns: Columns, problems: list[str], database: Database
) -> list[_Row]:
    """Parse subjects and clips; return the rows where that fails or that repeat a clip."""
    first_rows: dict[tuple[str, str], int] = {}
    wrong = []
    for row in rows:
        before = len(problems)
        row.subject = _parsed(row, "subject", database.subject_name, columns, problems)
        row.clip = _parsed(row, "clip", parse_clip, columns, problems)
        if row.clip and database.with_onset:
            row.clip = f"{row.clip}_{row.cells['onset']}"
        if row.subject and row.clip:
            first = first_rows.setdefault((row.subject, row.clip), row.number)
            if first != row.number:
                problems.append(
                    f"{row.where}: a clip must be listed once. Received: it is in row {first} too."
                )
        if len(problems) > before:
            wrong.append(row)
    return wrong


def _version(rows: list[_Row], columns: Columns, database: Database) -> str:
    if columns is _SOURCE_INDEX:
        return "source index"
    if database is not CASME2:
        return database.editions.get(len(rows), f"table of {len(rows)} rows")
    names = {(row.subject, row.clip): row.cells["action_units"] for row in rows}
    emotions = Counter(row.cells["emotion"].casefold() for row in rows)
    if len(rows) == 256 and _CLIP_ADDED_LATER in names:
        return EDITION_LATER
    if emotions == _EMOTIONS_OF_2014:
        return EDITION_2014
    if emotions == _EMOTIONS_OF_2019:
        return EDITION_2019
    edition = _WITNESS_UNITS.get(names.get(_WITNESS, ""))
    return f"edition of {edition}, edited ({len(rows)} rows)" if edition else "coding sheet"


def _correct_names(
    rows: list[_Row],
    corrections: Sequence[Correction],
    path: Path,
    notes: list[str],
    database: Database,
) -> None:
    """Correct clips' names, which other corrections are keyed by."""
    for correction in corrections:
        if correction.field != "clip":
            continue
        for row in rows:
            if row.cells["clip"] == correction.clip and correction.subject == _subject(
                row, database
            ):
                notes.append(_correction_note(row, correction, path))
                row.cells["clip"] = correction.value


def _subject(row: _Row, database: Database) -> str | None:
    try:
        return database.subject_name(row.cells["subject"])
    except UserError:
        return None


def _apply_corrections(
    rows: list[_Row],
    corrections: Sequence[Correction],
    path: Path,
    problems: list[str],
    notes: list[str],
) -> None:
    rows_of_clips = {(row.subject, row.clip): row for row in rows}
    for correction in corrections:
        if correction.field == "clip":
            continue
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


def _clip(row: _Row, columns: Columns, problems: list[str], database: Database) -> Clip | None:
    frames = {
        name: _parsed(row, name, parse_frame, columns, problems)
        for name in ("onset", "apex", "offset")
    }
    emotion = _parsed(row, "emotion", database.emotion_name, columns, problems)
    fps = database.fps or _parsed(row, "fps", parse_fps, columns, problems)
    if row.cells["onset"] in MISSING_FRAME:
        problems.append(
            f"{row.where}: {columns['onset'][0]} must be a frame number. "
            f"Received: {row.cells['onset'] or 'nothing'}."
        )
    onset = frames["onset"]
    if row.subject is None or row.clip is None or onset is None or None in (emotion, fps):
        return None
    assert emotion is not None
    assert fps is not None
    units = parse_action_units(row.cells["action_units"])
    if not are_action_units(units):
        row.odd.append(("unclear action units", f"unclear action units {units!r}"))
    clip = Clip(
        subject=row.subject,
        clip=row.clip,
        onset=onset,
        apex=frames["apex"],
        offset=frames["offset"],
        action_units=units,
        emotion=emotion,
        source=row.cells["clip"] if database.with_onset else "",
        fps=fps,
        objective=_objective(row, problems),
    )
    if database.irregular:
        return _without_irregular_frames(row, clip)
    if clip.apex is not None and onset > clip.apex:
        problems.append(
            f"{row.where}: the onset must not come after the apex. "
            f"Received: onset {onset}, apex {clip.apex}."
        )
    return clip


def _objective(row: _Row, problems: list[str]) -> str:
    text = row.cells["objective"].upper()
    if text.isdecimal() and 1 <= int(text) <= len(OBJECTIVE):
        return OBJECTIVE[int(text) - 1]
    if text and text not in OBJECTIVE:
        problems.append(
            f"{row.where}: the objective class must be from 1 to {len(OBJECTIVE)} or I to "
            f"{OBJECTIVE[-1]}. Received: {text}."
        )
    return text


def _without_irregular_frames(row: _Row, clip: Clip) -> Clip:
    """Take back an apex or offset that cannot be right, and say so."""
    onset, apex, offset = clip.onset, clip.apex, clip.offset
    if offset is not None and offset < onset:
        text = f"offset {offset} before the onset {onset}: taken as unknown"
        row.odd.append(("offset before the onset, taken as unknown", text))
        offset = None
    if apex is not None and not (onset < apex and (offset is None or apex <= offset)):
        kind = "apex equals onset" if apex == onset else "apex outside of onset to offset"
        span = f"{onset} to {'?' if offset is None else offset}"
        row.odd.append((f"{kind}, {_NOT_USED}", f"{kind} (apex {apex}, {span}): {_NOT_USED}"))
        apex = None
    return replace(clip, apex=apex, offset=offset)


def _parsed(
    row: _Row, field: str, parse: Callable[[str, str], T], columns: Columns, problems: list[str]
) -> T | None:
    column = columns.get(field, (field,))[0]
    try:
        return parse(row.cells[field], column)
    except UserError as error:
        problems.append(f"{row.where}: {error}")
        return None


def _oddities(rows: list[_Row]) -> list[str]:
    """Return one line a clip that is unusual, or one for all where many are in the same way."""
    kinds: dict[str, list[tuple[_Row, str]]] = {}
    for row in rows:
        for kind, text in row.odd:
            kinds.setdefault(kind, []).append((row, text))
    notes = []
    for kind, found in kinds.items():
        if len(found) > _LISTED:
            names = [f"{row.subject}/{row.clip}" for row, _ in found]
            if not kind.endswith(_NOT_USED):
                names[_LISTED:] = ["…"]
            notes.append(f"{len(found)} clips: {kind} ({', '.join(names)})")
        else:
            notes += [f"{row.where}: {text}" for row, text in found]
    return notes


def _oddities_of(row: _Row, clip: Clip, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield each kind of oddity, and what is said of it in this clip."""
    if clip.apex is None:
        if "apex" in columns and not any(kind.startswith("apex") for kind, _ in row.odd):
            yield "no apex", "no apex"
    elif clip.apex == clip.onset:
        kind = "apex equals onset"
        yield kind, f"{kind} (frame {clip.apex}): the pair shows no motion"
    elif clip.apex == clip.offset:
        yield "apex equals offset", f"apex equals offset (frame {clip.apex})"
    elif clip.apex == clip.onset + 1 and clip.fps >= _FAST:
        yield "apex one frame after the onset", "apex one frame after the onset"
    if clip.emotion == "several":
        yield "several emotions", f"several emotions: {row.cells['emotion']}"
    if clip.offset is None:
        if "offset" in columns and not any(kind.startswith("offset") for kind, _ in row.odd):
            yield "no offset", "no offset"
    elif clip.offset < (clip.onset if clip.apex is None else clip.apex):
        end = "onset" if clip.apex is None else "apex"
        text = f"offset (frame {clip.offset}) before {end} (frame {getattr(clip, end)})"
        yield f"offset before {end}", text
    elif (seconds := (clip.offset - clip.onset) / clip.fps) > _LONGEST:
        kind = "longer than a second"
        yield kind, f"{kind}: {seconds:.1f} s"
