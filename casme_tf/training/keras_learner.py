"""Fitting one Keras model on fold after fold, without building or tracing it again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from casme_tf.arrays import Inputs
from casme_tf.errors import LeakError, UserError
from casme_tf.files import atomic_file
from casme_tf.training.inputs import vary as vary_clips

__all__ = ["FusedAdam", "KerasLearner", "choose_precision"]

Precision = Literal["float32", "mixed_bfloat16"]

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
_WORTH_IT = 96  # px; of smaller images casting costs what the products save


def choose_precision(network_size: int) -> Precision:
    """Choose the arithmetic of training.

    bfloat16 is chosen where the processor has instructions for it and images are large enough to
    gain by it; elsewhere it would be slower. Weights, losses and sums stay float32.

    Args:
        network_size: Side of the images that the network sees, px.

    Returns:
        "mixed_bfloat16" or "float32".

    Example:
        >>> choose_precision(32)
        'float32'
    """
    if network_size >= _WORTH_IT and _INSTRUCTIONS & _processor_flags():
        return "mixed_bfloat16"
    return "float32"


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Let Keras make layers of a policy, such as "mixed_bfloat16", within a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _processor_flags() -> set[str]:
    """Return the instruction sets of the processor that Linux lists; elsewhere none."""
    if not _CPUINFO.is_file():
        return set()
    lines = _CPUINFO.read_text().splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


class FusedAdam:
    """Keras's Adam with its default decay rates, by TensorFlow's fused kernel.

    `keras.optimizers.Adam` is a dozen operations a variable, each a pass over memory. The numbers
    are the same but for rounding.

    Args:
        variables: What is trained.
        learning_rate: Step size.

    Attributes:
        state: Moments and powers of the decay rates; assign their first values to start again.

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
        """Take one step."""
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


# Keras draws seeds from the generator of the whole process.
_ONE_AT_A_TIME = threading.Lock()


class KerasLearner:
    """Trains a classifier with Adam and cross-entropy, for a fixed number of epochs.

    One model is traced, once. Each fit gives it the variables of a newly made model (weights,
    running statistics, the state of dropout), and Adam starts again: a fit depends on its clips
    and its seed alone. Clips weigh the inverse of their class's share. If there are
    validation clips, the weights of the epoch with the lowest validation loss are kept.

    The running statistics of batch normalization are replaced by their mean over the training
    clips before every prediction: after some hundred steps Keras's own are still stale.

    Whatever is random must come from Keras's layers and initializers, whose states are variables.
    TensorFlow is switched to deterministic operations, for the whole process.

    Args:
        make_model: Makes the model, with newly drawn weights. Its inputs are named as the arrays;
            a single input takes a single array of any name. It ends in a softmax. If it is
            compiled, its optimizer and loss are not used.
        classes: Number of classes.
        epochs: Number of epochs. Default 100.
        batch_size: Clips in a step; the last step of an epoch has what is left. Default 32.
        learning_rate: Of Adam. Default 1e-3.
        vary: Change training clips at random in each epoch; see `inputs.vary`. Default False.

    Attributes:
        model: The model, as the last fit left it.

    Raises:
        UserError: If the model's inputs are not known, or it does not end in one probability a
            class.

    Example:
        >>> def make_model():
        ...     x = keras.Input((2,), name="x")
        ...     return keras.Model(x, keras.layers.Dense(3, activation="softmax")(x))
        >>> learner = KerasLearner(make_model, classes=3, epochs=2)
        >>> history = learner.fit({"x": np.eye(3, 2)}, np.arange(3), validation=None, seed=0)
        >>> history["epoch"].tolist(), learner.predict({"x": np.eye(3, 2)}).shape
        ([0, 1], (3, 3))
    """

    def __init__(
        self,
        make_model: Callable[[], keras.Model],
        *,
        classes: int,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        vary: bool = False,
    ) -> None:
        tf.config.experimental.enable_op_determinism()
        self._make_model = lambda: _functional(make_model())
        self._classes = classes
        self._epochs = epochs
        self._batch_size = batch_size
        self._vary = vary
        self.model = make_seeded(self._make_model, 0)
        self._structure = _inputs_of(self.model)
        if tuple(self.model.output_shape) != (None, classes):
            raise UserError(
                f"A model must return one probability for each of {classes} classes, "
                f"(None, {classes}). Received: output of shape {self.model.output_shape}."
            )
        self._loss = keras.losses.SparseCategoricalCrossentropy()
        self._optimizer = FusedAdam(self.model.trainable_variables, learning_rate)
        self._optimizer_start = [variable.numpy() for variable in self._optimizer.state]
        self._normalizations = [
            layer
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        # The number of clips is left open, so that folds of any size share one trace.
        arrays = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype)
            for name, tensor in self._structure.items()
        }
        whole, real = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
        number = tf.TensorSpec((2,), tf.int32)
        self._train = tf.function(
            self._train_epoch, input_signature=[arrays, whole, real, whole, number]
        )
        self._average = tf.function(self._average_statistics, input_signature=[arrays, whole])
        self._answer = tf.function(self._answer_all, input_signature=[arrays])

    @property
    def traces(self) -> int:
        """How often a training epoch was traced."""
        return self._train.experimental_get_tracing_count()

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
        state: Path | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> pd.DataFrame:
        """Train from the beginning; see `casme_tf.training.learners.Learner`.

        Args:
            inputs: Arrays `(n, ...)` by name of the model's inputs.
            labels: `(n,)` int classes.
            validation: Inputs and classes of the clips that choose the epoch; None if the number
                of epochs is fixed.
            seed: Seed of weights, order, dropout and random changes.
            state: File in which the training is kept after each epoch, to continue from.
            on_epoch: Called with each finished epoch's row.

        Returns:
            One row per epoch: epoch, loss, accuracy and, of validation clips, val_loss and
            val_accuracy.
        """
        self._begin(seed)
        progress = _Progress.load(state, [*self.model.variables, *self._optimizer.state])
        arrays = self._tensors(inputs)
        classes = tf.constant(labels, tf.int32)
        weights = tf.constant(_balanced(np.asarray(labels)), tf.float32)
        rng = np.random.default_rng(seed)
        for epoch in range(self._epochs):
            order = tf.constant(rng.permutation(len(labels)), tf.int32)
            if epoch < len(progress.rows):
                continue
            draw = tf.constant([seed % 2**31, epoch], tf.int32)
            loss, right = self._train(arrays, classes, weights, order, draw)
            row = {"epoch": epoch, "loss": float(loss), "accuracy": float(right)}
            if validation is not None:
                self._reestimate(arrays, order)
                row |= self._score(*validation)
            progress.add(row, self.model.variables)
            progress.save(state, [*self.model.variables, *self._optimizer.state])
            if on_epoch is not None:
                on_epoch(row)
        if progress.best:
            _assign(self.model.variables, progress.best)
        elif validation is None:
            self._reestimate(arrays, order)
        return pd.DataFrame(progress.rows)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities; see `casme_tf.training.learners.Learner`."""
        return self._answer(self._tensors(inputs)).numpy()

    def _begin(self, seed: int) -> None:
        """Put model and optimizer where a new model would begin."""
        fresh = make_seeded(self._make_model, seed)
        ours = {id(variable) for variable in self.model.trainable_variables}
        if any(id(variable) in ours for variable in fresh.trainable_variables):
            raise LeakError(
                "Each fold must have a model of its own. Received: a model with variables that "
                "an earlier fold had. Make all that is trained inside the function that "
                "makes the model."
            )
        shapes = [
            [tuple(variable.shape) for variable in model.variables] for model in (self.model, fresh)
        ]
        if shapes[0] != shapes[1]:
            raise UserError(
                "make_model must make the same network each time. Received: variables of shapes "
                f"{shapes[0]}, then {shapes[1]}."
            )
        _assign(self.model.variables, fresh.variables)
        _assign(self._optimizer.state, self._optimizer_start)

    def _tensors(self, inputs: Inputs) -> dict[str, tf.Tensor]:
        """Return the arrays under the names of the model's inputs."""
        wanted = list(self._structure)
        if len(wanted) == len(inputs) == 1:
            inputs = dict(zip(wanted, inputs.values(), strict=True))
        if set(wanted) != set(inputs):
            raise UserError(
                f"The arrays must be named as the model's inputs, {', '.join(wanted)}. "
                f"Received: {', '.join(inputs)}."
            )
        for name, tensor in self._structure.items():
            if not tf.TensorShape(tensor.shape).is_compatible_with(np.shape(inputs[name])):
                raise UserError(
                    f"The array {name} must have the shape {tuple(tensor.shape)}. "
                    f"Received: {np.shape(inputs[name])}."
                )
        return {
            name: tf.constant(np.asarray(inputs[name], tensor.dtype))
            for name, tensor in self._structure.items()
        }

    def _call(self, arrays: dict[str, tf.Tensor], *, training: bool) -> tf.Tensor:
        """Ask the model, in the form in which it takes its inputs."""
        if isinstance(self.model.input, dict):
            return self.model(arrays, training=training)
        tensors = [arrays[name] for name in self._structure]
        single = not isinstance(self.model.input, (list, tuple))
        return self.model(tensors[0] if single else tensors, training=training)

    def _train_epoch(
        self,
        arrays: dict[str, tf.Tensor],
        labels: tf.Tensor,
        weights: tf.Tensor,
        order: tf.Tensor,
        draw: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take one step a batch, the clips in this order; return mean loss and accuracy."""
        count = tf.size(order)
        total, right = 0.0, 0.0
        for start in tf.range(0, count, self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = {name: tf.gather(array, rows) for name, array in arrays.items()}
            if self._vary:
                batch = vary_clips(batch, draw * [1, count] + [0, start])
            truth = tf.gather(labels, rows)
            with tf.GradientTape() as tape:
                probabilities = self._call(batch, training=True)
                loss = self._loss(truth, probabilities, sample_weight=tf.gather(weights, rows))
                loss += tf.add_n([0.0, *self.model.losses])
            self._optimizer.apply(tape.gradient(loss, self.model.trainable_variables))
            total += loss * tf.cast(tf.size(rows), tf.float32)
            hits = tf.argmax(probabilities, -1, tf.int32) == truth
            right += tf.reduce_sum(tf.cast(hits, tf.float32))
        return total / tf.cast(count, tf.float32), right / tf.cast(count, tf.float32)

    def _reestimate(self, arrays: dict[str, tf.Tensor], order: tf.Tensor) -> None:
        """Replace running statistics by their mean over the training clips, batch by batch."""
        if not self._normalizations:
            return
        momenta = [layer.momentum for layer in self._normalizations]
        for layer in self._normalizations:
            layer.momentum = 0.0  # when traced: each batch leaves its own statistics
        self._average(arrays, order)
        for layer, momentum in zip(self._normalizations, momenta, strict=True):
            layer.momentum = momentum

    def _average_statistics(self, arrays: dict[str, tf.Tensor], order: tf.Tensor) -> None:
        statistics = [s for layer in self._normalizations for s in layer.non_trainable_variables]
        totals = [tf.zeros(variable.shape) for variable in statistics]
        for start in tf.range(0, tf.size(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = {name: tf.gather(array, rows) for name, array in arrays.items()}
            self._call(batch, training=True)
            share = tf.size(rows) / tf.size(order)
            totals = [
                total + tf.cast(share, tf.float32) * variable
                for total, variable in zip(totals, statistics, strict=True)
            ]
        for variable, total in zip(statistics, totals, strict=True):
            variable.assign(total)

    def _answer_all(self, arrays: dict[str, tf.Tensor]) -> tf.Tensor:
        count = tf.shape(next(iter(arrays.values())))[0]
        parts = tf.TensorArray(
            tf.float32, size=0, dynamic_size=True, element_shape=(None, self._classes)
        )
        for start in tf.range(0, count, self._batch_size):
            batch = {name: x[start : start + self._batch_size] for name, x in arrays.items()}
            answer = tf.cast(self._call(batch, training=False), tf.float32)
            parts = parts.write(parts.size(), answer)
        return parts.concat()

    def _score(self, inputs: Inputs, labels: np.ndarray) -> dict[str, float]:
        probabilities = self.predict(inputs).astype(np.float64)
        of_truth = probabilities[np.arange(len(labels)), labels]
        return {
            "val_loss": float(-np.log(of_truth.clip(keras.backend.epsilon())).mean()),
            "val_accuracy": float((probabilities.argmax(1) == labels).mean()),
        }


def _functional(model: keras.Model) -> keras.Model:
    """Return a Sequential model as a functional one, whose inputs are known."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs)
    return model


def make_seeded(make_model: Callable[[], keras.Model], seed: int) -> keras.Model:
    """Make a model whose weights and dropout are drawn from the seed."""
    with _ONE_AT_A_TIME:
        keras.utils.set_random_seed(seed)
        return make_model()


@dataclass
class _Progress:
    """The finished epochs of a training, and the best weights so far."""

    rows: list[dict[str, float]]
    best: list[np.ndarray]

    @classmethod
    def load(cls, path: Path | None, variables: list[Any]) -> _Progress:
        """Read an interrupted training and put the variables where it was; or begin."""
        if path is None or not path.is_file():
            return cls([], [])
        with np.load(path, allow_pickle=False) as saved:
            _assign(variables, [saved[f"now/{i}"] for i in range(len(variables))])
            best = [saved[name] for name in saved.files if name.startswith("best/")]
            return cls(json.loads(str(saved["rows"])), best)

    def add(self, row: dict[str, float], variables: list[Any]) -> None:
        """Add an epoch; its weights are the best if its validation loss is the lowest."""
        lowest = min((r["val_loss"] for r in self.rows if "val_loss" in r), default=np.inf)
        if row.get("val_loss", np.inf) < lowest:
            self.best = [variable.numpy() for variable in variables]
        self.rows.append(row)

    def save(self, path: Path | None, variables: list[Any]) -> None:
        """Write everything, if a file is named."""
        if path is None:
            return
        arrays = {f"now/{i}": variable.numpy() for i, variable in enumerate(variables)}
        arrays |= {f"best/{i}": value for i, value in enumerate(self.best)}
        with atomic_file(path) as temporary:
            np.savez(temporary, allow_pickle=False, rows=np.array(json.dumps(self.rows)), **arrays)


def _inputs_of(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Return the model's inputs by name."""
    if not getattr(model, "inputs", None):
        raise UserError(
            "A Keras model must know its inputs, as functional models do. Received: "
            f"{type(model).__name__} without any. Begin it with keras.Input."
        )
    if isinstance(model.input, dict):
        return dict(model.input)
    return {tensor.name: tensor for tensor in model.inputs}


def _balanced(labels: np.ndarray) -> np.ndarray:
    """Weigh each clip by the inverse of its class's share, `(n,)`."""
    present, index = np.unique(labels, return_inverse=True)
    return compute_class_weight("balanced", classes=present, y=labels)[index]


def _assign(variables: list[Any], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
