"""Fitting one Keras model on fold after fold, without building or tracing it again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from casme_tf.arrays import Inputs
from casme_tf.errors import UserError


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


# Keras draws seeds from the generator of the whole process.
_ONE_AT_A_TIME = threading.Lock()


class KerasLearner:
    """Trains a classifier with Adam and cross-entropy, for a fixed number of epochs.

    One model is traced, once. Each fit gives it the variables of a newly made model (weights,
    running statistics, the state of dropout), and Adam begins anew: a fit depends on its clips
    and its seed alone. Clips weigh the inverse of their class's share. If there are
    validation clips, the weights of the epoch with the lowest validation loss are kept.

    The running statistics of batch normalisation are replaced by their mean over the training
    clips whenever the model is asked: after some hundred steps Keras's own are still stale.

    Whatever is random must come from Keras's layers and initializers, whose states are variables.
    TensorFlow is switched to deterministic operations, for the whole process.

    Args:
        make_model: Makes the model, with weights drawn anew. Its inputs are named as the arrays;
            a single input takes a single array of any name. It ends in a softmax. If it is
            compiled, its optimizer and loss are not used.
        classes: Number of classes.
        epochs: Number of epochs. Default 100.
        batch_size: Clips in a step; the last step of an epoch has what is left. Default 32.
        learning_rate: Of Adam. Default 1e-3.

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
    ) -> None:
        tf.config.experimental.enable_op_determinism()
        self._make_model = lambda: _functional(make_model())
        self._classes = classes
        self._epochs = epochs
        self._batch_size = batch_size
        self.model = self._make_model()
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
        self._train = tf.function(self._train_epoch, input_signature=[arrays, whole, real, whole])
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
    ) -> pd.DataFrame:
        """Train anew; see `casme_tf.training.learners.Learner`."""
        self._begin(seed)
        arrays = self._tensors(inputs)
        classes = tf.constant(labels, tf.int32)
        weights = tf.constant(_balanced(np.asarray(labels)), tf.float32)
        rng = np.random.default_rng(seed)
        rows = []
        best: list[np.ndarray] = []
        best_loss = np.inf
        for epoch in range(self._epochs):
            order = tf.constant(rng.permutation(len(labels)), tf.int32)
            loss, right = self._train(arrays, classes, weights, order)
            row = {"epoch": epoch, "loss": float(loss), "accuracy": float(right)}
            if validation is not None:
                self._reestimate(arrays, order)
                row |= self._score(*validation)
                if row["val_loss"] < best_loss:
                    best_loss = row["val_loss"]
                    best = [variable.numpy() for variable in self.model.variables]
            rows.append(row)
        if best:
            _assign(self.model.variables, best)
        elif validation is None:
            self._reestimate(arrays, order)
        return pd.DataFrame(rows)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities; see `casme_tf.training.learners.Learner`."""
        return self._answer(self._tensors(inputs)).numpy()

    def _begin(self, seed: int) -> None:
        """Put model and optimizer where a new model would begin."""
        fresh = make_seeded(self._make_model, seed)
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
        self, arrays: dict[str, tf.Tensor], labels: tf.Tensor, weights: tf.Tensor, order: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take one step a batch, the clips in this order; return mean loss and accuracy."""
        count = tf.size(order)
        total, right = 0.0, 0.0
        for start in tf.range(0, count, self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = {name: tf.gather(array, rows) for name, array in arrays.items()}
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
    """Return a Sequential model as a functional one, whose inputs can be asked for."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs)
    return model


def make_seeded(make_model: Callable[[], keras.Model], seed: int) -> keras.Model:
    """Make a model whose weights and dropout are drawn from the seed."""
    with _ONE_AT_A_TIME:
        keras.utils.set_random_seed(seed)
        return make_model()


def describe_layers(model: keras.Model) -> list[Any]:
    """Return type and settings of each layer, without names, which differ between processes."""
    described: list[Any] = []
    for layer in model._flatten_layers():
        # A model within a model is its layers.
        config = {} if isinstance(layer, keras.Model) else layer.get_config()
        text = json.dumps(config, default=lambda value: type(value).__name__)
        described.append([type(layer).__name__, _without_names(json.loads(text))])
    return described


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_names(each) for key, each in value.items() if key != "name"}
    return [_without_names(each) for each in value] if isinstance(value, list) else value


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
