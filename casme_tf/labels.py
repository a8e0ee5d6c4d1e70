"""Emotions of CASME II and the classes made of them; nothing else knows the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from casme_tf.errors import UserError

EMOTIONS = ("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
"""The seven emotions of the coding sheet, in alphabetical order."""

BLINK = 45
"""The action unit of a blink, which belongs to no emotion."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 25, 26, BLINK)
"""The action units that networks of this package know, by number, a blink's last."""


@dataclass(frozen=True)
class Scheme:
    """A way of making classes of emotions.

    Attributes:
        name: Its name in `SCHEMES`.
        classes: Names of the classes, in the index order of the network's output.
        emotions: The emotions of each class, in the same order; clips of any other emotion are
            left out.

    Raises:
        ValueError: If an emotion is unknown or in two classes, or the lengths differ.

    Example:
        >>> SCHEMES["megc3"].class_of("repression"), SCHEMES["megc3"].class_of("fear")
        ('negative', None)
    """

    name: str
    classes: tuple[str, ...]
    emotions: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        members = [emotion for group in self.emotions for emotion in group]
        if len(self.classes) != len(self.emotions) or not all(self.emotions):
            raise ValueError(
                f"Each class must have its emotions. Received: {self.classes}, {self.emotions}."
            )
        if len(set(members)) < len(members) or not set(members) <= set(EMOTIONS):
            raise ValueError(
                f"Classes must share out emotions among {', '.join(EMOTIONS)}. "
                f"Received: {', '.join(members)}."
            )

    def class_of(self, emotion: str) -> str | None:
        """Return the class of an emotion, or None if the scheme leaves it out.

        Args:
            emotion: One of `EMOTIONS`.

        Raises:
            UserError: If the emotion is not one of `EMOTIONS`.
        """
        if emotion not in EMOTIONS:
            raise UserError(
                f"An emotion must be one of {', '.join(EMOTIONS)}. Received: {emotion!r}."
            )
        for name, members in zip(self.classes, self.emotions, strict=True):
            if emotion in members:
                return name
        return None

    def select(self, emotions: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Find the clips that the scheme keeps, and their classes.

        Args:
            emotions: `n` emotions of the clips.

        Returns:
            `(m,)` int positions of the clips kept, and `(m,)` int their indices in `classes`.

        Raises:
            UserError: If an emotion is not one of `EMOTIONS`.

        Example:
            >>> kept, labels = SCHEMES["megc3"].select(["others", "surprise", "disgust"])
            >>> kept.tolist(), labels.tolist()
            ([1, 2], [2, 0])
        """
        kept, labels = [], []
        for position, emotion in enumerate(emotions):
            name = self.class_of(emotion)
            if name is not None:
                kept.append(position)
                labels.append(self.classes.index(name))
        return np.array(kept, dtype=np.int64), np.array(labels, dtype=np.int64)


FOUR = Scheme(
    "four",
    ("negative", "other", "positive", "surprise"),
    (("disgust", "fear", "repression", "sadness"), ("others",), ("happiness",), ("surprise",)),
)
"""Every clip of the sheet, in four classes: the default."""

MEGC3 = Scheme(
    "megc3",
    ("negative", "positive", "surprise"),
    (("disgust", "repression"), ("happiness",), ("surprise",)),
)
"""The three classes of the 2019 challenge's CASME II part; others, fear and sadness are left out.

Of the sheet with 255 rows this keeps 147 clips, 90 of them negative. The challenge's own list has
145, 88 of them negative: it lacks two more clips, for which no rule is published.

Source: See et al., MEGC 2019 (https://doi.org/10.1109/FG.2019.8756611).
"""

FIVE = Scheme(
    "five",
    ("disgust", "happiness", "others", "repression", "surprise"),
    (("disgust",), ("happiness",), ("others",), ("repression",), ("surprise",)),
)
"""The five classes of the corpus's own paper; fear and sadness are left out as too rare.

Source: Yan et al., CASME II, 2014 (https://doi.org/10.1371/journal.pone.0086041).
"""

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (FOUR, MEGC3, FIVE)}
"""The schemes by name."""

CLASSES = FOUR.classes
"""The four classes, in the index order of the network's output."""


def class_of(emotion: str) -> str:
    """Return the class of an emotion in the scheme `four`.

    Args:
        emotion: One of `EMOTIONS`.

    Returns:
        One of `CLASSES`.

    Raises:
        UserError: If the emotion is not one of `EMOTIONS`.

    Example:
        >>> class_of("repression")
        'negative'
    """
    name = FOUR.class_of(emotion)
    assert name is not None  # the scheme has a class for each emotion
    return name
