"""ResNet50 without its last layer, and the architectures flow and siamese around it.

Batch normalization is fused for training and folded for inference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from casme_tf.errors import UserError
from casme_tf.layers import FarnebackFlow, FlowToColor, FusedBatchNormalization, RGBToGray
from casme_tf.models.architecture import pair_inputs

__all__ = [
    "flow_classifier",
    "flow_head",
    "fold_batch_norm",
    "resnet50_backbone",
    "siamese_classifier",
    "siamese_head",
]

FEATURES = 2048
"""Length of the backbone's features."""

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
# Keras's 0.99 needs thousands of steps to forget its start; trainings here have some hundred.
_BATCH_NORM_MOMENTUM = 0.9


def fuse_batch_norm(model: keras.Model, *, momentum: float) -> keras.Model:
    """Copy a functional model, with weights, its batch normalizations fused."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if type(layer) is keras.layers.BatchNormalization:
            return FusedBatchNormalization.from_config(config | {"momentum": momentum})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Copy a functional model without batch normalizations that directly follow a convolution.

    At inference such a normalization scales and shifts each channel, which the convolution's own
    kernel and bias can do: the outputs of the copy are equal up to rounding, and it is faster.

    Args:
        model: A functional model; it stays as it is. Models within it are treated in the same way.

    Returns:
        A model of the same inputs and outputs, for inference alone.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, name="conv")(image))
        >>> [layer.name for layer in fold_batch_norm(keras.Model(image, x)).layers[1:]]
        ['conv']

    Source: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2
    (https://arxiv.org/abs/1712.05877).
    """
    folded = _convolutions_before_norms(model)
    norms = set(folded.values())
    copies: dict[keras.layers.Layer, keras.layers.Layer] = {}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer in norms:
            return layer
        config = layer.get_config()
        if layer in folded:
            config["use_bias"] = True
        its_copy = type(layer).from_config(config)
        if isinstance(layer, keras.layers.Layer):  # and not an operation
            copies[layer] = its_copy
        return its_copy

    def call(layer: keras.layers.Layer, *args: Any, **options: Any) -> Any:
        return args[0] if layer in norms else layer(*args, **options)

    copied = keras.models.clone_model(
        model, clone_function=copy, call_function=call, recursive=True
    )
    for layer, its_copy in copies.items():
        weights = layer.get_weights()
        its_copy.set_weights(_fold(weights, folded[layer]) if layer in folded else weights)
    return copied


def _convolutions_before_norms(
    model: keras.Model,
) -> dict[keras.layers.Layer, keras.layers.BatchNormalization]:
    """Find each convolution that nothing but a batch normalization takes the output of."""
    found = {}
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        before = layer.input._keras_history.operation
        plain = (
            type(before) is keras.layers.Conv2D and before.activation is keras.activations.linear
        )
        if plain and len(before._outbound_nodes) == 1 and len(before._inbound_nodes) == 1:
            found[before] = layer
    return found


def _fold(weights: list[np.ndarray], norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Scale kernel `(h, w, in, out)` and bias `(out,)` as the normalization scales their output."""
    kernel, bias = (*weights, np.zeros(weights[0].shape[-1]))[:2]
    mean, variance = (np.float64(x) for x in (norm.moving_mean, norm.moving_variance))
    gain = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        gain = gain * np.float64(norm.gamma)
    shift = np.float64(norm.beta) if norm.center else 0.0
    return [x.astype(np.float32) for x in (kernel * gain, (bias - mean) * gain + shift)]


def resnet50_backbone(
    size: int, weights: str = "none", *, frozen: bool = False, name: str = "backbone"
) -> keras.Model:
    """Build ResNet50 up to its average pooling, with its own preprocessing in the graph.

    Args:
        size: Side of the input images, px, at least 32.
        weights: `"none"` for random weights, `"imagenet"`, or the path of a weights file: Keras's
            `…_notop.h5`, or a `.keras` classifier trained with this package.
        frozen: It will not be trained. Random blocks are then left as they are; if it will be,
            they begin as identity, which features of random weights would suffer from.
        name: Name of the model.

    Input shape:
        `(B, size, size, 3)` float32 RGB, 0…255.

    Output shape:
        `(B, 2048)` float32.

    Raises:
        UserError: If the weights cannot be had or belong to another architecture.

    Example:
        >>> resnet50_backbone(64).output_shape
        (None, 2048)

    Source: He et al., Deep Residual Learning for Image Recognition, 2016
    (https://arxiv.org/abs/1512.03385), as in `keras.applications`.
    """
    if size < 32:
        raise UserError(f"ResNet50 needs images of at least 32 px. Received: size {size}.")
    image = keras.Input((size, size, 3), name="image")
    x = keras.layers.Rescaling(1.0, [-mean for mean in _IMAGENET_MEAN_RGB], name="center")(image)
    x = keras.ops.flip(x, axis=-1)  # its ImageNet weights were trained on BGR
    resnet = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg", name="resnet50"
    )
    if weights == "imagenet":
        _load_file(resnet, _imagenet_weights())
    elif weights != "none":
        _load_file(resnet, Path(weights))
    elif not frozen:
        _begin_as_identity(resnet)
    resnet = fuse_batch_norm(resnet, momentum=_BATCH_NORM_MOMENTUM)
    return keras.Model(image, resnet(x), name=name)


def _begin_as_identity(resnet: keras.Model) -> None:
    """Set γ of each block's last batch normalization to 0."""
    for layer in resnet.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(keras.ops.zeros_like(layer.gamma))


def _imagenet_weights() -> Path:
    """Return the file in Keras's cache, downloaded by Keras if it is not there yet."""
    cached = _keras_home() / "models" / IMAGENET_FILE
    try:
        if not cached.is_file():
            keras.applications.ResNet50(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise UserError(
            f"ImageNet weights could not be downloaded ({_first_line(error)}). Put "
            f"{IMAGENET_FILE} into {cached.parent}, give a file with --weights PATH, or train "
            "from scratch with --weights none."
        ) from error
    return cached


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def _load_file(resnet: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise UserError(
            "Weights must be 'imagenet', 'none' or the path of a weights file. "
            f"Received: {path}, which does not exist."
        )
    try:
        if path.suffix == ".keras":
            trained = keras.models.load_model(path, compile=False)
            resnet.set_weights(_find_resnet(trained).get_weights())
        else:
            resnet.load_weights(path)
    except UserError:
        raise
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Weights must be those of ResNet50 without its last layer. Received: {path}, which "
            f"does not fit ({_first_line(error)})."
        ) from error


def _find_resnet(model: keras.Model) -> keras.Model:
    for layer in model.layers:
        if layer.name == "resnet50":
            return layer
        if isinstance(layer, keras.Model):
            try:
                return _find_resnet(layer)
            except ValueError:
                continue
    raise ValueError("it has no layer 'resnet50'")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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
    motion = _flow_motion(frame_size, network_size)
    encoding = FlowToColor(whole_numbers=False, name="encoding")
    network = _flow_image_network(network_size, classes, weights, dropout)
    return keras.Model(inputs, network(encoding(motion(inputs))), name="flow_classifier")


def flow_network(
    *, network_size: int, classes: int, weights: str, dropout: float, **_: object
) -> keras.Model:
    """Build the trained part, from flow `(B, network_size, network_size, 2)` named `flow`."""
    flow = keras.Input((network_size, network_size, 2), name="flow")
    network = _flow_image_network(network_size, classes, weights, dropout)
    return keras.Model(flow, network(FlowToColor(whole_numbers=False)(flow)), name="flow_network")


def _flow_image_network(size: int, classes: int, weights: str, dropout: float) -> keras.Model:
    """From the flow image to probabilities."""
    image = keras.Input((size, size, 3), name="flow_image")
    features = resnet50_backbone(size, weights)(image)
    head = flow_head(classes=classes, dropout=dropout)
    return keras.Model(image, head(features), name="network")


def _flow_motion(frame_size: int, network_size: int) -> keras.Model:
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
        momentum=_BATCH_NORM_MOMENTUM, center=False, scale=False, name="standardize"
    )(x)


def _classify(embedding: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Turn an embedding `(B, 128)` into probabilities `(B, classes)`."""
    x = keras.layers.Dense(64, activation="relu", name="hidden_64")(embedding)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(
        x
    )
