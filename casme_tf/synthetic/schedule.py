"""Who shows what: subjects, clip names, emotions and action units of a corpus."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from casme_tf.labels import CLASSES, class_of
from casme_tf.synthetic.motion import Habit, Motion, Unit, draw_habits, parse_units
from casme_tf.synthetic.subject import Subject, draw_subject

__all__ = ["oracle_accuracy"]

EMOTION_COUNTS = {
    "others": 99,
    "disgust": 63,
    "happiness": 32,
    "repression": 27,
    "surprise": 25,
    "sadness": 7,
    "fear": 2,
}
"""Clips of each emotion among the 255 of CASME II."""

UNITS_OF_EMOTION: dict[str, dict[str, float]] = {
    "disgust": {
        "4": 12, "4+7": 15, "4+9": 10, "9": 9, "10": 6, "4+7+9": 5, "4+7+10": 3, "7": 2, "L10": 1,
        "R10": 1, "4+5": 1,
    },
    "happiness": {
        "12": 10, "6+12": 11, "L12": 2, "R12": 2, "12+25": 2, "6": 2, "L12+R4": 0.5, "14": 0.5,
        "12+14": 1,
    },
    "repression": {
        "15": 5, "15+17": 4, "17": 4, "14": 2.5, "4+15": 2, "12+17": 2, "12": 1, "14+17": 1,
        "15+24": 1,
    },
    "surprise": {
        "1+2": 10, "1+2+25": 4, "1+2+5": 3, "2": 2, "5": 1, "1+2+26": 2, "R2": 0.5, "1": 0.5,
    },
    "sadness": {"1": 1, "1+4": 2, "15": 3, "1+15": 1},
    "fear": {"1+4": 1, "4+20": 1},
    "others": {
        "14": 13, "R14": 8, "L14": 8, "17": 9, "14+17": 5, "24": 6, "20": 3, "L14+17": 2,
        "R14+17": 2, "14+24": 3, "4": 8, "4+7": 7, "1+4": 2, "7": 1, "L2": 1, "R2": 1, "1": 1,
        "12": 2, "L12+R4": 1, "4+14": 3, "1+2": 2,
    },
}  # fmt: skip
"""Relative frequency of each set of action units in each emotion.

The sets follow the prototypes of Ekman and Friesen's EMFACS and those that Yan et al. list for
CASME II (PLoS ONE 9(1), 2014); they overlap, as the same movement is coded as different emotions.
"""


def oracle_accuracy() -> float:
    """Return the accuracy of knowing the action units and answering their likeliest class.

    No classifier of these four classes can do better on CASME II's proportions of emotions.

    Returns:
        Accuracy, 0…1.

    Example:
        >>> round(oracle_accuracy(), 2)
        0.85
    """
    clips: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for emotion, count in EMOTION_COUNTS.items():
        sets = UNITS_OF_EMOTION[emotion]
        for units, weight in sets.items():
            clips[units][class_of(emotion)] += count * weight / sum(sets.values())
    return sum(max(of_class.values()) for of_class in clips.values()) / sum(EMOTION_COUNTS.values())


BUSIEST_SHARE = 36 / 255
"""Share of CASME II's clips that come from its subject 17."""


def clips_of_subjects(subjects: int, clips: int, rng: np.random.Generator) -> list[int]:
    """Spread clips unevenly over subjects, the 17th (or the last) being the busiest."""
    least = max(1, min(len(CLASSES), clips // subjects))
    weights = np.sort(np.exp(rng.normal(0, 0.55, subjects)))
    spare = clips - least * subjects
    sizes = least + apportion(weights, spare)
    if subjects > 1:
        busiest = round(BUSIEST_SHARE * clips)
        if sizes[-1] < busiest and sizes[:-1].sum() - least * (subjects - 1) >= busiest - sizes[-1]:
            rest = clips - busiest - least * (subjects - 1)
            sizes = np.append(least + apportion(weights[:-1], rest), busiest)
    order = rng.permutation(subjects - 1)
    sizes[:-1] = sizes[:-1][order]
    place = min(16, subjects - 1)
    return np.insert(sizes[:-1], place, sizes[-1]).tolist()


def apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """Split a total into whole parts in proportion to weights, by largest remainders."""
    exact = np.asarray(weights, float) / np.sum(weights) * total
    parts = np.floor(exact).astype(np.int64)
    order = np.argsort(parts - exact, kind="stable")
    parts[order[: total - parts.sum()]] += 1
    return parts


def draw_classes(sizes: list[int]) -> list[Counter[str]]:
    """Give every subject its share of each class, and some of each where that is possible."""
    clips = sum(sizes)
    per_class = Counter({name: 0 for name in CLASSES})
    for emotion, count in EMOTION_COUNTS.items():
        per_class[class_of(emotion)] += count
    least = 1 if clips >= len(CLASSES) else 0
    exact = np.array([per_class[name] for name in CLASSES])
    counts = apportion(exact, clips)
    while counts.min() < least:
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    shares: list[Counter[str]] = [Counter() for _ in sizes]
    left = list(sizes)
    for k in np.argsort(counts, kind="stable"):
        name = CLASSES[k]
        for _ in range(counts[k]):
            open_subjects = [i for i, room in enumerate(left) if room > 0]
            # Subjects without one come first, then those with most room for one more.
            chosen = min(
                open_subjects, key=lambda i: (shares[i][name] > 0, -left[i] / (shares[i][name] + 1))
            )
            shares[chosen][name] += 1
            left[chosen] -= 1
    return shares


def draw_emotions(shares: list[Counter[str]], rng: np.random.Generator) -> list[list[str]]:
    """Turn each subject's classes into emotions, in the proportions of CASME II."""
    pools: dict[str, list[str]] = {}
    for name in CLASSES:
        emotions = [emotion for emotion in EMOTION_COUNTS if class_of(emotion) == name]
        total = sum(share[name] for share in shares)
        parts = apportion(np.array([EMOTION_COUNTS[emotion] for emotion in emotions]), total)
        pool = [emotion for emotion, n in zip(emotions, parts, strict=True) for _ in range(n)]
        pools[name] = [pool[i] for i in rng.permutation(total)]
    drawn = []
    for share in shares:
        emotions = [pools[name].pop() for name in CLASSES for _ in range(share[name])]
        drawn.append([emotions[i] for i in rng.permutation(len(emotions))])
    return drawn


def draw_units(emotions: list[str], rng: np.random.Generator) -> list[str]:
    """Choose a set of action units for each clip, in the proportions of its emotion."""
    chosen = [""] * len(emotions)
    for emotion, sets in UNITS_OF_EMOTION.items():
        where = [i for i, shown in enumerate(emotions) if shown == emotion]
        edges = np.cumsum(list(sets.values())) / sum(sets.values())
        # Evenly spaced quantiles keep the proportions also where clips are few.
        quantiles = (rng.random() + np.arange(len(where))) / max(len(where), 1)
        for i, quantile in zip(rng.permutation(where).tolist(), quantiles, strict=True):
            chosen[i] = list(sets)[int(np.searchsorted(edges, min(quantile, 1 - 1e-9)))]
    return chosen


# Streams of random numbers, so that each part of a corpus depends on the seed alone.
_SCHEDULE, _SUBJECT, _HABITS, _CLIP, _PORTRAIT, _SENSOR = range(6)

IRREGULAR_NAMES = ("EP01_2", "EP06_02_01", "EP09f", "EP12_01f", "EP06_02_02", "EP08_1")
"""Names of CASME II's clips that break its own pattern `EPyy_zz`, or are known for a gap."""

# Clips with known irregularities in CASME II; corrections of them must not hit a stand-in.
_TAKEN = frozenset(
    {
        ("sub04", "EP12_01f"),
        ("sub05", "EP09_05f"),
        ("sub05", "EP16_04f"),
        ("sub12", "EP09_06"),
        ("sub20", "EP16_01"),
        ("sub24", "EP02_07"),
        ("sub25", "EP18_04f"),
    }
)


@dataclass(frozen=True)
class ScheduledClip:
    """One clip of a stand-in corpus."""

    index: int
    subject: str
    name: str
    first: int
    apex: int
    emotion: str
    units: tuple[Unit, ...]
    cell: str | int
    apex_coded: bool = True


@dataclass(frozen=True)
class Schedule:
    """Everything about a corpus but its pixels; the arguments are those of `synthesize`."""

    subjects: int
    frames: int
    seed: int
    clips: tuple[ScheduledClip, ...]

    def traits(self, subject: str) -> Subject:
        """Return the traits of a subject."""
        return draw_subject(_rng(self.seed, _SUBJECT, int(subject[3:])))

    def habits(self, subject: str) -> dict[int, Habit]:
        """Return how a subject makes each action unit."""
        return draw_habits(_rng(self.seed, _HABITS, int(subject[3:])))

    def portrait_rng(self, subject: str) -> np.random.Generator:
        """Return the random generator of a subject's skin and hair."""
        return _rng(self.seed, _PORTRAIT, int(subject[3:]))

    def sensor_rng(self, clip: ScheduledClip) -> np.random.Generator:
        """Return the random generator of a clip's light and noise."""
        return _rng(self.seed, _SENSOR, clip.index)

    def motion(self, clip: ScheduledClip) -> Motion:
        """Return the true motion of a clip."""
        rng = _rng(self.seed, _CLIP, clip.index, 1)
        subject = self.traits(clip.subject)
        turn, grow = rng.normal(0, 0.012), 1 + 0.01 * np.clip(rng.normal(), -2, 2)
        linear = grow * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        middle = np.array([subject.x, subject.y])
        shift = middle - linear @ middle + np.clip(rng.normal(0, 4, 2), -9, 9)
        x, y = np.clip(rng.normal(0, 0.3, 2), -0.8, 0.8)
        roll = np.clip(rng.normal(0, 0.0014), -0.0035, 0.0035)
        wander_x, wander_y = np.clip(rng.normal(0, 0.12, 2), -0.3, 0.3)
        blinks = rng.random() < 0.12
        blink = (float(rng.uniform(2, self.frames)), float(rng.uniform(1.2, 2.8)) * blinks)
        return Motion(
            subject=subject,
            habits=self.habits(clip.subject),
            units=clip.units,
            frames=self.frames,
            apex=clip.apex,
            rest=float(rng.uniform(0.05, 0.4)),
            pose=np.column_stack([linear, shift]),
            drift=(float(x), float(y), float(roll)),
            wander=(float(wander_x), float(wander_y)),
            blink=blink,
        )


def draw_schedule(*, subjects: int, clips: int, frames: int, seed: int) -> Schedule:
    """Decide what a corpus shows."""
    rng = _rng(seed, _SCHEDULE)
    subject_names = [f"sub{number:02d}" for number in range(1, subjects + 1)]
    sizes = clips_of_subjects(subjects, clips, rng)
    of_subject = draw_classes(sizes)
    emotions = draw_emotions(of_subject, rng)
    units = draw_units([emotion for of_one in emotions for emotion in of_one], rng)

    count = min(len(IRREGULAR_NAMES), clips // 4)
    irregular = dict(zip(rng.permutation(clips)[:count].tolist(), IRREGULAR_NAMES, strict=False))
    filmed: list[ScheduledClip] = []
    for subject, of_one in zip(subject_names, emotions, strict=True):
        habits = draw_habits(_rng(seed, _HABITS, int(subject[3:])))
        first = len(filmed)
        names = _names(subject, [irregular.get(first + k) for k in range(len(of_one))], rng)
        for name, emotion in zip(names, of_one, strict=True):
            i = len(filmed)
            clip_rng = _rng(seed, _CLIP, i, 0)
            apex = round(clip_rng.uniform(0.35, 0.65) * (frames - 1))
            as_number = units[i].isdigit() and clip_rng.random() < 0.5
            filmed.append(
                ScheduledClip(
                    index=i,
                    subject=subject,
                    name=name,
                    first=int(clip_rng.integers(1, 320)),
                    apex=min(max(apex, 1), frames - 2),
                    emotion=emotion,
                    units=_draw_strengths(units[i], habits, clip_rng),
                    cell=int(units[i]) if as_number else units[i],
                )
            )
    filmed = _leave_gaps(filmed, rng)
    return Schedule(
        subjects, frames, seed, tuple(sorted(filmed, key=lambda c: (c.subject, c.name)))
    )


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, *stream])


def _draw_strengths(
    cell: str, habits: dict[int, Habit], rng: np.random.Generator
) -> tuple[Unit, ...]:
    units = parse_units(cell)
    whole = 1.45 * np.exp(np.clip(rng.normal(0, 0.2), -0.4, 0.4))
    together = 1.0 if len(units) == 1 else 0.8
    drawn = []
    for unit in units:
        strength = whole * together * habits[unit.number].gain * rng.uniform(0.85, 1.15)
        drawn.append(replace(unit, strength=round(float(np.clip(strength, 0.75, 2.0)), 2)))
    return tuple(drawn)


def _names(subject: str, given: list[str | None], rng: np.random.Generator) -> list[str]:
    """Name a subject's clips by episode and take, keeping the names that are given."""
    names: list[str] = []
    used = {tuple(re.findall(r"\d+", name)[:2]) for name in given if name}
    for name in given:
        while name is None or (subject, name) in _TAKEN:
            episode, take = f"{rng.integers(1, 20):02d}", f"{rng.integers(1, 8):02d}"
            if (episode, take) not in used:
                used.add((episode, take))
                name = f"EP{episode}_{take}{'f' if rng.random() < 0.35 else ''}"
        names.append(name)
    return names


def _leave_gaps(clips: list[ScheduledClip], rng: np.random.Generator) -> list[ScheduledClip]:
    """Make some cells of the coding sheet as incomplete as they are in CASME II."""
    clips = list(clips)
    if len(clips) >= 50:
        i = next((i for i, clip in enumerate(clips) if clip.name == "EP12_01f"), 0)
        clips[i] = replace(clips[i], apex_coded=False)
    for i in rng.permutation(len(clips))[: round(0.012 * len(clips) + 0.4)].tolist():
        clips[i] = replace(clips[i], cell="?")
    return clips
