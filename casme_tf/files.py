"""Writing files and folders under a temporary name, then renaming: nothing is half-written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from casme_tf.errors import UserError

__all__ = ["atomic_file", "atomic_folder"]


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds.

    Args:
        path: The file to write; its folder is created if it is missing.

    Yields:
        The path to write to. It keeps the suffix, since writers choose formats by it.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder next to `path`; rename it to `path` if the block succeeds.

    Args:
        path: The folder to make.
        overwrite: Replace an existing folder. It stays as it is until the block succeeds.

    Yields:
        The folder to write into.

    Raises:
        UserError: If `path` exists and `overwrite` is false, or it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} must not exist yet. Choose another name, or pass --overwrite.")
    temporary = None
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            temporary.chmod(0o755)
            yield temporary
            if path.exists():
                replaced = temporary.with_name(temporary.name + ".old")
                path.rename(replaced)
                try:
                    temporary.rename(path)
                except OSError:
                    replaced.rename(path)
                    raise
                shutil.rmtree(replaced)
            else:
                temporary.rename(path)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from making `path` while the block runs."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    new = not path.parent.exists()
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"{path} must be made by one command at a time. Received: another that is making "
                "it now. Wait for it, or choose another name."
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
        if new:
            with suppress(OSError):
                path.parent.rmdir()  # if nothing came of it


def require_writable(path: Path) -> None:
    """Check before long work that a file can be written."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir():
        raise UserError(f"{path} must be a file to write. Received: a folder.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{path} must be writable. Received: {folder}, which is not.")


@contextmanager
def explain_write_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` raised while writing `path` into a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} must be writable, with room on the disk. Received: "
            f"{error.strerror or error}. Nothing was left half-written; run the command again."
        ) from error
