"""The Siamese architecture: both frames through one ResNet50, the difference classified."""

from __future__ import annotations

import keras

from casme_tf.models.architecture import Architecture, Recipe, pair_inputs
from casme_tf.models.backbone import resnet50_backbone
from casme_tf.models.heads import classify, embed


def siamese_classifier(
    *,
    frame_size: int = 224,
    network_size: int = 224,
    classes: int = 4,
    weights: str = "none",
    dropout: float = 0.25,
) -> keras.Model:
    """Build the classifier of the difference between the frames' embeddings.

    The embedding of the apex is subtracted from that of the onset.

    Args:
        frame_size: Side of the frames, px.
        network_size: Side of the frames as ResNet50 sees them, px.
        classes: Number of classes.
        weights: Of the backbone; see `resnet50_backbone`.
        dropout: Share of units dropped in the classifier.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, frame_size, frame_size, 3)` uint8 RGB.

    Output shape:
        `(B, classes)` float32 probabilities.

    Raises:
        UserError: If the weights cannot be had or do not fit.

    Example:
        >>> model = siamese_classifier(frame_size=64, network_size=32)
        >>> frames = keras.ops.zeros((2, 64, 64, 3), "uint8")
        >>> model({"onset": frames, "apex": frames}).shape
        TensorShape([2, 4])
    """
    inputs = pair_inputs(frame_size)
    motion = _motion(frame_size, network_size)
    network = _network(network_size, classes, weights, dropout)
    return keras.Model(inputs, network(motion(inputs)), name="siamese_classifier")


def _motion(frame_size: int, network_size: int) -> keras.Model:
    """From the pair to the pair `(B, network_size, network_size, 3)` float32."""
    inputs = pair_inputs(frame_size)
    resize = keras.layers.Resizing(network_size, network_size, name="resize")
    return keras.Model(inputs, {name: resize(x) for name, x in inputs.items()}, name="motion")


def _network(size: int, classes: int, weights: str, dropout: float) -> keras.Model:
    image = keras.Input((size, size, 3), name="image")
    embedding = keras.Model(
        image, embed(resnet50_backbone(size, weights)(image), dropout), name="embedding"
    )
    frames = {name: keras.Input((size, size, 3), name=name) for name in ("onset", "apex")}
    # One batch of both frames: batch normalisation must treat onset and apex alike.
    both = embedding(keras.ops.concatenate([frames["onset"], frames["apex"]], axis=0))
    onset, apex = keras.ops.split(both, 2, axis=0)
    difference = keras.layers.Subtract(name="difference")([onset, apex])
    return keras.Model(frames, classify(difference, classes), name="network")


SIAMESE = Architecture(
    name="siamese",
    build=siamese_classifier,
    motion="pair",
    recipe=Recipe(batch_size=32, epochs=120, patience=12, dropout=0.25),
)
