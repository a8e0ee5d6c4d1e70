"""ResNet50 without its last layer, its weights, and its batch normalization fused or folded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from casme_tf.errors import UserError
from casme_tf.layers import FusedBatchNormalization

__all__ = ["fold_batch_norm", "resnet50_backbone"]


def fuse_batch_norm(model: keras.Model, *, momentum: float) -> keras.Model:
    """Copy a functional model, with weights, its batch normalisations fused."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if type(layer) is keras.layers.BatchNormalization:
            return FusedBatchNormalization.from_config(config | {"momentum": momentum})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Copy a functional model without batch normalisations that directly follow a convolution.

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


IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
# Keras's 0.99 needs thousands of steps to forget its start; trainings here have some hundred.
BATCH_NORM_MOMENTUM = 0.9


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
        name: Name of the model and prefix of nothing else.

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
    resnet = fuse_batch_norm(resnet, momentum=BATCH_NORM_MOMENTUM)
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
