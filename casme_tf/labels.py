"""Emotions of the databases and the classes made of them; nothing else knows the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from casme_tf.errors import UserError

__all__ = ["Scheme", "class_of"]

EMOTIONS = ("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
"""The seven emotions of CASME II's coding sheet, in alphabetical order."""

ALL_EMOTIONS = tuple(
    sorted((*EMOTIONS, "anger", "contempt", "negative", "positive", "several", "tense"))
)
"""What the tables of all databases call an expression; `several` is more than one of them."""

OBJECTIVE = ("I", "II", "III", "IV", "V", "VI", "VII")
"""The objective classes, which are made of action units alone.

Source: Davison et al., Objective Classes for Micro-Facial Expression Recognition, 2018
(https://doi.org/10.3390/jimaging4100119).
"""

BLINK = 45
"""The action unit of a blink, which belongs to no emotion."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 25, 26, BLINK)
"""The action units that networks of this package know, by number, a blink's last."""

Rule = dict[str, tuple[str, ...]]
"""The emotions of each class."""


@dataclass(frozen=True)
class Scheme:
    """Classes made of emotions.

    Attributes:
        name: Its name in `SCHEMES`.
        emotions: The emotions of each class, in the index order of the network's output; clips of
            any other emotion are left out.
        exceptions: The same for databases in which the rule is another one.
        databases: Databases that it is defined for; empty for all.
        column: What the classes are made of: "emotion", or "objective" for objective classes.
        with_apex: Databases of which it takes only clips whose table names an apex that is not the
            onset.

    Example:
        >>> megc3 = SCHEMES["megc3"]
        >>> megc3.class_of("repression"), megc3.class_of("fear"), megc3.class_of("fear", "samm")
        ('negative', None, 'negative')
    """

    name: str
    emotions: Rule
    exceptions: dict[str, Rule] = field(default_factory=dict)
    databases: tuple[str, ...] = ()
    column: str = "emotion"
    with_apex: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.emotions)

    def rule(self, database: str) -> Rule:
        """Return the emotions of each class in a database.

        Raises:
            UserError: If the scheme is not defined for it.
        """
        if self.databases and database not in self.databases:
            raise UserError(
                f"The scheme {self.name} is defined for {', '.join(self.databases)}. "
                f"Received: {database}. Choose another --scheme."
            )
        return self.exceptions.get(database, self.emotions)

    def class_of(self, emotion: str, database: str = "casme2") -> str | None:
        """Return the class of an emotion, or None if the scheme leaves it out."""
        known = ALL_EMOTIONS if self.column == "emotion" else ("", *OBJECTIVE)
        if emotion not in known:
            raise UserError(
                f"An {self.column} must be one of {', '.join(known)}. Received: {emotion!r}."
            )
        rule = self.rule(database)
        return next((name for name, group in rule.items() if emotion in group), None)

    def select(
        self, emotions: Iterable[str], database: str = "casme2"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the clips that the scheme keeps, and their classes, both `(n,)` int64."""
        classes = tuple(self.rule(database))
        named = [(i, self.class_of(emotion, database)) for i, emotion in enumerate(emotions)]
        kept = [(i, classes.index(name)) for i, name in named if name is not None]
        indices, labels = np.array(kept, dtype=np.int64).reshape(-1, 2).T
        return indices, labels


FOUR = Scheme(
    "four",
    {
        "negative": (
            *("anger", "contempt", "disgust", "fear", "negative", "repression", "sadness"),
        ),
        "other": ("others", "several", "tense"),
        "positive": ("happiness", "positive"),
        "surprise": ("surprise",),
    },
)
"""Every clip of a table, in four classes: the default."""

_CASME_OF_THREE: Rule = {
    "negative": ("disgust", "repression"),
    "positive": ("happiness",),
    "surprise": ("surprise",),
}

MEGC3 = Scheme(
    "megc3",
    {
        "negative": ("anger", "contempt", "disgust", "fear", "negative", "sadness"),
        "positive": ("happiness", "positive"),
        "surprise": ("surprise",),
    },
    exceptions={"casme2": _CASME_OF_THREE, "casme": _CASME_OF_THREE},
    with_apex=("casme2",),
)
"""The three classes of the 2019 challenge.

Of SMIC, SAMM and CASME II its lists have 164, 133 and 145 clips. Those of CASME II follow from the
sheet of 2014: negative is disgust and repression alone, fear and sadness are left out, and so are
the clips whose apex is missing (sub04/EP12_01f) or is the onset (sub05/EP09_05f). In SAMM clips
stay whose apex is irregular.

Source: See et al., MEGC 2019 (https://doi.org/10.1109/FG.2019.8756611); the rule of CASME II was
found by comparing its sheet with four published lists, which it gives label by label.
"""


def _each(*emotions: str) -> Rule:
    return {name: (name,) for name in emotions}


FIVE = Scheme(
    "five",
    _each("disgust", "happiness", "others", "repression", "surprise"),
    exceptions={"samm": _each("anger", "contempt", "happiness", "others", "surprise")},
    databases=("casme2", "samm"),
)
"""The five classes that papers on one database report; other emotions are too rare.

Source: Yan et al., CASME II, 2014 (https://doi.org/10.1371/journal.pone.0086041).
"""

_SEVEN = ("disgust", "fear", "happiness", "sadness", "surprise")

SEVEN = Scheme(
    "seven",
    _each(*sorted((*_SEVEN, "anger", "others"))),
    exceptions={
        "casme2": _each(*EMOTIONS),
        "samm": _each(*sorted((*_SEVEN, "anger", "contempt"))),
        "dfme": _each(*sorted((*_SEVEN, "anger", "contempt"))),
    },
    databases=("casme2", "samm", "casme3/a", "mmew", "dfme"),
)
"""The emotions of the table themselves; SAMM without `others`."""

FIVE_OBJECTIVE = Scheme(
    "objective",
    _each("I", "II", "III", "IV", "V"),
    databases=("casme2", "samm", "casme3/a"),
    column="objective",
)
"""The first five objective classes, where a table has them, as the challenge of 2018 took them.

Source: Yap et al., Facial Micro-Expressions Grand Challenge 2018 Summary, FG 2018.
"""

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (FOUR, MEGC3, FIVE, SEVEN, FIVE_OBJECTIVE)
}
"""The schemes by name."""

CLASSES = FOUR.classes
"""The four classes, in the index order of the network's output."""


def class_of(emotion: str) -> str:
    """Return the class of an emotion in the scheme `four`, which has one for each."""
    name = FOUR.class_of(emotion)
    assert name is not None
    return name
