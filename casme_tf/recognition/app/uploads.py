"""What is uploaded to the app, and its figures: kept for a while, then deleted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Limits of the app.

    Attributes:
        max_megabytes: Largest size of a file.
        max_frames: Most frames of a clip.
        keep_minutes: How long uploads and figures are kept.
        queue: Most predictions that wait.
    """

    max_megabytes: int = 200
    max_frames: int = 1200
    keep_minutes: float = 10
    queue: int = 64


_LONGEST_WAIT = 20.0  # s between two looks for files that are old


@contextmanager
def deleted_when_old(folder: Path, seconds: float) -> Iterator[None]:
    """Delete the files in a folder that are old, in a thread of its own, until the context ends.

    Gradio's `delete_cache` is not used: it stops for good when a file is uploaded while it looks.

    Args:
        folder: Where the files are, at any depth; it need not exist yet.
        seconds: Age at which a file is old.

    Example:
        >>> with deleted_when_old(Path("uploads"), seconds=600):  # doctest: +SKIP
        ...     serve()
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(min(seconds, _LONGEST_WAIT)):
            delete_old(folder, seconds)

    thread = threading.Thread(target=look, name="uploads", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def delete_old(folder: Path, seconds: float) -> None:
    """Delete the files in a folder that have been there for so long.

    Args:
        folder: Where the files are, at any depth. Others may make and delete files meanwhile.
        seconds: Age at which a file is old, since it was put there; a copy's own date is older.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):  # it is gone already, or in use: then the next time
                if time.time() - path.lstat().st_ctime >= seconds:
                    path.unlink()
