"""Reading a table of text from an .xlsx or .csv file, with the row numbers that its user sees."""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openpyxl

from casme_tf.errors import UserError


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
