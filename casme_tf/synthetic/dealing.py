"""Dealing clips, emotions and action units out to subjects, in the proportions of CASME II."""

from __future__ import annotations

from collections import Counter

import numpy as np

from casme_tf.labels import CLASSES, class_of
from casme_tf.synthetic.emotions import EMOTION_COUNTS, UNITS_OF_EMOTION

BUSIEST_SHARE = 36 / 255
"""Share of CASME II's clips that come from its subject 17."""


def clips_of_subjects(subjects: int, clips: int, rng: np.random.Generator) -> list[int]:
    """Spread clips unevenly over subjects, the 17th (or the last) being the busiest.

    Args:
        subjects: Number of subjects.
        clips: Number of clips, at least `subjects`.
        rng: Source of chance.

    Returns:
        Number of clips of each subject; enough for one of each class where `clips` allows it.
    """
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
    """Split a total into whole parts in proportion to weights, by largest remainders.

    Args:
        weights: `(N,)`, positive.
        total: Sum of the parts.

    Returns:
        `(N,)` int64.

    Example:
        >>> apportion(np.array([2.0, 1.0, 1.0]), 5).tolist()
        [3, 1, 1]
    """
    exact = np.asarray(weights, float) / np.sum(weights) * total
    parts = np.floor(exact).astype(np.int64)
    order = np.argsort(parts - exact, kind="stable")
    parts[order[: total - parts.sum()]] += 1
    return parts


def deal_classes(sizes: list[int]) -> list[Counter[str]]:
    """Give every subject its share of each class, and some of each where that is possible.

    Args:
        sizes: Number of clips of each subject.

    Returns:
        For each subject, class → number of clips.
    """
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
    hands: list[Counter[str]] = [Counter() for _ in sizes]
    left = list(sizes)
    for k in np.argsort(counts, kind="stable"):
        name = CLASSES[k]
        for _ in range(counts[k]):
            open_hands = [i for i, room in enumerate(left) if room > 0]
            # Whoever has none comes first, then whoever has most room for one more.
            chosen = min(
                open_hands, key=lambda i: (hands[i][name] > 0, -left[i] / (hands[i][name] + 1))
            )
            hands[chosen][name] += 1
            left[chosen] -= 1
    return hands


def deal_emotions(hands: list[Counter[str]], rng: np.random.Generator) -> list[list[str]]:
    """Turn each subject's classes into emotions, in the proportions of CASME II.

    Args:
        hands: For each subject, class → number of clips.
        rng: Source of chance.

    Returns:
        For each subject, the emotions of its clips.
    """
    decks: dict[str, list[str]] = {}
    for name in CLASSES:
        emotions = [emotion for emotion in EMOTION_COUNTS if class_of(emotion) == name]
        total = sum(hand[name] for hand in hands)
        parts = apportion(np.array([EMOTION_COUNTS[emotion] for emotion in emotions]), total)
        deck = [emotion for emotion, n in zip(emotions, parts, strict=True) for _ in range(n)]
        decks[name] = [deck[i] for i in rng.permutation(total)]
    dealt = []
    for hand in hands:
        emotions = [decks[name].pop() for name in CLASSES for _ in range(hand[name])]
        dealt.append([emotions[i] for i in rng.permutation(len(emotions))])
    return dealt


def deal_units(emotions: list[str], rng: np.random.Generator) -> list[str]:
    """Choose a set of action units for each clip, in the proportions of its emotion.

    Args:
        emotions: Emotion of each clip.
        rng: Source of chance.

    Returns:
        For each clip, its units as coders write them, such as `4+7`.
    """
    chosen = [""] * len(emotions)
    for emotion, sets in UNITS_OF_EMOTION.items():
        where = [i for i, shown in enumerate(emotions) if shown == emotion]
        edges = np.cumsum(list(sets.values())) / sum(sets.values())
        # Evenly spaced quantiles keep the proportions also where clips are few.
        quantiles = (rng.random() + np.arange(len(where))) / max(len(where), 1)
        for i, quantile in zip(rng.permutation(where).tolist(), quantiles, strict=True):
            chosen[i] = list(sets)[int(np.searchsorted(edges, min(quantile, 1 - 1e-9)))]
    return chosen
