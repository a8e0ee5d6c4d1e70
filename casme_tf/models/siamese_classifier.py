"""The Siamese architecture: both frames through one ResNet50, the difference classified."""

from __future__ import annotations

import keras

from casme_tf.models.architecture import pair_inputs
from casme_tf.models.backbone import resnet50_backbone, siamese_head

__all__ = ["siamese_classifier"]


def siamese_classifier(
    *,
    frame_size: int = 224,
    network_size: int = 224,
    classes: int = 4,
    weights: str = "none",
    dropout: float = 0.25,
    **_: object,
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


def siamese_network(
    *, network_size: int, classes: int, weights: str, dropout: float, **_: object
) -> keras.Model:
    """Build the trained part, from `onset` and `apex` `(B, network_size, network_size, 3)`."""
    return _network(network_size, classes, weights, dropout)


def _network(size: int, classes: int, weights: str, dropout: float) -> keras.Model:
    """From both images to probabilities."""
    frames = {name: keras.Input((size, size, 3), name=name) for name in ("onset", "apex")}
    # One batch of both frames: batch normalization must treat onset and apex the same.
    both = resnet50_backbone(size, weights)(
        keras.ops.concatenate([frames["onset"], frames["apex"]], axis=0)
    )
    onset, apex = keras.ops.split(both, 2, axis=0)
    head = siamese_head(classes=classes, dropout=dropout)
    return keras.Model(frames, head({"onset": onset, "apex": apex}), name="network")
