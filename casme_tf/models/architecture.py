"""What every architecture has in common, so that training and export need not know which it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import keras

from casme_tf.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained unless told otherwise.

    Attributes:
        batch_size: Clips in a step.
        epochs: Largest number of epochs.
        patience: Epochs without a better validation loss before training stops.
        dropout: Share of units dropped in the classifier.
    """

    batch_size: int
    epochs: int
    patience: int
    dropout: float


@dataclass(frozen=True)
class Architecture:
    """One way from two frames to class probabilities.

    The model that `build` makes has two or three layers that are models or layers themselves:
    `motion`, weightless, from the pair to what is cached for each clip; `encoding`, weightless
    and optional, from there to the network's input; and `network`, which has all the weights.

    Attributes:
        name: Name on the command line.
        build: Makes the model; takes `frame_size`, `network_size`, `classes`, `weights` and
            `dropout` by name.
        motion: What `motion` gives: a flow field, or the pair of frames itself.
        recipe: How it is trained unless told otherwise.
        weights: What it begins with unless told otherwise.
        network_size: Side of what the network sees, px, if that cannot be chosen.
    """

    name: str
    build: Callable[..., keras.Model]
    motion: Literal["flow", "pair"]
    recipe: Recipe
    weights: str = "imagenet"
    network_size: int | None = None


def pair_inputs(frame_size: int) -> dict[str, keras.KerasTensor]:
    """Return the inputs that every model has: `onset` and `apex`, `(B, S, S, 3)` uint8 RGB."""
    shape = (frame_size, frame_size, 3)
    return {name: keras.Input(shape, dtype="uint8", name=name) for name in ("onset", "apex")}


def split_model(model: keras.Model) -> tuple[keras.Model, keras.layers.Layer | None, keras.Model]:
    """Take a classifier apart into its motion, its encoding (or None) and its network.

    Raises:
        UserError: If the model was not built by one of this package's architectures.
    """
    parts = {layer.name: layer for layer in model.layers}
    if not {"motion", "network"} <= parts.keys():
        raise UserError(
            "A model must have the parts 'motion' and 'network', as every model trained with this "
            f"package has. Received: a model with the layers {', '.join(sorted(parts))}."
        )
    return parts["motion"], parts.get("encoding"), parts["network"]
