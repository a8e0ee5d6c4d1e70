"""Who shows what: subjects, clip names, emotions and action units of a corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from casme_tf.synthetic.action_units import Habit, Unit, draw_habits, parse_units
from casme_tf.synthetic.dealing import (
    clips_of_subjects,
    deal_classes,
    deal_emotions,
    deal_units,
)
from casme_tf.synthetic.motion import Motion
from casme_tf.synthetic.person import Person, draw_person

# Streams of chance, so that each part of a corpus depends on the seed alone.
_CAST, _PERSON, _HABITS, _CLIP, _PORTRAIT, _SENSOR = range(6)

IRREGULAR_NAMES = ("EP01_2", "EP06_02_01", "EP09f", "EP12_01f", "EP06_02_02", "EP08_1")
"""Names of CASME II's clips that break its own pattern `EPyy_zz`, or are known for a gap."""

# Clips whose coding is known to be odd in CASME II; corrections of them must not hit a stand-in.
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
class CastClip:
    """One clip of a stand-in corpus.

    Attributes:
        index: Position in the corpus, from 0.
        subject: Such as `sub01`.
        name: Such as `EP02_01f`.
        first: Number of the onset frame, which is the first.
        apex: Index of the apex, from 0 at the onset.
        emotion: One of `labels.EMOTIONS`.
        units: What the face does.
        cell: What the coding sheet says of the units.
        apex_coded: Whether the coding sheet knows the apex.
    """

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
class Cast:
    """Everything about a corpus but its pixels; the arguments are those of `synthesize`."""

    subjects: int
    frames: int
    seed: int
    clips: tuple[CastClip, ...]

    def person(self, subject: str) -> Person:
        """Return the traits of a subject."""
        return draw_person(_chance(self.seed, _PERSON, int(subject[3:])))

    def habits(self, subject: str) -> dict[int, Habit]:
        """Return how a subject makes each action unit."""
        return draw_habits(_chance(self.seed, _HABITS, int(subject[3:])))

    def portrait_chance(self, subject: str) -> np.random.Generator:
        """Return the source of chance for a subject's skin and hair."""
        return _chance(self.seed, _PORTRAIT, int(subject[3:]))

    def sensor_chance(self, clip: CastClip) -> np.random.Generator:
        """Return the source of chance for a clip's light and noise."""
        return _chance(self.seed, _SENSOR, clip.index)

    def motion(self, clip: CastClip) -> Motion:
        """Return the true motion of a clip."""
        rng = _chance(self.seed, _CLIP, clip.index, 1)
        person = self.person(clip.subject)
        turn, grow = rng.normal(0, 0.012), 1 + 0.01 * np.clip(rng.normal(), -2, 2)
        linear = grow * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        middle = np.array([person.x, person.y])
        shift = middle - linear @ middle + np.clip(rng.normal(0, 4, 2), -9, 9)
        x, y = np.clip(rng.normal(0, 0.3, 2), -0.8, 0.8)
        roll = np.clip(rng.normal(0, 0.0014), -0.0035, 0.0035)
        wander_x, wander_y = np.clip(rng.normal(0, 0.12, 2), -0.3, 0.3)
        blinks = rng.random() < 0.12
        blink = (float(rng.uniform(2, self.frames)), float(rng.uniform(1.2, 2.8)) * blinks)
        return Motion(
            person=person,
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


def cast(*, subjects: int, clips: int, frames: int, seed: int) -> Cast:
    """Decide what a corpus shows.

    Args:
        subjects: Number of people.
        clips: Number of clips in total.
        frames: Frames of each clip.
        seed: Decides everything left to chance.

    Returns:
        The cast, its clips in the order of the coding sheet.

    Example:
        >>> len(cast(subjects=4, clips=20, frames=9, seed=1).clips)
        20
    """
    rng = _chance(seed, _CAST)
    people = [f"sub{number:02d}" for number in range(1, subjects + 1)]
    sizes = clips_of_subjects(subjects, clips, rng)
    of_subject = deal_classes(sizes)
    emotions = deal_emotions(of_subject, rng)
    units = deal_units([emotion for of_one in emotions for emotion in of_one], rng)

    irregular = min(len(IRREGULAR_NAMES), clips // 4)
    odd = dict(zip(rng.permutation(clips)[:irregular].tolist(), IRREGULAR_NAMES, strict=False))
    filmed: list[CastClip] = []
    for subject, of_one in zip(people, emotions, strict=True):
        habits = draw_habits(_chance(seed, _HABITS, int(subject[3:])))
        first = len(filmed)
        names = _names(subject, [odd.get(first + k) for k in range(len(of_one))], rng)
        for name, emotion in zip(names, of_one, strict=True):
            i = len(filmed)
            chance = _chance(seed, _CLIP, i, 0)
            apex = round(chance.uniform(0.35, 0.65) * (frames - 1))
            as_number = units[i].isdigit() and chance.random() < 0.5
            filmed.append(
                CastClip(
                    index=i,
                    subject=subject,
                    name=name,
                    first=int(chance.integers(1, 320)),
                    apex=min(max(apex, 1), frames - 2),
                    emotion=emotion,
                    units=_draw_strengths(units[i], habits, chance),
                    cell=int(units[i]) if as_number else units[i],
                )
            )
    filmed = _leave_gaps(filmed, rng)
    return Cast(subjects, frames, seed, tuple(sorted(filmed, key=lambda c: (c.subject, c.name))))


def _chance(seed: int, *stream: int) -> np.random.Generator:
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


def _leave_gaps(clips: list[CastClip], rng: np.random.Generator) -> list[CastClip]:
    """Make some cells of the coding sheet as incomplete as they are in CASME II."""
    clips = list(clips)
    if len(clips) >= 50:
        i = next((i for i, clip in enumerate(clips) if clip.name == "EP12_01f"), 0)
        clips[i] = replace(clips[i], apex_coded=False)
    for i in rng.permutation(len(clips))[: round(0.012 * len(clips) + 0.4)].tolist():
        clips[i] = replace(clips[i], cell="?")
    return clips
