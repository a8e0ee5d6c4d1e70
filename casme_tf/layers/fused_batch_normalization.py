"""Batch normalization by TensorFlow's fused operator, which Keras leaves unused."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="casme_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Normalizes images in training as `BatchNormalization` does, in two passes over memory.

    Keras composes the layer of some ten operators, and casts bfloat16 to float32 and back for them.
    The fused operator takes bfloat16 and computes in float32 within. Gradients, running statistics
    and the answers at inference are Keras's, up to rounding. Whatever the operator cannot do is
    left to Keras: masks, other axes than the last, `renorm`, `synchronized`, inputs that are no
    images.

    Args:
        **kwargs: Those of `keras.layers.BatchNormalization`.

    Input shape:
        `(B, H, W, C)`, or any that Keras's layer takes.

    Output shape:
        As the input.

    Example:
        >>> x = tf.reshape([1.0, 3.0], (1, 1, 2, 1))
        >>> FusedBatchNormalization(epsilon=0)(x, training=True).numpy().ravel()
        array([-1.,  1.], dtype=float32)

    Source: Ioffe and Szegedy, Batch Normalization, 2015 (https://arxiv.org/abs/1502.03167).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        images = len(inputs.shape) == 4 and self.axis in (-1, 3)
        fused = images and mask is None and not self.renorm and not self.synchronized
        if not (fused and training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        nothing = tf.zeros((0,))  # no running statistics are blended in by the operator
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones((channels,)),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros((channels,)),
            mean=nothing,
            variance=nothing,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            is_training=True,
        )
        # The operator's variance is divided by n − 1, Keras's by n.
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        self._blend(self.moving_mean, mean)
        self._blend(self.moving_variance, variance * (count - 1) / count)
        return outputs

    def _blend(self, running: Any, batch: tf.Tensor) -> None:
        running.assign(running * self.momentum + batch * (1.0 - self.momentum))
