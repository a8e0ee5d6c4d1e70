"""The two architectures of the original system, each around one ResNet50: flow and siamese."""

from __future__ import annotations

import keras

from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.backbone import BATCH_NORM_MOMENTUM, resnet50_backbone

__all__ = ["flow_classifier", "flow_head", "siamese_classifier", "siamese_head"]


def flow_classifier(
    *,
    frame_size: int = 224,
    network_size: int = 224,
    classes: int = 4,
    weights: str = "none",
    dropout: float = 0.5,
    **_: object,
) -> keras.Model:
    """Build the classifier of the optical flow from onset to apex.

    Flow is drawn as in the original system, by hue and brightness, but without cutting either to
    whole numbers: a cut turns the last bit of a flow, in which runtimes differ, into a step of
    hue, and the network into several thousandths of a probability.

    Args:
        frame_size: Side of the frames, px; flow is computed at this size.
        network_size: Side of the flow image that ResNet50 sees, px.
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
        >>> model = flow_classifier(frame_size=64, network_size=32)
        >>> frames = keras.ops.zeros((2, 64, 64, 3), "uint8")
        >>> model({"onset": frames, "apex": frames}).shape
        TensorShape([2, 4])
    """
    inputs = pair_inputs(frame_size)
    motion = _motion(frame_size, network_size)
    encoding = FlowToColor(whole_numbers=False, name="encoding")
    network = _network(network_size, classes, weights, dropout)
    return keras.Model(inputs, network(encoding(motion(inputs))), name="flow_classifier")


def flow_network(
    *, network_size: int, classes: int, weights: str, dropout: float, **_: object
) -> keras.Model:
    """Build the trained part, from flow `(B, network_size, network_size, 2)` named `flow`."""
    flow = keras.Input((network_size, network_size, 2), name="flow")
    network = _network(network_size, classes, weights, dropout)
    return keras.Model(flow, network(FlowToColor(whole_numbers=False)(flow)), name="flow_network")


def _network(size: int, classes: int, weights: str, dropout: float) -> keras.Model:
    """From the flow image to probabilities."""
    image = keras.Input((size, size, 3), name="flow_image")
    features = resnet50_backbone(size, weights)(image)
    head = flow_head(classes=classes, dropout=dropout)
    return keras.Model(image, head(features), name="network")


def _motion(frame_size: int, network_size: int) -> keras.Model:
    """From the pair to its flow `(B, network_size, network_size, 2)`, px at frame size."""
    inputs = pair_inputs(frame_size)
    gray = RGBToGray(name="gray")
    flow = FarnebackFlow(name="flow")([gray(inputs["onset"]), gray(inputs["apex"])])
    if network_size != frame_size:
        flow = keras.layers.Resizing(network_size, network_size, name="resize")(flow)
    return keras.Model(inputs, flow, name="motion")


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
    motion = _siamese_motion(frame_size, network_size)
    network = siamese_network(
        network_size=network_size, classes=classes, weights=weights, dropout=dropout
    )
    return keras.Model(inputs, network(motion(inputs)), name="siamese_classifier")


def _siamese_motion(frame_size: int, network_size: int) -> keras.Model:
    """From the pair to the pair `(B, network_size, network_size, 3)` float32."""
    inputs = pair_inputs(frame_size)
    resize = keras.layers.Resizing(network_size, network_size, name="resize")
    return keras.Model(inputs, {name: resize(x) for name, x in inputs.items()}, name="motion")


def siamese_network(
    *, network_size: int, classes: int, weights: str, dropout: float, **_: object
) -> keras.Model:
    """Build the trained part, from `onset` and `apex` `(B, network_size, network_size, 3)`."""
    shape = (network_size, network_size, 3)
    frames = {name: keras.Input(shape, name=name) for name in ("onset", "apex")}
    # One batch of both frames: batch normalization must treat onset and apex the same.
    both = resnet50_backbone(network_size, weights)(
        keras.ops.concatenate([frames["onset"], frames["apex"]], axis=0)
    )
    onset, apex = keras.ops.split(both, 2, axis=0)
    head = siamese_head(classes=classes, dropout=dropout)
    return keras.Model(frames, head({"onset": onset, "apex": apex}), name="network")


FEATURES = 2048
"""Length of the backbone's features."""


def flow_head(*, classes: int = 4, dropout: float = 0.5) -> keras.Model:
    """Build what follows the backbone in the architecture `flow`.

    Features are first standardized by the training clips: their size depends on the backbone, and
    those of a random one differ between clips by a tenth.

    Args:
        classes: Number of classes. Default 4.
        dropout: Share of units dropped in the classifier. Default 0.5.

    Input shape:
        `(B, 2048)` float32 named `flow`: the backbone's features of the flow image.

    Output shape:
        `(B, classes)` float32 probabilities.

    Example:
        >>> flow_head(classes=3).output_shape
        (None, 3)
    """
    features = keras.Input((FEATURES,), name="flow")
    x = _standardize(features)
    for units in (256, 128):
        x = keras.layers.Dense(units, activation="relu", name=f"embedding_{units}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{units}")(x)
    return keras.Model(features, _classify(x, classes), name="head")


def siamese_head(*, classes: int = 4, dropout: float = 0.25) -> keras.Model:
    """Build what follows the backbone in the architecture `siamese`.

    Features are standardized as in `flow_head`, those of both frames together. Both frames of a
    clip lose the same units to dropout: features of onset and apex differ by a hundredth of their
    size, and with separate dropout the difference would be that of the dropped units.

    Args:
        classes: Number of classes. Default 4.
        dropout: Share of units dropped in the classifier. Default 0.25.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, 2048)` float32: the backbone's features.

    Output shape:
        `(B, classes)` float32 probabilities.

    Example:
        >>> siamese_head(classes=3).output_shape
        (None, 3)
    """
    frames = {name: keras.Input((FEATURES,), name=name) for name in ("onset", "apex")}
    x = _standardize(keras.ops.stack([frames["onset"], frames["apex"]], axis=1))  # (B, 2, 2048)
    for units in (256, 128):
        x = keras.layers.Dense(units, activation="relu", name=f"embedding_{units}")(x)
        same = (None, 1, units)
        x = keras.layers.Dropout(dropout, noise_shape=same, name=f"dropout_{units}")(x)
    difference = keras.layers.Subtract(name="difference")([x[:, 0], x[:, 1]])
    return keras.Model(frames, _classify(difference, classes), name="head")


def of_copies(head: keras.Model) -> keras.Model:
    """Apply a head to features `(B, copies, 2048)`: to the first copy, the others being spare."""
    named = head.input if isinstance(head.input, dict) else {"flow": head.input}
    copies = {name: keras.Input((None, FEATURES), name=name) for name in named}
    first = {name: x[:, 0] for name, x in copies.items()}
    single = not isinstance(head.input, dict)
    return keras.Model(copies, head(first["flow"] if single else first), name="head_of_copies")


def _standardize(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, center=False, scale=False, name="standardize"
    )(x)


def _classify(embedding: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Turn an embedding `(B, 128)` into probabilities `(B, classes)`."""
    x = keras.layers.Dense(64, activation="relu", name="hidden_64")(embedding)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(
        x
    )
