"""The layers after the backbone, in the sizes of the original system."""

from __future__ import annotations

import keras


def embed(features: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Reduce the backbone's features `(B, 2048)` to an embedding `(B, 128)`."""
    x = keras.layers.Dense(256, activation="relu", name="embedding_256")(features)
    x = keras.layers.Dropout(dropout, name="dropout_256")(x)
    x = keras.layers.Dense(128, activation="relu", name="embedding_128")(x)
    return keras.layers.Dropout(dropout, name="dropout_128")(x)


def classify(embedding: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Turn an embedding `(B, 128)` into probabilities `(B, classes)`."""
    x = keras.layers.Dense(64, activation="relu", name="hidden_64")(embedding)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(
        x
    )


FEATURES = 2048
"""Length of the backbone's features."""

_MOMENTUM = 0.9  # as in the backbone: a fold trains for some hundred steps


def flow_head(*, classes: int = 4, dropout: float = 0.5) -> keras.Model:
    """Build what follows the backbone in the architecture `flow`.

    Features are brought to mean 0 and spread 1 first, by the clips that are trained on. Those of
    another backbone have another size, and of a random one they differ between clips by a tenth.

    Args:
        classes: Number of classes.
        dropout: Share of units dropped in the classifier.

    Input shape:
        `(B, copies, 2048)` float32 named `flow`: the backbone's features of each clip's flow
        image. The first copy alone is looked at; others, such as the mirrored clip's, wait to be
        swapped with it.

    Output shape:
        `(B, classes)` float32 probabilities.

    Example:
        >>> flow_head(classes=3).output_shape
        (None, 3)
    """
    features = keras.Input((None, FEATURES), name="flow")
    x = _standardize(features[:, 0])
    return keras.Model(features, classify(embed(x, dropout), classes), name="flow")


def siamese_head(*, classes: int = 4, dropout: float = 0.25) -> keras.Model:
    """Build what follows the backbone in the architecture `siamese`.

    Features are standardised as in `flow_head`, those of both frames together. Both frames of a
    clip lose the same units to dropout: a frozen backbone's features of onset and apex differ by a
    hundredth of their size, and if each frame lost units of its own, the difference would be that
    of the losses.

    Args:
        classes: Number of classes.
        dropout: Share of units dropped in the classifier.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, copies, 2048)` float32: the backbone's
        features of the frame, copies as for `flow_head`.

    Output shape:
        `(B, classes)` float32 probabilities.

    Example:
        >>> siamese_head(classes=3).output_shape
        (None, 3)
    """
    frames = {name: keras.Input((None, FEATURES), name=name) for name in ("onset", "apex")}
    x = keras.ops.stack([frames["onset"][:, 0], frames["apex"][:, 0]], axis=1)  # (B, 2, 2048)
    x = _embed_both(_standardize(x), dropout)
    difference = keras.layers.Subtract(name="difference")([x[:, 0], x[:, 1]])
    return keras.Model(frames, classify(difference, classes), name="siamese")


def _standardize(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(
        momentum=_MOMENTUM, center=False, scale=False, name="standardize"
    )(x)


def _embed_both(x: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Embed as `heads.embed` does, and drop the same units of both frames."""
    for units in (256, 128):
        x = keras.layers.Dense(units, activation="relu", name=f"embedding_{units}")(x)
        same = (None, 1, units)
        x = keras.layers.Dropout(dropout, noise_shape=same, name=f"dropout_{units}")(x)
    return x
