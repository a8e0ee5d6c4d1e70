"""Emotions of CASME II and the four classes made of them; nothing else knows the classes."""

from __future__ import annotations

from casme_tf.errors import UserError

EMOTIONS = ("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
"""The seven emotions of the coding sheet, in alphabetical order."""

CLASSES = ("negative", "other", "positive", "surprise")
"""The four classes, in the index order of the network's output."""

_CLASS_OF_EMOTION = {
    "disgust": "negative",
    "fear": "negative",
    "happiness": "positive",
    "others": "other",
    "repression": "negative",
    "sadness": "negative",
    "surprise": "surprise",
}


def class_of(emotion: str) -> str:
    """Return the class of an emotion.

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
    try:
        return _CLASS_OF_EMOTION[emotion]
    except KeyError:
        raise UserError(
            f"An emotion must be one of {', '.join(EMOTIONS)}. Received: {emotion!r}."
        ) from None
