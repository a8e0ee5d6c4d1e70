"""Batch normalisation of a model replaced by one that is faster to train."""

from __future__ import annotations

import keras

from casme_tf.layers import FusedBatchNormalization


def fuse_batch_norm(model: keras.Model, *, momentum: float) -> keras.Model:
    """Copy a functional model, with weights, its batch normalisations fused.

    Args:
        model: A functional model without models in it; it stays as it is.
        momentum: Of the running statistics of its batch normalisations, 0…1.

    Returns:
        The copy. Layers with weights keep their names.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> model = keras.Model(image, keras.layers.BatchNormalization()(image))
        >>> type(fuse_batch_norm(model, momentum=0.9).layers[1]).__name__
        'FusedBatchNormalization'
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if type(layer) is keras.layers.BatchNormalization:
            return FusedBatchNormalization.from_config(config | {"momentum": momentum})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied
