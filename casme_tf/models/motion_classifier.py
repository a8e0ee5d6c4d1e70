"""The architecture motion_net: flow and strain on 28 × 28 cells, through a small network."""

from __future__ import annotations

from pathlib import Path

import keras

from casme_tf.layers import FarnebackFlow, NormalizeMotion, RGBToGray, UVStrain
from casme_tf.models.architecture import Architecture, Recipe, pair_inputs
from casme_tf.models.drawn_weights import assign_weights, drawn_file, read_weights
from casme_tf.models.motion_net import (
    CHANNELS,
    CLASS_HEADS,
    CONVOLUTIONS,
    SIZE,
    class_probabilities,
    even_embedding,
)


def motion_classifier(
    *,
    frame_size: int = 224,
    network_size: int | None = None,
    classes: int = 4,
    weights: str = "drawn",
    dropout: float = 0.1,
) -> keras.Model:
    """Build the classifier of the motion from onset to apex.

    Args:
        frame_size: Side of the frames, px; flow is computed at this size.
        network_size: Not used: the network always sees 28 × 28 cells.
        classes: Number of classes.
        weights: See `motion_network`.
        dropout: Share dropped before the dense layer.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, frame_size, frame_size, 3)` uint8 RGB.

    Output shape:
        `(B, classes)` float32 probabilities.

    Raises:
        UserError: If the weights cannot be had or do not fit.

    Example:
        >>> model = motion_classifier(frame_size=64)
        >>> frames = keras.ops.zeros((2, 64, 64, 3), "uint8")
        >>> model({"onset": frames, "apex": frames}).shape
        TensorShape([2, 4])
    """
    inputs = pair_inputs(frame_size)
    motion = pair_motion(frame_size)
    encoding = NormalizeMotion(name="encoding")
    network = motion_network(classes=classes, weights=weights, dropout=dropout)
    return keras.Model(inputs, network(encoding(motion(inputs))), name="motion_net")


def motion_network(
    *, classes: int = 4, weights: str = "drawn", dropout: float = 0.1
) -> keras.Model:
    """Build what has weights, from normalised motion to probabilities.

    Args:
        classes: Number of classes. Four are those of the scheme `four` and three those of `megc3`,
            whose heads have drawn weights; others begin with random ones.
        weights: `"drawn"`, what was learnt from drawn fields and comes with this package, the
            convolutions frozen; `"none"` for random weights, all of them to be trained; or the
            path of a weights.npz of `pretrain`, as `"drawn"`.
        dropout: Share dropped before the dense layer.

    Input shape:
        `(B, 28, 28, 6)` float32 named `image`, as from `NormalizeMotion`.

    Output shape:
        `(B, classes)` float32 probabilities.

    Raises:
        UserError: If the weights cannot be had or do not fit.
    """
    image = keras.Input((SIZE, SIZE, CHANNELS), name="image")
    embedding = even_embedding(image, dropout)
    shown = keras.layers.Dense(1, dtype="float32", name="expression")(embedding)
    head = CLASS_HEADS.get(classes, "classes")
    logits = keras.layers.Dense(classes, dtype="float32", name=head)(embedding)
    network = keras.Model(image, class_probabilities(logits, shown), name="network")
    if weights != "none":
        path = drawn_file() if weights == "drawn" else Path(weights)
        assign_weights(network, read_weights(path), skip="classes")
        for name in CONVOLUTIONS:
            network.get_layer(name).trainable = False
            network.get_layer(f"{name}_norm").trainable = False
    return network


def motion_model(*, classes: int = 4, weights: str = "drawn", dropout: float = 0.1) -> keras.Model:
    """Build the classifier of motion that was computed beforehand.

    Args:
        classes: Number of classes.
        weights: See `motion_network`.
        dropout: As for `motion_network`.

    Input shape:
        `(B, 28, 28, 3)` float32 named `motion`, as from `UVStrain`.

    Output shape:
        `(B, classes)` float32 probabilities.
    """
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    network = motion_network(classes=classes, weights=weights, dropout=dropout)
    return keras.Model(motion, network(NormalizeMotion(name="encoding")(motion)), name="motion_net")


def pair_motion(frame_size: int) -> keras.Model:
    """Build the weightless part, from the pair to motion `(B, 28, 28, 3)`; see `UVStrain`."""
    inputs = pair_inputs(frame_size)
    gray = RGBToGray(name="gray")
    flow = FarnebackFlow(name="flow")([gray(inputs["onset"]), gray(inputs["apex"])])
    # NormalizeMotion takes the head's motion out.
    return keras.Model(inputs, UVStrain(SIZE, head_motion=None, name="cells")(flow), name="motion")


MOTION_NET = Architecture(
    name="motion_net",
    build=motion_classifier,
    motion="flow",
    recipe=Recipe(batch_size=32, epochs=60, patience=12, dropout=0.1),
    weights="drawn",
    network_size=SIZE,
)
