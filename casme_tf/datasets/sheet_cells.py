"""What one cell of a coding sheet means: a subject, a clip, a frame, an emotion."""

from __future__ import annotations

import re

from casme_tf.errors import UserError
from casme_tf.labels import EMOTIONS

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
