"""Which action units go with which emotion, and how well they could tell the classes apart."""

from __future__ import annotations

from collections import defaultdict

from casme_tf.labels import class_of

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
