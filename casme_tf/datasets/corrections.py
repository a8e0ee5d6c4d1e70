"""Known mistakes of coding sheets, put right from a table keyed by subject and clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from casme_tf.datasets.spreadsheet import (
    parse_action_units,
    parse_clip,
    parse_emotion,
    parse_frame,
    parse_subject,
    read_tables,
)
from casme_tf.errors import UserError, UserErrors

SHIPPED_CORRECTIONS = Path(__file__).with_name("corrections.csv")
"""The corrections that come with this package."""

_COLUMNS = ("subject", "clip", "field", "sheet_value", "value", "reason")

_VALUE_PARSERS: dict[str, Callable[[str], object]] = {
    "clip": lambda text: parse_clip(text, "value"),
    "onset": lambda text: parse_frame(text, "value"),
    "apex": lambda text: parse_frame(text, "value"),
    "offset": lambda text: parse_frame(text, "value"),
    "action_units": parse_action_units,
    "emotion": lambda text: parse_emotion(text, "value"),
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


def read_corrections(path: Path | str) -> tuple[Correction, ...]:
    """Read a corrections file.

    Args:
        path: A .csv or .xlsx with the columns subject, clip, field, sheet_value, value, reason;
            see `Correction`.

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
            corrections.append(_correction(row, cells))
        except UserError as error:
            problems.append(f"row {row}: {error}")
    if problems:
        raise UserErrors(f"The corrections file {path} must be put right:", problems)
    return tuple(corrections)


def _correction(row: int, cells: dict[str, str]) -> Correction:
    if cells["field"] not in _VALUE_PARSERS:
        raise UserError(
            f"field must be one of {', '.join(_VALUE_PARSERS)}. Received: {cells['field']!r}."
        )
    if not cells["reason"]:
        raise UserError("reason must say why the sheet is wrong. Received: nothing.")
    _VALUE_PARSERS[cells["field"]](cells["value"])
    return Correction(
        row=row,
        subject=parse_subject(cells["subject"], "subject"),
        clip=cells["clip"] if cells["field"] == "clip" else parse_clip(cells["clip"], "clip"),
        field=cells["field"],
        sheet_value=cells["sheet_value"],
        value=cells["value"],
        reason=cells["reason"],
    )
