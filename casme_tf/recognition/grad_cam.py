"""Where a ResNet50 classifier looked: gradient-weighted class activation maps."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from casme_tf.arrays import Pair
from casme_tf.errors import UserError
from casme_tf.export.artifacts import read_keras_model
from casme_tf.models import split_model

__all__ = ["GradCam"]

STAGES = ("conv5_block3_out", "conv4_block6_out", "conv3_block4_out")
"""Last layers of ResNet50's stages, the deepest first."""

LEAST_SIDE = 7
"""Least side of a map, cells. At its end a network for images of 64 px has 2 × 2 cells only; then
an earlier stage is looked at."""


_RESNET = "resnet50"


class NoBackboneError(UserError):
    """A model has no ResNet50 to look into."""


class GradCam:
    """Maps how much each place of ResNet50's input spoke for a class.

    The maps of a stage of ResNet50 are added up, each weighted by its mean gradient of the class's
    score before the softmax, and cut at 0.

    Args:
        model: A .keras file of the architecture flow or siamese.

    Raises:
        UserError: If it is not a model of this package.
        NoBackboneError: If it has no ResNet50.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017 (https://arxiv.org/abs/1610.02391).
    """

    def __init__(self, model: Path) -> None:
        self._motion, self._encode, network = split_model(read_keras_model(model))
        parts = {operation.name: operation for operation in network.operations}
        if "backbone" not in parts:
            raise NoBackboneError(
                "Grad-CAM needs a model with ResNet50, of the architecture flow or siamese. "
                f"Received: {model}."
            )
        self._siamese = isinstance(network.input, dict)
        head = parts["head"]
        self._hidden = keras.Model(head.input, head.get_layer("hidden_64").output)
        self._answer = head.get_layer("probabilities")
        # Made once: Keras keeps track of each model that is made.
        self._backbone = parts["backbone"]
        self._resnet = _with_maps(self._backbone.get_layer(_RESNET))

    def __call__(self, pair: Pair, label: int) -> dict[str, np.ndarray]:
        """Look at one pair.

        Args:
            pair: `onset` and `apex`, each `(1, S, S, 3)` uint8 RGB, S being the model's.
            label: Index of the class.

        Returns:
            `(S, S)` float32, 0…1 with 1 at the strongest place (0 everywhere if none spoke for the
            class): of the architecture flow under `flow`, of siamese under `onset` and `apex`, on
            one scale.
        """
        given = self._motion({name: tf.constant(frames) for name, frames in pair.items()})
        names = ("onset", "apex") if self._siamese else ("flow",)
        if self._siamese:
            image = tf.concat([given[name] for name in names], axis=0)
        else:
            image = given if self._encode is None else self._encode(given)
        with tf.GradientTape() as tape:
            tape.watch(image)
            maps, features = self._look(image)
            if self._siamese:
                features = {"onset": features[:1], "apex": features[1:]}
            hidden = self._hidden(features)
            score = (tf.matmul(hidden, self._answer.kernel) + self._answer.bias)[0, label]
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
        side = pair["onset"].shape[1]
        cam = np.clip(tf.image.resize(cam, (side, side), method="bicubic")[..., 0], 0, None)
        return dict(zip(names, cam / (cam.max() or 1.0), strict=True))

    def _look(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ResNet50's maps and the backbone's features."""
        x = image
        for operation in self._backbone.operations:
            if operation.name == _RESNET:
                return self._resnet(x)
            if not isinstance(operation, keras.layers.InputLayer):
                x = operation(x)
        raise AssertionError("a backbone ends in ResNet50")


def _with_maps(resnet: keras.Model) -> keras.Model:
    """Return ResNet50 with two outputs: its deepest maps that are not too coarse, and its own."""
    outputs = [resnet.get_layer(name).output for name in STAGES]
    fine = [output for output in outputs if output.shape[1] >= LEAST_SIDE]
    return keras.Model(resnet.input, [fine[0] if fine else outputs[-1], resnet.output])
