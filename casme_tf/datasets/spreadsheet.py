"""Spreadsheets as tables of text, with the row numbers that a spreadsheet program shows."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from casme_tf.errors import UserError


@dataclass(frozen=True)
class Table:
    """A header and the rows below it; cells are text without surrounding blanks."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def missing(self, names: Iterable[str | Sequence[str]]) -> list[str]:
        """Return those of `names` that are not in the header exactly once."""
        return [_names(name)[0] for name in names if len(self._places(name)) != 1]

    def records(
        self, columns: Mapping[str, str | Sequence[str]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield `(row number, {field: text})` for each row with something in these columns."""
        places = {field: self._places(name)[0] for field, name in columns.items()}
        for number, cells in self.rows:
            record = {
                field: cells[place] if place < len(cells) else "" for field, place in places.items()
            }
            if any(record.values()):
                yield number, record

    def below(self, number: int) -> Table:
        """Return the table whose header is the row of that number."""
        header = dict(self.rows)[number]
        return Table(header, tuple(row for row in self.rows if row[0] > number))

    def _places(self, name: str | Sequence[str]) -> list[int]:
        wanted = {_key(each) for each in _names(name)}
        return [place for place, cell in enumerate(self.header) if _key(cell) in wanted]


def read_tables(path: Path | str) -> list[Table]:
    """Read every table of a spreadsheet file."""
    path = Path(path)
    readers = {".xlsx": _excel_worksheets, ".xls": _excel_worksheets, ".csv": _csv_worksheets}
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(
            f"A sheet must be an .xlsx, .xls or .csv file. Received: {path}, which {state}."
        )
    if path.suffix.lower() not in readers:
        raise UserError(
            f"A sheet must be an .xlsx, .xls or .csv file. Received: {path}. Save it as one."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} must be readable. Received: {error.strerror}.") from None
    tables = [
        Table(header=filled[0][1], rows=tuple(filled[1:]))
        for worksheet in (readers[path.suffix.lower()](path, content) if content else [])
        if (filled := [(number, cells) for number, cells in worksheet if any(cells)])
    ]
    if not tables:
        raise UserError(f"A sheet must have a header and rows. Received: {path}, which is empty.")
    return tables


Worksheet = list[tuple[int, tuple[str, ...]]]


def _excel_worksheets(path: Path, content: bytes) -> list[Worksheet]:
    try:
        sheets = pd.read_excel(
            io.BytesIO(content),
            sheet_name=None,
            header=None,
            dtype=object,
            keep_default_na=False,
            engine="calamine",
        )
    except Exception as error:  # the engine raises unrelated kinds on bytes of another format
        raise UserError(
            f"{path} must be an Excel workbook. Received: a file that does not open as one "
            f"({type(error).__name__}). Save it again as .xlsx or .csv in a spreadsheet program."
        ) from None
    return [
        [(number, tuple(map(_text, row))) for number, row in enumerate(sheet.to_numpy(), start=1)]
        for sheet in sheets.values()
    ]


def _csv_worksheets(path: Path, content: bytes) -> list[Worksheet]:
    try:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
        if "\0" in text:
            raise ValueError("NUL")
        delimiter = max(",;\t", key="\n".join(text.splitlines()[:20]).count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (ValueError, csv.Error):
        raise UserError(
            f"{path} must be a table as text in UTF-8 or UTF-16 (.csv). Received: a binary file or "
            "another encoding. Save it again as CSV UTF-8 in a spreadsheet program."
        ) from None
    return [[(number, tuple(map(_text, row))) for number, row in enumerate(rows, start=1)]]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _names(name: str | Sequence[str]) -> Sequence[str]:
    return (name,) if isinstance(name, str) else name


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


MISSING_FRAME = ("", "/", "-1", "nan", "NaN")
"""Content of a cell when there is no such frame."""


_FRAME = re.compile(r"(\d{1,9})(?:\.0+)?|(?:reg_)?img(\d{1,9})\.\w+", re.IGNORECASE | re.ASCII)


_CLIP = re.compile(r"\w(?:[\w .-]*\w)?")

_UNIT = r"(?:[LRTBAM]|AD|AU|FAC)*\s?\d+\s?[A-E]?(?:/[A-E])?"
_UNITS = re.compile(rf"\??{_UNIT}\??(?:\+\??{_UNIT}\??)*", re.IGNORECASE)


def parse_clip(text: str, column: str = "Filename") -> str:
    """Return a clip's name, once it is sure to be the name of one folder."""
    if _CLIP.fullmatch(text) is None or ".." in text:
        raise UserError(
            f"{column} must be the name of a clip's folder such as EP02_01f, without path "
            f"separators or '..'. Received: {_said(text)}."
        )
    return text


def parse_frame(text: str, column: str) -> int | None:
    """Return a frame's number, the N of `imgN.jpg`; `None` if the cell says that there is none."""
    if text in MISSING_FRAME:
        return None
    match = _FRAME.fullmatch(text)
    if match is None:
        raise UserError(
            f"{column} must be a frame number such as 46 or a frame's name such as img46.jpg. "
            f"Received: {_said(text)}."
        )
    return int(match[1] or match[2])


def parse_fps(text: str, column: str) -> float:
    """Return frames a second."""
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise UserError(f"{column} must be a number above 0. Received: {text or 'nothing'}.")
    return fps


def parse_action_units(text: str) -> str:
    """Return action units separated by `+`; a lone number loses a trailing `.0`."""
    units = re.sub(r"^(\d+)\.0+$", r"\1", text)
    return re.sub(r"\s*[,\uff0c+]\s*", "+", units).strip("+")


def are_action_units(text: str) -> bool:
    """Return whether text is such as "4", "R4B+?12" or "AD19": side, number, intensity, doubt."""
    return text in ("", "?") or _UNITS.fullmatch(text) is not None


def _said(text: str) -> str:
    return repr(text) if text else "nothing"
