"""Progress bars: on a terminal a bar, in a file a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} in {elapsed}{postfix}"


class progress(tqdm):
    """`tqdm` that writes lines instead of a bar into a file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dynamic_ncols", True)
        if not _is_terminal(kwargs.get("file") or sys.stderr):
            kwargs |= {"mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1, "bar_format": _LINE}
        super().__init__(*args, **kwargs)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Return what prints a state: over the last one on a terminal, else on a line."""
        if _is_terminal(file):
            return tqdm.status_printer(file)

        def print_line(state: str) -> None:
            if state:
                file.write(f"{state}\n")
                file.flush()

        return print_line

    def close(self) -> None:
        """Print the last state, once."""
        if not self.disable and not _is_terminal(self.fp):  # type: ignore[has-type]
            if self.n != self.last_print_n:
                self.refresh()
            self.disable = True  # tqdm would add an empty line
            self._instances.discard(self)
        super().close()


def _is_terminal(file: Any) -> bool:
    return bool(getattr(file, "isatty", lambda: False)())
