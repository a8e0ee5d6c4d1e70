"""A small network from motion to action units and classes, for which drawn fields are enough."""

from __future__ import annotations

import keras
import numpy as np

from casme_tf.labels import ACTION_UNITS, FOUR, MEGC3

SIZE = 28
"""Side of the motion's image, cells."""

CHANNELS = 6
"""Channels of the motion once it is normalised; see `NormalizeMotion`."""

EMBEDDING = 80
"""Length of what all heads share."""

CONVOLUTIONS = ("half", "half_more", "quarter", "quarter_more", "narrow")
"""Names of the convolutions, in their order; the layer `…_norm` after each normalises it."""

CLASS_HEADS = {len(scheme.classes): scheme.name for scheme in (FOUR, MEGC3)}
"""Name of the head by its number of classes."""


def trunk(image: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Apply what all heads share: some convolutions, and one dense layer that knows places.

    Args:
        image: `(B, 28, 28, 6)`, as from `NormalizeMotion`.
        dropout: Share dropped before the dense layer.

    Returns:
        `(B, 80)`.
    """
    x = _conv(image, 48, "half", kernel=4, stride=2)  # (B, 14, 14, 48)
    x = keras.layers.Add(name="half_sum")([x, _conv(x, 48, "half_more")])
    x = _conv(x, 96, "quarter", stride=2)  # (B, 7, 7, 96)
    x = keras.layers.Add(name="quarter_sum")([x, _conv(x, 96, "quarter_more")])
    x = _conv(x, 24, "narrow", kernel=1)
    x = keras.layers.Flatten(name="flatten")(x)  # where something moves matters: no pooling
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.layers.Dense(EMBEDDING, activation="relu", name="embedding")(x)


def even_embedding(image: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Embed motion and its mirror image, and average: left and right make no difference.

    Heads are linear in the embedding, so this averages their logits.

    Args:
        image: `(B, 28, 28, 6)`, as from `NormalizeMotion`.
        dropout: As for `trunk`.

    Returns:
        `(B, 80)`, the same for a face and its mirror image.
    """
    signs = np.array([-1, 1, 1, 1, -1, 1], np.float32)  # dx and shear turn round
    mirrored = keras.ops.flip(image, axis=2) * signs
    both = trunk(keras.ops.concatenate([image, mirrored], axis=0), dropout)
    return keras.layers.Average(name="even")(keras.ops.split(both, 2, axis=0))


def head_logits(embedding: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Apply every head, without the last function of each.

    Args:
        embedding: `(B, 80)` from `trunk`.

    Returns:
        `action_units` `(B, 17)`, logits of each of `ACTION_UNITS`; `strengths` `(B, 17)`,
        logarithm of the largest displacement by each, px of a crop of 224 px; `expression`
        `(B, 1)`, logit of anything being expressed; and logits of the classes of each scheme,
        `four` and `megc3`.
    """
    lengths = {"action_units": len(ACTION_UNITS), "strengths": len(ACTION_UNITS), "expression": 1}
    lengths |= {scheme.name: len(scheme.classes) for scheme in (FOUR, MEGC3)}
    return {
        name: keras.layers.Dense(length, dtype="float32", name=name)(embedding)
        for name, length in lengths.items()
    }


def class_probabilities(
    classes: keras.KerasTensor, expression: keras.KerasTensor
) -> keras.KerasTensor:
    """Turn logits into probabilities that are all alike where nothing is expressed.

    `p · softmax(classes) + (1 − p) / C`, where p is the probability of an expression: the likeliest
    class is the same as without it, and only as likely as there is something to classify.

    Args:
        classes: `(B, C)` logits of the classes of an expression.
        expression: `(B, 1)` logit of an expression.

    Returns:
        `(B, C)`, adding up to 1.
    """
    even = 1 / classes.shape[-1]
    likely = keras.layers.Softmax(name="class_if_any")(classes)
    shown = keras.layers.Activation("sigmoid", name="anything")(expression)
    # Not by adding (1 − p) / C: Keras takes (C, 1) that is added to (C, C) for a bias of C columns.
    beyond_even = keras.layers.Rescaling(1.0, -even, name="beyond_even")(likely)
    beyond_even = keras.layers.Multiply(name="class_and_any")([beyond_even, shown])
    return keras.layers.Rescaling(1.0, even, name="probabilities")(beyond_even)


def _conv(
    x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 3, stride: int = 1
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.98, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)
