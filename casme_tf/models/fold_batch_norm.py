"""Batch normalisation folded into the convolutions before it, for models that only answer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Copy a functional model without batch normalisations that directly follow a convolution.

    At inference such a normalisation scales and shifts each channel, which the convolution's own
    kernel and bias can do: the copy answers alike, up to rounding, and is faster.

    Args:
        model: A functional model; it stays as it is. Models within it are treated alike.

    Returns:
        A model of the same inputs and outputs, for inference alone.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
        >>> [layer.name for layer in fold_batch_norm(keras.Model(image, x)).layers[1:]]
        ['conv2d']

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
    """Find each convolution that nothing but a batch normalisation takes the output of."""
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
    """Scale kernel `(h, w, in, out)` and bias `(out,)` as the normalisation scales their output."""
    kernel, bias = (*weights, np.zeros(weights[0].shape[-1]))[:2]
    mean, variance = (np.float64(x) for x in (norm.moving_mean, norm.moving_variance))
    gain = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        gain = gain * np.float64(norm.gamma)
    shift = np.float64(norm.beta) if norm.center else 0.0
    return [x.astype(np.float32) for x in (kernel * gain, (bias - mean) * gain + shift)]
