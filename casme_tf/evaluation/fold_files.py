"""The finished folds of a cross-validation on disk, so that it can be interrupted and go on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from casme_tf.errors import UserError
from casme_tf.files import atomic_file

SETTINGS = "settings.json"
HISTORIES = "histories.csv"
_HISTORY = "history/"


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What one fold gave.

    Attributes:
        name: Name of the fold.
        probabilities: `(m, C)` of its test clips, in the order of its split.
        history: One row an epoch, or None.
    """

    name: str
    probabilities: np.ndarray
    history: pd.DataFrame | None


class FoldFiles:
    """A folder with one file a finished fold, and the settings that all of them were made with.

    Args:
        folder: The folder; made if it is missing.
        settings: Everything that decides the results, fit for JSON. If the folder holds folds
            already, theirs must be the same.

    Raises:
        UserError: If the folder holds folds of other settings, or cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = Path(folder)
        text = json.dumps(settings, indent=2)
        self._settings = json.dumps(json.loads(text), sort_keys=True)
        path = self._folder / SETTINGS
        if path.exists():
            self._require_same(path, json.loads(text))
        else:
            with atomic_file(path) as temporary:
                temporary.write_text(text + "\n")

    def read(self, name: str) -> FoldResult | None:
        """Return a fold's result bit for bit, or None if it is not finished.

        Raises:
            UserError: If its file is damaged or was made with other settings.
        """
        path = self._path(name)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as saved:
                settings, probabilities = str(saved["settings"]), saved["probabilities"]
                columns: dict[str, np.ndarray] = {
                    key.removeprefix(_HISTORY): saved[key]
                    for key in saved.files
                    if key.startswith(_HISTORY)
                }
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} must hold a fold's result. Received: {error}. Delete the file, and the "
                "fold is repeated."
            ) from error
        if settings != self._settings:
            raise UserError(
                f"{path} must have been made with the settings of its folder. Received: a fold "
                "with others. Delete the file, and the fold is repeated."
            )
        return FoldResult(name, probabilities, pd.DataFrame(columns) if columns else None)

    def write(self, result: FoldResult) -> None:
        """Keep a fold's result; the file is there whole or not at all."""
        arrays = {"settings": np.array(self._settings), "probabilities": result.probabilities}
        if result.history is not None:
            arrays |= {f"{_HISTORY}{name}": x.to_numpy() for name, x in result.history.items()}
        with atomic_file(self._path(result.name)) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def write_histories(self, results: Iterable[FoldResult]) -> None:
        """Write histories.csv, the folds' histories one after another, if there are any."""
        tables = [
            result.history.assign(fold=result.name)
            for result in results
            if result.history is not None
        ]
        if tables:
            table = pd.concat(tables, ignore_index=True)
            table.insert(0, "fold", table.pop("fold"))
            with atomic_file(self._folder / HISTORIES) as temporary:
                table.to_csv(temporary, index=False)

    def _path(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.npz"

    def _require_same(self, path: Path, settings: dict[str, Any]) -> None:
        try:
            begun = dict(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} must say what the folds beside it were made with. Received: {error}. "
                "Delete the folder, or choose another."
            ) from error
        names = [*settings, *(name for name in begun if name not in settings)]
        differing = [name for name in names if begun.get(name) != settings.get(name)]
        if differing:
            raise UserError(
                f"{self._folder} must hold folds of the same cross-validation, or none. Received: "
                f"folds with other settings ({', '.join(differing)}). Repeat its command to go on "
                "with it, delete the folder, or choose another."
            )
