"""The table of prepared clips, kept so that an interrupted preparation can go on."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from casme_tf.errors import UserError
from casme_tf.files import atomic_file, explain_write_errors

MANIFEST = "manifest.csv"
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
        emotion: One of `labels.EMOTIONS`.
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
_FOLDER_COLUMNS = ["corpus", "coding_sheet"]
_COLUMNS = [*_FOLDER_COLUMNS, *_ROW_COLUMNS]
_OLDER_COLUMNS = (_COLUMNS[:1] + _ROW_COLUMNS, _ROW_COLUMNS)


class Manifest:
    """The manifest of a folder of prepared clips.

    `manifest.csv` is there when and only when the folder is complete. While clips are being
    written, `manifest.partial.csv` is there in its place and grows by a line for each clip that
    is done, so that a preparation which was stopped is taken up where it stopped.

    A folder is of one corpus and one coding sheet, which columns name on each line.

    Args:
        folder: The folder, which need not exist.
        corpus: Corpus of the clips to be added, one of `corpora.CORPORA`.
        sheet: Edition of the coding sheet, as `CodingSheet.version`.

    Attributes:
        rows: The clips that the folder had when it was opened, or when it was finished.
        complete: Whether `manifest.csv` is there.
        marked: Whether these clips are known to be of the corpus. False if they are of an older
            version, which did not note it.
        current: Whether they are marked and noted to be of this coding sheet.

    Raises:
        UserError: If the folder holds files but no manifest of ours: they may be somebody's; or
            if its clips are of another corpus.
    """

    def __init__(self, folder: Path, corpus: str, sheet: str) -> None:
        self._corpus, self._sheet = corpus, sheet
        self._final = folder / MANIFEST
        self._partial = folder / PARTIAL
        self.complete = self._final.is_file()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"The output must be a folder. Received: {folder}, a file.")
        self.rows: list[ManifestRow] = []
        corpora: set[str] = set()
        sheets: set[str] = set()
        if self.complete or self._partial.is_file():
            self.rows, corpora, sheets = _read(self._final if self.complete else self._partial)
        elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UserError(
                "The output must be a new folder or one that this command wrote. Received: "
                f"{folder}, which holds files but no {MANIFEST}. Choose another folder."
            )
        if others := sorted(corpora - {corpus}):
            raise UserError(
                f"A folder must hold clips of one corpus, here {corpus}. Received: {folder}, which "
                f"holds clips of {', '.join(others)}. Choose another folder, or delete that one."
            )
        self.marked = bool(corpora) or not self.rows
        self.current = self.marked and sheets == {sheet}

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
        self.complete = self.marked = self.current = True

    def _write(self, path: Path, rows: Iterable[ManifestRow]) -> None:
        with (
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(map(self._cells, rows))

    def _cells(self, row: ManifestRow) -> list[str]:
        return [self._corpus, self._sheet, *asdict(row).values()]


def _read(path: Path) -> tuple[list[ManifestRow], set[str], set[str]]:
    """Return the clips, their corpora and their sheets; none of these of an older version."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} must be a table that this command wrote. Received: {error}."
        ) from None
    if header not in (_COLUMNS, *_OLDER_COLUMNS):
        raise UserError(
            f"{path} must be a table that this command wrote. Received: other columns, perhaps of "
            "another version. Delete that folder, or choose another one."
        )
    # The last line of a partial manifest may be torn.
    lines = [line for line in lines if len(line) == len(header)]
    corpora, sheets = (
        {line[header.index(name)] for line in lines} if name in header else set()
        for name in _FOLDER_COLUMNS
    )
    rows = [ManifestRow(*line[-len(_ROW_COLUMNS) :]) for line in lines]
    return list({row.key: row for row in rows}.values()), corpora, sheets
