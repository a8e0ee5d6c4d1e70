"""Which corpus clips are of: CASME II, or the stand-in that is drawn in its layout."""

from __future__ import annotations

import json
from pathlib import Path

from casme_tf.errors import UserError

CASME2 = "casme2"
"""Clips in the layout of CASME II that nothing shows to be drawn."""

STAND_IN = "stand-in"
"""Clips that `synthesize` drew: no figure measured on them is one of CASME II."""

CORPORA = (CASME2, STAND_IN)

ARGUMENTS_FILE = "corpus.json"
"""What `synthesize` writes next to the clips that it draws."""

_LEVELS_ABOVE = 3  # beside CASME2-RAW, or beside the folder of Cropped-updated/Cropped
_KEYS = {"generator", "seed"}


def find_stand_in_record(root: Path) -> Path | None:
    """Find the `corpus.json` by which a stand-in corpus is known.

    It is sought in the folder of the subjects and in the three above it, both as the folder is
    named and as links resolve. A file of that name that `synthesize` did not write is passed
    over; one of an older generator counts, since its clips are drawn all the same.

    Args:
        root: Folder of the subjects' folders, from `raw_frames.find_root`.

    Returns:
        The file; `None` if there is none, as with CASME II.

    Raises:
        UserError: If there is a file of that name that cannot be read.

    Example:
        >>> find_stand_in_record(Path("stand-in/CASME2-RAW"))  # doctest: +SKIP
        PosixPath('/data/stand-in/corpus.json')
    """
    for start in dict.fromkeys((root.absolute(), root.resolve())):
        for folder in (start, *start.parents[:_LEVELS_ABOVE]):
            path = folder / ARGUMENTS_FILE
            if _is_record(path):
                return path
    return None


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be JSON, since it may say that the clips below it are stand-in data. "
            f"Received: {error}. Draw the stand-in corpus again, or move the file away if it is "
            "another's."
        ) from None
    return isinstance(content, dict) and content.keys() >= _KEYS
