"""What all architectures have in common, so that training and export need not know which it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from casme_tf.errors import UserError

__all__ = ["Architecture", "Fit", "Recipe", "split_model"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained by default.

    Attributes:
        epochs: Number of epochs; the largest number where validation subjects choose the epoch.
        batch_size: Clips per step.
        learning_rate: Step size of Adam.
        dropout: Share of units dropped in training.
        vary: Change each training clip at random in each epoch, instead of adding mirrored copies.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float
    vary: bool = False


@dataclass(frozen=True)
class Fit:
    """How the weights of an architecture are fitted.

    Attributes:
        inputs: What is computed once per clip; the name of a property of
            `casme_tf.training.inputs.ClipInputs`.
        build: Makes an untrained model of these inputs; takes `classes`, `frame_size`,
            `network_size`, `dropout` and `weights` by name.
        recipe: How it is trained; None for what has no epochs.
        untrained: The recipe from random weights, where that takes another one.
        part: Name of the part of `network` that is fitted; None for all of it.
    """

    inputs: str
    build: Callable[..., Any]
    recipe: Recipe | None = None
    untrained: Recipe | None = None
    part: str | None = None


@dataclass(frozen=True)
class Architecture:
    """One way from two frames to class probabilities.

    The model that `build` makes has two or three layers that are models or layers themselves:
    `motion`, weightless, from the pair to what is cached for each clip; `encoding`, weightless
    and optional, from there to the network's input; and `network`, which has all the weights.

    Attributes:
        name: Name on the command line.
        about: What it is, for the model card.
        fits: How it is fitted, by what is done with its backbone; under "" without a backbone.
        build: Makes the model from a pair; takes `frame_size`, `network_size`, `classes`,
            `weights`, `dropout` and `head_motion` by name; where nothing is fitted by epochs, the
            fitted model, `frame_size` and `head_motion`. None for what is tested only.
        weights: First weights by default; None without any.
        settings: Further settings that decide its predictions.
        mirrored: Whether a mirrored copy of a clip is another clip to it.
        network_size: Side of what the network sees, px, if that is fixed.
    """

    name: str
    about: str
    fits: dict[str, Fit]
    build: Callable[..., keras.Model] | None = None
    weights: str | None = None
    settings: tuple[str, ...] = ()
    mirrored: bool = True
    network_size: int | None = None

    def fit(self, backbone: str) -> Fit:
        """Return how it is fitted with its backbone "frozen" or "trained"."""
        return self.fits.get(backbone) or self.fits[""]


def pair_inputs(frame_size: int) -> dict[str, keras.KerasTensor]:
    """Return the inputs that every model has: `onset` and `apex`, `(B, S, S, 3)` uint8 RGB."""
    shape = (frame_size, frame_size, 3)
    return {name: keras.Input(shape, dtype="uint8", name=name) for name in ("onset", "apex")}


def split_model(model: keras.Model) -> tuple[keras.Model, keras.layers.Layer | None, keras.Model]:
    """Split a classifier into its motion, its encoding (or None) and its network.

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
