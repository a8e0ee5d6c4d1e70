"""The flow architecture: optical flow, drawn in color, through one ResNet50."""

from __future__ import annotations

import keras

from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray
from casme_tf.models.architecture import pair_inputs
from casme_tf.models.backbone import flow_head, resnet50_backbone

__all__ = ["flow_classifier"]


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
