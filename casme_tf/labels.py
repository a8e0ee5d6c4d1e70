"""Emotions of CASME II and the classes made of them; nothing else knows the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from casme_tf.errors import UserError

__all__ = ["Scheme", "class_of"]

EMOTIONS = ("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
"""The seven emotions of the coding sheet, in alphabetical order."""

BLINK = 45
"""The action unit of a blink, which belongs to no emotion."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 25, 26, BLINK)
"""The action units that networks of this package know, by number, a blink's last."""


@dataclass(frozen=True)
class Scheme:
    """Classes made of emotions.

    Attributes:
        name: Its name in `SCHEMES`.
        emotions: The emotions of each class, in the index order of the network's output; clips of
            any other emotion are left out.

    Example:
        >>> SCHEMES["megc3"].class_of("repression"), SCHEMES["megc3"].class_of("fear")
        ('negative', None)
    """

    name: str
    emotions: dict[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.emotions)

    def class_of(self, emotion: str) -> str | None:
        """Return the class of an emotion, or None if the scheme leaves it out."""
        if emotion not in EMOTIONS:
            raise UserError(
                f"An emotion must be one of {', '.join(EMOTIONS)}. Received: {emotion!r}."
            )
        return next((name for name, group in self.emotions.items() if emotion in group), None)

    def select(self, emotions: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Find the clips that the scheme keeps, and their classes, both `(n,)` int64."""
        named = [(i, self.class_of(emotion)) for i, emotion in enumerate(emotions)]
        kept = [(i, self.classes.index(name)) for i, name in named if name is not None]
        indices, labels = np.array(kept, dtype=np.int64).reshape(-1, 2).T
        return indices, labels


FOUR = Scheme(
    "four",
    {
        "negative": ("disgust", "fear", "repression", "sadness"),
        "other": ("others",),
        "positive": ("happiness",),
        "surprise": ("surprise",),
    },
)
"""Every clip of the sheet, in four classes: the default."""

MEGC3 = Scheme(
    "megc3",
    {
        "negative": ("disgust", "repression"),
        "positive": ("happiness",),
        "surprise": ("surprise",),
    },
)
"""The three classes of the 2019 challenge's CASME II part; others, fear and sadness are left out.

Of the sheet with 255 rows this keeps 147 clips, 90 of them negative. The challenge's own list has
145, 88 of them negative: it lacks two more clips, for which no rule is published.

Source: See et al., MEGC 2019 (https://doi.org/10.1109/FG.2019.8756611).
"""

FIVE = Scheme(
    "five",
    {name: (name,) for name in ("disgust", "happiness", "others", "repression", "surprise")},
)
"""The five classes of the corpus's own paper; fear and sadness are left out as too rare.

Source: Yan et al., CASME II, 2014 (https://doi.org/10.1371/journal.pone.0086041).
"""

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (FOUR, MEGC3, FIVE)}
"""The schemes by name."""

CLASSES = FOUR.classes
"""The four classes, in the index order of the network's output."""


def class_of(emotion: str) -> str:
    """Return the class of an emotion in the scheme `four`, which has one for each."""
    name = FOUR.class_of(emotion)
    assert name is not None
    return name
