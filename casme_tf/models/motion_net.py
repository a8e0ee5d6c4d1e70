"""The architecture motion_net, and what it answers with the weights of this package.

Flow and strain on 28 × 28 cells go through a small network; its weights are learned from drawings.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS, FOUR, MEGC3, Scheme
from casme_tf.layers import FarnebackFlow, NormalizeMotion, RGBToGray, UVStrain
from casme_tf.models.architecture import pair_inputs

__all__ = [
    "load",
    "load_recognizer",
    "motion_classifier",
    "threshold",
]

FRAME = 224
"""Side of a crop, px, that strengths refer to."""

SIZE = 28
"""Side of the motion's image, cells."""

CHANNELS = 6
"""Channels of the motion once it is normalized; see `NormalizeMotion`."""

EMBEDDING = 80
"""Length of what all heads share."""

CONVOLUTIONS = ("half", "half_more", "quarter", "quarter_more", "narrow")
"""Names of the convolutions, in their order; the layer `…_norm` after each normalizes it."""

DRAWN_SCHEMES = {scheme.name: scheme for scheme in (FOUR, MEGC3)}
"""The class schemes that the drawn weights answer in."""

CLASS_HEADS = {len(scheme.classes): name for name, scheme in DRAWN_SCHEMES.items()}
"""Name of the head by its number of classes."""


def trunk(image: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Apply what all heads share: some convolutions, and one dense layer that knows places."""
    x = _conv(image, 48, "half", kernel=4, stride=2)  # (B, 14, 14, 48)
    x = keras.layers.Add(name="half_sum")([x, _conv(x, 48, "half_more")])
    x = _conv(x, 96, "quarter", stride=2)  # (B, 7, 7, 96)
    x = keras.layers.Add(name="quarter_sum")([x, _conv(x, 96, "quarter_more")])
    x = _conv(x, 24, "narrow", kernel=1)
    x = keras.layers.Flatten(name="flatten")(x)  # where something moves matters: no pooling
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.layers.Dense(EMBEDDING, activation="relu", name="embedding")(x)


def even_embedding(image: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Embed motion and its mirror image, and average: left and right make no difference."""
    signs = np.array([-1, 1, 1, 1, -1, 1], np.float32)  # dx and shear turn round
    mirrored = keras.ops.flip(image, axis=2) * signs
    both = trunk(keras.ops.concatenate([image, mirrored], axis=0), dropout)
    return keras.layers.Average(name="even")(keras.ops.split(both, 2, axis=0))


def head_logits(embedding: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Apply every head, without the last function of each."""
    lengths = {"action_units": len(ACTION_UNITS), "strengths": len(ACTION_UNITS), "expression": 1}
    lengths |= {scheme.name: len(scheme.classes) for scheme in DRAWN_SCHEMES.values()}
    return {
        name: keras.layers.Dense(length, dtype="float32", name=name)(embedding)
        for name, length in lengths.items()
    }


def class_probabilities(
    classes: keras.KerasTensor, expression: keras.KerasTensor, suffix: str = ""
) -> keras.KerasTensor:
    """Turn logits into probabilities that are all equal where nothing is expressed.

    The suffix is that of the layers' names, for a model with several heads.
    """
    even = 1 / classes.shape[-1]
    likely = keras.layers.Softmax(name=f"class_if_any{suffix}")(classes)
    shown = keras.layers.Activation("sigmoid", name=f"anything{suffix}")(expression)
    # Not by adding (1 − p) / C: Keras takes (C, 1) that is added to (C, C) for a bias of C columns.
    beyond_even = keras.layers.Rescaling(1.0, -even, name=f"beyond_even{suffix}")(likely)
    beyond_even = keras.layers.Multiply(name=f"class_and_any{suffix}")([beyond_even, shown])
    return keras.layers.Rescaling(1.0, even, name=f"probabilities{suffix}")(beyond_even)


def _conv(
    x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 3, stride: int = 1
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.98, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


FOLDER = Path(__file__).with_name("drawn_motion_net")
"""Where this package keeps its weights and what is known of them."""

WEIGHTS = "weights.npz"
TRAINING = "training.json"
"""How the weights were made, and the thresholds that belong to them."""


def drawn_file() -> Path:
    """Return the file of the weights that come with this package."""
    return FOLDER / WEIGHTS


def read_training(weights: Path) -> dict[str, Any]:
    """Return how weights were made: the content of training.json next to them."""
    path = weights.with_name(TRAINING)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"Weights of motion_net must have {TRAINING} next to them, as pretrain writes it. "
            f"Received: {weights} ({type(error).__name__})."
        ) from None


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a weights file, by `layer/variable`."""
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
    """Give the layers of a model the weights of the same names."""
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


def motion_classifier(
    *,
    frame_size: int = 224,
    network_size: int | None = None,
    classes: int = 4,
    weights: str = "drawn",
    dropout: float = 0.1,
    head_motion: str | None = None,
) -> keras.Model:
    """Build the classifier of the motion from onset to apex.

    Args:
        frame_size: Side of the frames, px; flow is computed at this size.
        network_size: Not used: the network always sees 28 × 28 cells.
        classes: Number of classes.
        weights: See `motion_network`.
        dropout: Share dropped before the dense layer.
        head_motion: What `UVStrain` subtracts. Default None: `NormalizeMotion` does it.

    Input shape:
        Dictionary with `onset` and `apex`, each `(B, frame_size, frame_size, 3)` uint8 RGB.

    Output shape:
        `(B, classes)` float32 probabilities.

    Raises:
        UserError: If the weights cannot be had or do not fit.

    Example:
        >>> model = motion_classifier(frame_size=64)
        >>> frames = keras.ops.zeros((2, 64, 64, 3), "uint8")
        >>> model({"onset": frames, "apex": frames}).shape
        TensorShape([2, 4])
    """
    inputs = pair_inputs(frame_size)
    motion = pair_motion(frame_size, head_motion=head_motion)
    encoding = NormalizeMotion(name="encoding")
    network = motion_network(classes=classes, weights=weights, dropout=dropout)
    return keras.Model(inputs, network(encoding(motion(inputs))), name="motion_net")


def motion_network(
    *, classes: int = 4, weights: str = "drawn", dropout: float = 0.1
) -> keras.Model:
    """Build what has weights, from normalized motion to probabilities."""
    image = keras.Input((SIZE, SIZE, CHANNELS), name="image")
    embedding = even_embedding(image, dropout)
    shown = keras.layers.Dense(1, dtype="float32", name="expression")(embedding)
    head = CLASS_HEADS.get(classes, "classes")
    logits = keras.layers.Dense(classes, dtype="float32", name=head)(embedding)
    network = keras.Model(image, class_probabilities(logits, shown), name="network")
    if weights != "none":
        path = drawn_file() if weights == "drawn" else Path(weights)
        assign_weights(network, read_weights(path), skip="classes")
        for name in CONVOLUTIONS:
            network.get_layer(name).trainable = False
            network.get_layer(f"{name}_norm").trainable = False
    return network


def motion_model(
    *, classes: int = 4, weights: str = "drawn", dropout: float = 0.1, **_: object
) -> keras.Model:
    """Build the classifier of motion that was computed beforehand."""
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    network = motion_network(classes=classes, weights=weights, dropout=dropout)
    return keras.Model(motion, network(NormalizeMotion(name="encoding")(motion)), name="motion_net")


def pair_motion(frame_size: int, *, head_motion: str | None = None) -> keras.Model:
    """Build the weightless part, from the pair to motion `(B, 28, 28, 3)`; see `UVStrain`."""
    inputs = pair_inputs(frame_size)
    gray = RGBToGray(name="gray")
    flow = FarnebackFlow(name="flow")([gray(inputs["onset"]), gray(inputs["apex"])])
    cells = UVStrain(SIZE, head_motion=head_motion, name="cells")(flow)
    return keras.Model(inputs, cells, name="motion")


def load(scheme: str = "four", *, weights: Path | None = None) -> keras.Model:
    """Return the classifier of motion.

    Args:
        scheme: Classes: "four" (default), those of `labels.FOUR`, or "megc3", of `labels.MEGC3`.
        weights: A weights.npz of `pretrain`. Default: the one of this package.

    Returns:
        A model from `motion` `(B, 28, 28, 3)`, as from `UVStrain` (dx and dy in any unit, strain
        in px per px, with or without the head's motion), to `probabilities` `(B, C)`. Where
        nothing is expressed they are all equal; see `threshold`.

    Raises:
        UserError: If there is no such scheme, or the weights are none.

    Example:
        >>> load("megc3")(keras.ops.zeros((1, 28, 28, 3))).shape
        TensorShape([1, 3])
    """
    _scheme(scheme)
    motion, heads = _heads(weights)
    probabilities = class_probabilities(heads[scheme], heads["expression"])
    return keras.Model(motion, probabilities, name=f"motion_net_{scheme}")


def load_action_units(*, weights: Path | None = None) -> keras.Model:
    """Return the detector of action units."""
    motion, heads = _heads(weights)
    return keras.Model(motion, _units(heads), name="motion_net_units")


def load_recognizer(*, weights: Path | None = None) -> keras.Model:
    """Return the model from a pair of frames to all answers, its optical flow in the graph.

    Its outputs are `motion`, `expression`, `action_units`, `strengths` and, by the name of each of
    `DRAWN_SCHEMES`, the probabilities of its classes; see `export.artifacts.Recognition`.
    """
    image, heads = _heads(weights)
    answers = {
        name: class_probabilities(heads[name], heads["expression"], f"_{name}")
        for name in DRAWN_SCHEMES
    }
    answers |= {"expression": keras.ops.sigmoid(heads["expression"]), **_units(heads)}
    inputs = pair_inputs(FRAME)
    motion = pair_motion(FRAME)(inputs)
    network = keras.Model(image, answers, name="network")
    return keras.Model(inputs, {"motion": motion, **network(motion)}, name="recognizer")


def threshold(scheme: str = "four", *, weights: Path | None = None) -> float:
    """Return the probability below which the likeliest class is no clear expression."""
    return read_training(weights or drawn_file())["thresholds"][_scheme(scheme).name]


def _heads(weights: Path | None) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """Return the input and the logits of all heads, with their weights."""
    motion = keras.Input((SIZE, SIZE, 3), name="motion")
    image = NormalizeMotion(name="encoding")(motion)
    heads = head_logits(even_embedding(image, dropout=0.0))
    assign_weights(keras.Model(motion, heads), read_weights(weights or drawn_file()))
    return motion, heads


def _units(heads: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
    return {
        "action_units": keras.ops.sigmoid(heads["action_units"]),
        "strengths": keras.ops.exp(heads["strengths"]),
    }


def _scheme(name: str) -> Scheme:
    if name not in DRAWN_SCHEMES:
        raise UserError(
            f"The scheme must be one of {', '.join(DRAWN_SCHEMES)}: other classes have no drawn "
            f"emotions. Received: {name!r}."
        )
    return DRAWN_SCHEMES[name]
