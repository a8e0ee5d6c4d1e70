"""Reading a table of text from an .xlsx or .csv file, with the row numbers that its user sees."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openpyxl

from casme_tf.errors import UserError
from casme_tf.labels import EMOTIONS


@dataclass(frozen=True)
class Table:
    """A header and the rows below it; cells are text without surrounding blanks.

    Args:
        header: Cells of the first row that is not empty.
        rows: `(row number, cells)`; the number counts from 1 as spreadsheet programs do.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def missing(self, names: Iterable[str | Sequence[str]]) -> list[str]:
        """Return those of `names` that are not in the header exactly once.

        Args:
            names: Names of columns, or of several the names that a column may have, of which the
                first is returned.
        """
        return [_names(name)[0] for name in names if len(self._places(name)) != 1]

    def records(
        self, columns: Mapping[str, str | Sequence[str]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield `(row number, {field: text})` for each row with something in these columns.

        Args:
            columns: Field name to column name, or to the names that it may have. Case, blanks and
                underscores do not matter.
        """
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
    """Read every table of a spreadsheet file.

    Args:
        path: An .xlsx file, or a .csv file in UTF-8 or UTF-16 with commas, semicolons or tabs.

    Returns:
        One table for each worksheet that is not empty; a .csv has one worksheet.

    Raises:
        UserError: If the file is missing, unreadable, not a spreadsheet, or empty.

    Example:
        >>> from casme_tf.datasets.corrections import SHIPPED_CORRECTIONS
        >>> read_tables(SHIPPED_CORRECTIONS)[0].header[:3]
        ('subject', 'clip', 'field')
    """
    path = Path(path)
    readers = {".xlsx": _xlsx_worksheets, ".csv": _csv_worksheets}
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"A sheet must be an .xlsx or .csv file. Received: {path}, which {state}.")
    if path.suffix.lower() not in readers:
        raise UserError(f"A sheet must be an .xlsx or .csv file. Received: {path}. Save it as one.")
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


def _xlsx_worksheets(path: Path, content: bytes) -> list[Worksheet]:
    try:
        with warnings.catch_warnings():
            # About styles and validation rules, which do not concern us.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            worksheets = []
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # some writers note a wrong size, which hides cells
                rows = enumerate(sheet.iter_rows(values_only=True), start=1)
                worksheets.append([(number, tuple(map(_text, row))) for number, row in rows])
            book.close()
    except Exception as error:  # openpyxl raises a dozen unrelated kinds on bytes of another format
        raise UserError(
            f"{path} must be an Excel workbook (.xlsx). Received: a file that does not open as one "
            f"({type(error).__name__}). Save it again as .xlsx or .csv in a spreadsheet program."
        ) from None
    return worksheets


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


MISSING_FRAME = ("", "/")
"""What a cell says when there is no such frame."""


_SUBJECT = re.compile(r"(?:sub(?:ject)?[\s_-]*)?(\d{1,6})(?:\.0+)?", re.IGNORECASE | re.ASCII)


_FRAME = re.compile(r"(\d{1,9})(?:\.0+)?|(?:reg_)?img(\d{1,9})\.\w+", re.IGNORECASE | re.ASCII)


_CLIP = re.compile(r"\w(?:[\w .-]*\w)?")


def parse_subject(text: str, column: str = "Subject") -> str:
    """Return a subject's name as CASME II writes it in folders.

    Args:
        text: A number or a name, such as "1", "01" or "sub01".
        column: The column's name, for the message.

    Raises:
        UserError: If the text is no such number or name.

    Example:
        >>> parse_subject("1"), parse_subject("01"), parse_subject("sub01")
        ('sub01', 'sub01', 'sub01')
    """
    match = _SUBJECT.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UserError(
            f"{column} must be a subject's number such as 1, 01 or sub01. Received: {_said(text)}."
        )
    return f"sub{int(match[1]):02d}"


def parse_clip(text: str, column: str = "Filename") -> str:
    """Return a clip's name, once it is sure to be the name of one folder.

    Raises:
        UserError: If it is empty or holds path separators, `..` or other characters that do
            not belong in a folder's name.
    """
    if _CLIP.fullmatch(text) is None or ".." in text:
        raise UserError(
            f"{column} must be the name of a clip's folder such as EP02_01f, without path "
            f"separators or '..'. Received: {_said(text)}."
        )
    return text


def parse_frame(text: str, column: str) -> int | None:
    """Return a frame's index N, which is the N of `imgN.jpg`; `None` for a blank or `/`.

    Args:
        text: A number or a frame's file name, such as "46", "img46.jpg" or "reg_img46.jpg".
        column: The column's name, for the message.

    Raises:
        UserError: If the text is neither.

    Example:
        >>> parse_frame("46", "ApexFrame"), parse_frame("reg_img46.jpg", "ApexFrame")
        (46, 46)
        >>> parse_frame("/", "ApexFrame") is None
        True
    """
    if text in MISSING_FRAME:
        return None
    match = _FRAME.fullmatch(text)
    if match is None:
        raise UserError(
            f"{column} must be a frame number such as 46 or a frame's name such as img46.jpg. "
            f"Received: {_said(text)}."
        )
    return int(match[1] or match[2])


def parse_emotion(text: str, column: str = "Estimated Emotion") -> str:
    """Return the emotion in the spelling of `labels.EMOTIONS`.

    Raises:
        UserError: If it is not one of them in any case.
    """
    emotion = text.casefold()
    if emotion not in EMOTIONS:
        raise UserError(f"{column} must be one of {', '.join(EMOTIONS)}. Received: {_said(text)}.")
    return emotion


def parse_action_units(text: str) -> str:
    """Return the action units as the sheet writes them; a lone number loses a trailing `.0`.

    Example:
        >>> parse_action_units("4.0"), parse_action_units("L12+R4")
        ('4', 'L12+R4')
    """
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def _said(text: str) -> str:
    return repr(text) if text else "nothing"
