"""STSTNet: three shallow streams over the motion's components, averaged and classified."""

from __future__ import annotations

import keras

from casme_tf.errors import UserError
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.motion_net import SIZE, pair_motion

__all__ = ["ststnet", "ststnet_classifier"]

UNIT_DISPLACEMENT = 1e-3
"""Displacement that the network sees as 1, as a share of the frame's side: 0.22 px of 224."""

UNIT_STRAIN = 1e-2
"""Strain that the network sees as 1, px per px: a stretch by one per cent."""

FILTERS = (3, 5, 8)
"""Filters of the streams, in the order of the channels that they give."""


def ststnet(
    *, frame_size: int = 224, classes: int = 4, size: int = SIZE, dropout: float = 0.5, **_: object
) -> keras.Model:
    """Build the classifier of optical flow and optical strain with some 2,000 weights.

    Each stream sees all three components, through 3, 5 or 8 filters of 3 × 3, and pools the
    maximum of 3 × 3 cells; the streams are joined, averaged over 2 × 2 and classified by one dense
    layer. With three classes these are 1,651 weights, all of them trained. The authors' PyTorch
    version also normalizes each stream by its batch, another 32 weights. That is left out here: the
    components come in fixed units (`UNIT_DISPLACEMENT`, `UNIT_STRAIN`), and running statistics lag
    behind in short trainings.

    Args:
        frame_size: Side of the frames that the motion was computed on, px. Default 224.
        classes: Number of classes. Default 4.
        size: Side of the motion's image, cells, at least 4. Default 28.
        dropout: Share of each stream's values that is dropped in training. Default 0.5.

    Input shape:
        `(B, size, size, 3)` float32 named `motion`: dx and dy in px, and the magnitude of the
        strain in px per px, as from `UVStrain`.

    Output shape:
        `(B, classes)` float32 probabilities.

    Raises:
        UserError: If `size` is too small for two poolings.

    Example:
        >>> ststnet(classes=3).count_params()
        1651

    Source: Liong, Gan, See, Khor, Huang, Shallow Triple Stream Three-dimensional CNN (STSTNet) for
        Micro-expression Recognition, FG 2019 (https://arxiv.org/abs/1902.03634).
    """
    if size < 4:
        raise UserError(f"STSTNet needs motion of at least 4 cells a side. Received: {size}.")
    motion = keras.Input((size, size, 3), name="motion")
    displacement = 1 / (UNIT_DISPLACEMENT * frame_size)
    scale = [displacement, displacement, 1 / UNIT_STRAIN]
    x = keras.layers.Rescaling(scale, name="fixed_units")(motion)
    # All streams see the same cells and pool in the same way, each filter by itself: one
    # convolution with the filters of all three is the same network at a third of the cost. ReLU and
    # maximum commute.
    x = keras.layers.Conv2D(sum(FILTERS), 3, padding="same", name="streams")(x)
    x = keras.layers.MaxPooling2D(3, padding="same", name="maximum")(x)  # (B, 10, 10, 16)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.AveragePooling2D(2, name="average")(x)
    x = keras.layers.Flatten(name="flatten")(x)  # (B, 400)
    x = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(motion, x, name="ststnet")


def ststnet_classifier(
    *,
    frame_size: int = 224,
    classes: int = 4,
    dropout: float = 0.5,
    head_motion: str | None = "median",
    **_: object,
) -> keras.Model:
    """Build STSTNet with its motion in the graph.

    Args:
        frame_size: Side of the frames, px; flow is computed at this size. Default 224.
        classes: Number of classes. Default 4.
        dropout: As for `ststnet`. Default 0.5.
        head_motion: What `UVStrain` subtracts. Default "median".

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, frame_size, frame_size, 3)` uint8 RGB.

    Output shape:
        `(B, classes)` float32 probabilities.

    Example:
        >>> ststnet_classifier(frame_size=64, classes=3).output_shape
        (None, 3)
    """
    inputs = pair_inputs(frame_size)
    motion = pair_motion(frame_size, head_motion=head_motion)
    network = ststnet(frame_size=frame_size, classes=classes, dropout=dropout)
    network = keras.Model(network.input, network.output, name="network")
    return keras.Model(inputs, network(motion(inputs)), name="ststnet")
