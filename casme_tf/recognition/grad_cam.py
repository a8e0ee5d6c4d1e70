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

    Example:
        >>> look = GradCam(Path("saved_models/demo/model.keras"))  # doctest: +SKIP
        >>> look(pair, 2)["flow"].shape  # doctest: +SKIP
        (224, 224)

    Source: Selvaraju et al., Grad-CAM, ICCV 2017 (https://arxiv.org/abs/1610.02391).
    """

    def __init__(self, model: Path) -> None:
        self._motion, self._encode, network = split_model(read_keras_model(model))
        parts = {operation.name: operation for operation in network.operations}
        if not _has_resnet(network):
            raise NoBackboneError(
                "Grad-CAM needs a model with ResNet50, of the architecture flow or siamese. "
                f"Received: {model}."
            )
        self._hidden, self._answer = parts["hidden_64"], parts["probabilities"]
        self._siamese = "embedding" in parts
        self._chain = (
            parts["embedding"] if self._siamese else keras.Model(network.input, self._hidden.output)
        )
        # Made once: Keras keeps track of each model that is made.
        self._backbone = _with_maps(_find_resnet(self._chain))

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
            maps, x = self._through(self._chain, image)
            hidden = self._hidden(x[:1] - x[1:]) if self._siamese else x
            score = (tf.matmul(hidden, self._answer.kernel) + self._answer.bias)[0, label]
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
        side = pair["onset"].shape[1]
        cam = np.clip(tf.image.resize(cam, (side, side), method="bicubic")[..., 0], 0, None)
        return dict(zip(names, cam / (cam.max() or 1.0), strict=True))

    def _through(self, chain: keras.Model, image: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
        """Go through layers, ResNet50 among them; return its maps and the last layer's output."""
        maps, x = None, image
        for operation in chain.operations:
            if operation.name == "backbone":
                maps, x = self._through(operation, x)
            elif operation.name == _RESNET:
                maps, x = self._backbone(x)
            elif not isinstance(operation, keras.layers.InputLayer):
                x = operation(x)
        return maps, x


def _has_resnet(model: keras.Model) -> bool:
    parts = [part for part in model.operations if isinstance(part, keras.Model)]
    return any(part.name == _RESNET or _has_resnet(part) for part in parts)


def _find_resnet(chain: keras.Model) -> keras.Model:
    parts = {operation.name: operation for operation in chain.operations}
    return parts[_RESNET] if _RESNET in parts else _find_resnet(parts["backbone"])


def _with_maps(resnet: keras.Model) -> keras.Model:
    """Return ResNet50 with two outputs: its deepest maps that are not too coarse, and its own."""
    outputs = [resnet.get_layer(name).output for name in STAGES]
    fine = [output for output in outputs if output.shape[1] >= LEAST_SIDE]
    return keras.Model(resnet.input, [fine[0] if fine else outputs[-1], resnet.output])
