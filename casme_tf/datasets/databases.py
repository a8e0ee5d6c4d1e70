"""What differs from database to database: names in its table, places of its frames, its emotions.

Everything here was read from published tables, lists and other groups' readers; no frame of these
databases was at hand. A further database is one entry here and one folder with its TFDS builder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from casme_tf.errors import UserError, command

__all__ = ["DATABASES", "Database", "Expected", "database_of"]

Columns = dict[str, tuple[str, ...]]
"""By field the names that its column may have; the first is that of the published table."""

COLUMNS: Columns = {
    "subject": ("Subject", "Sub"),
    "clip": ("Filename", "Clip"),
    "onset": ("OnsetFrame", "Onset", "OnsetF"),
    "apex": ("ApexFrame", "Apex", "ApexF", "ApexF1"),
    "offset": ("OffsetFrame", "Offset", "OffsetF"),
    "action_units": ("Action Units", "Action Unit", "AUs", "AU"),
    "emotion": ("Estimated Emotion", "Emotion", "Estimated Emotions"),
}
_OBJECTIVE = ("Objective Classes",)

_SPELLINGS = {"other": "others", "sad": "sadness", "happy": "happiness", "amusement": "happiness"}


@dataclass(frozen=True)
class Expected:
    """What the published table gives in a class scheme.

    Attributes:
        scheme: Name of the scheme.
        edition: Edition of the table; "" for any.
        classes: Number of clips of each class.
        subjects: Number of subjects.
    """

    scheme: str
    edition: str
    classes: dict[str, int]
    subjects: int


@dataclass(frozen=True)
class Database:
    """One database of micro-expressions.

    Attributes:
        name: Its name in commands, such as "samm" or "smic/hs"; before the slash that of its TFDS
            data set, after it that of its configuration.
        title: Its name in texts.
        homepage: Where it is described.
        fps: Frames a second; None if the table says so clip by clip.
        subject: How a subject is written, given its number.
        places: Folders of a clip's frames below the root, the first that exists counts: with
            subject, number (of the subject), source (the clip's name in the table), onset and `*`.
        emotions: Its emotions, in alphabetical order.
        source: Pattern of the clips' names in the table.
        columns: By field the names of its column. Empty if no table comes with the clips: they are
            then read from folders.
        optional: Fields whose column may be missing.
        witness: A column that no other database's table has; "" if there is none.
        with_onset: Whether a clip's name is unique only together with its onset.
        irregular: Whether apexes may be wrong; those outside of onset to offset, or equal to the
            onset, are then found in the frames.
        editions: Name of the edition by its number of rows.
        expected: What its published tables give.
    """

    name: str
    title: str
    homepage: str
    fps: float | None
    subject: str
    places: tuple[str, ...]
    emotions: tuple[str, ...]
    source: str = "*"
    columns: Columns = field(default_factory=lambda: COLUMNS)
    optional: tuple[str, ...] = ()
    witness: str = ""
    with_onset: bool = False
    irregular: bool = True
    editions: dict[int, str] = field(default_factory=dict)
    expected: tuple[Expected, ...] = ()

    @property
    def dataset(self) -> str:
        """Name of its TFDS data set."""
        return self.name.partition("/")[0]

    def subject_name(self, text: str, column: str = "Subject") -> str:
        """Return a subject as this database writes it, from a number or a name that ends in one.

        Raises:
            UserError: If it is none.
        """
        before = self.subject.partition("{")[0]
        match = re.fullmatch(rf"(?:{_LETTERS}|{re.escape(before)})?(\d{{1,6}})(?:\.0+)?", text, _I)
        if match is None or int(match[1]) == 0:
            example = self.subject.format(1)
            raise UserError(
                f"{column} must be a subject's number such as 1 or {example}. "
                f"Received: {repr(text) if text else 'nothing'}."
            )
        return self.subject.format(int(match[1]))

    def emotion_name(self, text: str, column: str = "Emotion") -> str:
        """Return an emotion in the spelling of `labels.ALL_EMOTIONS`.

        Raises:
            UserError: If it is none of this database's.
        """
        words = {word.strip().casefold() for word in text.split("+")}
        found = {_SPELLINGS.get(word, word) for word in words}
        name = found.pop() if len(found) == 1 else "several"
        if name not in self.emotions or not found <= set(self.emotions):
            raise UserError(
                f"{column} must be one of {', '.join(self.emotions)}. "
                f"Received: {repr(text) if text else 'nothing'}."
            )
        return name

    def patterns(self) -> tuple[str, ...]:
        """Return glob patterns of the folders of its clips, below their root."""
        letters = self.subject.partition("{")[0][:2]
        fields = {"subject": f"{letters}*" if letters else "[0-9]*", "source": self.source}
        fields |= {"number": "[0-9]*", "onset": "[0-9]*"}
        return tuple(dict.fromkeys(place.format(**fields) for place in self.places))


_I = re.IGNORECASE | re.ASCII
_LETTERS = r"(?:sub(?:ject)?|sp(?:no)?|s)?[\s_.-]*"


def _three(negative: int, positive: int, surprise: int) -> dict[str, int]:
    return {"negative": negative, "positive": positive, "surprise": surprise}


def _four(negative: int, other: int, positive: int, surprise: int) -> dict[str, int]:
    return _three(negative, positive, surprise) | {"other": other}


def _five(*counts: int) -> dict[str, int]:
    classes = ("disgust", "happiness", "others", "repression", "surprise")
    return dict(zip(classes, counts, strict=True))


def _of_dfme(*counts: int) -> dict[str, int]:
    emotions = ("disgust", "surprise", "sadness", "fear", "happiness", "anger", "contempt")
    return dict(zip(emotions, counts, strict=True))


EDITION_2014 = "edition of 2014 (255 rows)"
EDITION_2019 = "edition of 2019 (255 rows)"
EDITION_LATER = "later edition (256 rows)"

_BASIC = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
_CASME3_COLUMNS = COLUMNS | {"objective": ("Objective class",)}


def _sorted(*emotions: str) -> tuple[str, ...]:
    return tuple(sorted(emotions))


CASME2 = Database(
    name="casme2",
    title="CASME II",
    homepage="https://doi.org/10.1371/journal.pone.0086041",
    fps=200,
    subject="sub{:02d}",
    places=("{subject}/{source}",),
    emotions=("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise"),
    columns=COLUMNS | {"objective": _OBJECTIVE},
    optional=("objective",),
    irregular=False,
    expected=(
        Expected("four", EDITION_2014, _four(99, 99, 32, 25), 26),
        Expected("four", EDITION_2019, _four(96, 99, 32, 28), 26),
        Expected("megc3", EDITION_2014, _three(88, 32, 25), 24),
        Expected("megc3", EDITION_2019, _three(88, 32, 28), 24),
        Expected("five", EDITION_2014, _five(63, 32, 99, 27, 25), 26),
        Expected("five", EDITION_2019, _five(63, 32, 99, 27, 28), 26),
    ),
)

_SMIC = {
    "fps": 25.0,
    "subject": "s{:02d}",
    "places": ("s{number}/micro/*/{source}", "s{number}/micro/{source}"),
    "emotions": ("negative", "positive", "surprise"),
    "columns": {},
}

DATABASES: dict[str, Database] = {
    database.name: database
    for database in (
        CASME2,
        Database(
            name="casme",
            title="CASME",
            homepage="https://doi.org/10.1109/FG.2013.6553799",
            fps=60,
            subject="sub{:02d}",
            places=("{subject}/{source}",),
            emotions=_sorted(
                *("contempt", "disgust", "fear", "happiness", "repression", "sadness"),
                *("surprise", "tense"),
            ),
            optional=("offset", "action_units"),
            witness="ApexF1",
            with_onset=True,
        ),
        Database(
            name="samm",
            title="SAMM",
            homepage="https://doi.org/10.1109/TAFFC.2016.2573832",
            fps=200,
            subject="{:03d}",
            places=("{subject}/{source}", "{number}/{source}"),
            emotions=_sorted(*_BASIC, "contempt", "others"),
            columns=COLUMNS | {"objective": _OBJECTIVE},
            optional=("objective",),
            witness="Inducement Code",
            editions={159: "micro-expressions, v2 (159 rows)"},
            expected=(
                Expected("megc3", "", _three(92, 26, 15), 28),
                Expected(
                    "five",
                    "",
                    {"anger": 57, "contempt": 12, "happiness": 26, "others": 26, "surprise": 15},
                    27,
                ),
                Expected("objective", "", {"I": 24, "II": 13, "III": 20, "IV": 8, "V": 3}, 21),
            ),
        ),
        Database(
            name="smic/hs",
            title="SMIC-HS",
            homepage="https://doi.org/10.1109/FG.2013.6553717",
            expected=(Expected("megc3", "", _three(70, 51, 43), 16),),
            **(_SMIC | {"fps": 100.0}),  # type: ignore[arg-type]
        ),
        Database(
            name="smic/vis",
            title="SMIC-VIS",
            homepage="https://doi.org/10.1109/FG.2013.6553717",
            expected=(Expected("megc3", "", _three(23, 28, 20), 8),),
            **_SMIC,  # type: ignore[arg-type]
        ),
        Database(
            name="smic/nir",
            title="SMIC-NIR",
            homepage="https://doi.org/10.1109/FG.2013.6553717",
            expected=(Expected("megc3", "", _three(23, 28, 20), 8),),
            **_SMIC,  # type: ignore[arg-type]
        ),
        Database(
            name="casme3/a",
            title="CAS(ME)³ part A",
            homepage="https://doi.org/10.1109/TPAMI.2022.3174895",
            fps=30,
            subject="spNO.{}",
            places=(
                "{subject}/{source}/color",
                "{subject}_{source}_{onset}/color",
                "{subject}_{source}_{onset}",
                "{subject}/{source}_{onset}/color",
            ),
            emotions=_sorted(*_BASIC, "others"),
            columns=_CASME3_COLUMNS,
            optional=("objective",),
            witness="Objective class",
            with_onset=True,
            editions={860: "v2 (860 rows)", 921: "v1 (921 rows)"},
            expected=(
                Expected("megc3", "v2 (860 rows)", _three(457, 55, 187), 88),
                Expected("four", "v2 (860 rows)", _four(457, 161, 55, 187), 94),
            ),
        ),
        Database(
            name="casme3/c",
            title="CAS(ME)³ part C",
            homepage="https://doi.org/10.1109/TPAMI.2022.3174895",
            fps=30,
            subject="{:02d}",
            places=("{subject}/a/color", "{number}/a/color"),
            emotions=_sorted("negative", "others", "positive", "surprise"),
            columns={
                name: ("count",) if name == "clip" else names
                for name, names in COLUMNS.items()
                if name != "apex"
            },
            witness="count",
            editions={165: "micro-expressions (165 rows)"},
            expected=(Expected("four", "", _four(99, 20, 16, 30), 30),),
        ),
        Database(
            name="mmew",
            title="MMEW",
            homepage="https://doi.org/10.1109/TPAMI.2021.3067464",
            fps=90,
            subject="S{:02d}",
            places=("{subject}/*/{source}", "*/{source}"),
            source="S*-*-*",
            emotions=_sorted(*_BASIC, "others", "repression"),
            witness="remarks",
            optional=("action_units",),
            editions={300: "micro-expressions (300 rows)"},
        ),
        Database(
            name="fourdme",
            title="4DME",
            homepage="https://doi.org/10.1109/TAFFC.2022.3182342",
            fps=60,
            subject="S{:02d}",
            places=("{subject}/{source}", "{number}/{source}"),
            emotions=_sorted("negative", "others", "positive", "repression", "several", "surprise"),
            columns=COLUMNS | {"subject": ("sub_ID", "SubID"), "clip": ("fold_name",)},
            optional=("action_units",),
            witness="fold_name",
        ),
        Database(
            name="dfme",
            title="DFME",
            homepage="https://doi.org/10.1109/TAFFC.2023.3341918",
            fps=None,
            subject="sub{:04d}",
            places=("{source}", "{subject}/{source}"),
            source="sub*_*",
            emotions=_sorted(*_BASIC, "contempt"),
            columns=COLUMNS | {"fps": ("Fps",)},
            witness="EmotionId",
            editions={
                1856: "training (1856 rows)",
                474: "test A (474 rows)",
                299: "test B (299 rows)",
            },
            expected=(
                Expected("seven", "training", _of_dfme(548, 298, 278, 265, 206, 161, 100), 176),
                Expected("seven", "test A", _of_dfme(129, 101, 46, 62, 63, 39, 34), 42),
                Expected("seven", "test B", _of_dfme(58, 48, 35, 38, 42, 41, 37), 41),
            ),
        ),
    )
}
"""All databases by name."""

SMIC_CODES = {"ne": "negative", "po": "positive", "sur": "surprise"}
"""Emotions by the code in the names of SMIC's clips, such as `s1_ne_01`."""

NOT_READ = {
    "TotalMF1": "the long clips of SMIC (SMIC-E)",
    "Expression type": "all expressions of CAS(ME)³ part A, without emotions",
    "Exp_type": "all expressions of CAS(ME)³ part C",
    "MENo": "a release of 4DME",
    "Type": "the long videos of SAMM",
}
"""Tables that are known but not read, by a column that only they have."""


def database_of(name: str) -> Database:
    """Return a database by its name; that of a data set alone means its first configuration.

    Raises:
        UserError: If there is none.
    """
    for database in DATABASES.values():
        if name in (database.name, database.dataset):
            return database
    raise UserError(f"A database must be one of {', '.join(DATABASES)}. Received: {name}.")


def require_not_another(
    database: Database, missing: Callable[[Sequence[str]], list[str]], path: object
) -> None:
    """Raise a `UserError` that names a table of another database, by the columns it has."""
    for column, what in NOT_READ.items():
        if not missing([column]) and not (column == "Type" and missing(["Inducement Code"])):
            raise UserError(
                f"The table must be that of {database.title}. Received: {path}, which has a column "
                f"{column!r} and so is that of {what}, which this package does not read."
            )
    if database.witness and not missing([database.witness]):
        return
    for other in DATABASES.values():
        if other.witness and other is not database and not missing([other.witness]):
            raise UserError(
                f"The table must be that of {database.title}. Received: {path}, which has a column "
                f"{other.witness!r} and so is that of {other.title}. Prepare it with: "
                + command(
                    *("casme-tf", "prepare-dataset", "--database", other.name, "--coding", path),
                    *("--raw", "FOLDER", "--out", "FOLDER"),
                )
            )
