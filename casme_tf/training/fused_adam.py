"""Adam in one pass over the weights, for networks so small that the optimizer is half the work."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


class FusedAdam:
    """Keras's Adam with its default decay rates, by TensorFlow's fused kernel.

    `keras.optimizers.Adam` is a dozen operations a variable, each a pass over memory. The numbers
    are the same but for rounding.

    Args:
        variables: What is trained.
        learning_rate: Step size.

    Attributes:
        state: Moments and powers of the decay rates; assign what they were made with to begin anew.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> FusedAdam([weight], learning_rate=0.1).apply([tf.constant([2.0])])
        >>> weight.numpy().round(3)
        array([0.9], dtype=float32)

    Source: Kingma and Ba, Adam: A method for stochastic optimization, ICLR 2015, with epsilon as in
        the formulation before its section 2.1.
    """

    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7

    def __init__(self, variables: Sequence[keras.Variable], learning_rate: float) -> None:
        self._variables = [variable.value for variable in variables]
        self._learning_rate = learning_rate
        self._first, self._second = (
            [tf.Variable(tf.zeros_like(variable)) for variable in self._variables] for _ in range(2)
        )
        self._powers = tf.Variable(1.0), tf.Variable(1.0)
        self.state = [*self._first, *self._second, *self._powers]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Take one step.

        Args:
            gradients: One for each variable, in its shape.
        """
        for power, decay in zip(self._powers, (self._BETA_1, self._BETA_2), strict=True):
            power.assign(power * decay)
        moments = zip(self._variables, self._first, self._second, gradients, strict=True)
        for variable, first, second, gradient in moments:
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=self._powers[0],
                beta2_power=self._powers[1],
                lr=self._learning_rate,
                beta1=self._BETA_1,
                beta2=self._BETA_2,
                epsilon=self._EPSILON,
                grad=tf.convert_to_tensor(gradient),
            )
