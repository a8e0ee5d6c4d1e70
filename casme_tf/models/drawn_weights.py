"""The weights of motion_net that come with this package, and files of their kind."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from casme_tf.errors import UserError

FOLDER = Path(__file__).with_name("drawn_motion_net")
"""Where this package keeps its weights and what is known of them."""

WEIGHTS = "weights.npz"
TRAINING = "training.json"
"""How the weights were made, and the thresholds that belong to them."""


def drawn_file() -> Path:
    """Return the file of the weights that come with this package."""
    return FOLDER / WEIGHTS


def read_training(weights: Path) -> dict[str, Any]:
    """Return how weights were made: the content of training.json beside them.

    Raises:
        UserError: If there is none.
    """
    path = weights.with_name(TRAINING)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"Weights of motion_net must have {TRAINING} beside them, as pretrain writes it. "
            f"Received: {weights} ({type(error).__name__})."
        ) from None


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a weights file, by `layer/variable`.

    Raises:
        UserError: If it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Weights of motion_net must be a file {WEIGHTS} that pretrain wrote. Received: {path} "
            f"({type(error).__name__})."
        ) from None


def write_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights; the same weights give the same bytes."""
    np.savez(path, allow_pickle=False, **{n: v.numpy() for n, v in _variables(model).items()})


def assign_weights(model: keras.Model, arrays: dict[str, np.ndarray], *, skip: str = "") -> None:
    """Give the layers of a model the weights of the same names.

    Args:
        model: Model whose layers are those of `motion_net`; it need not have all of them.
        arrays: From `read_weights`.
        skip: Name of a layer that keeps its own weights.

    Raises:
        UserError: If weights are missing or have another shape.
    """
    for name, variable in _variables(model).items():
        if name.split("/")[0] == skip:
            continue
        found = arrays[name].shape if name in arrays else "nothing"
        if found != tuple(variable.shape):
            raise UserError(
                f"Weights of motion_net must have {name} of shape {tuple(variable.shape)}. "
                f"Received: {found}. Make them with: casme-tf pretrain"
            )
        variable.assign(arrays[name])


def _variables(model: keras.Model) -> dict[str, Any]:
    return {
        f"{layer.name}/{variable.name}": variable
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.Model)
        for variable in layer.weights
        if "seed" not in variable.name
    }
