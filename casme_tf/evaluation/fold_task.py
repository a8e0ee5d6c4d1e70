"""One fold: fit on the training side, then look at the test clips once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from casme_tf.arrays import Inputs, digest, rows_of
from casme_tf.datasets.splits import Split
from casme_tf.errors import UserError
from casme_tf.evaluation.fold_files import FoldResult
from casme_tf.evaluation.provenance import Fitted, fit_on, require_training_only
from casme_tf.runs import versions
from casme_tf.training.learners import Learner, as_learner, describe_model

Transform = Callable[[Inputs], Inputs]


@dataclass(frozen=True, eq=False)
class FoldTask:
    """Everything that decides what a fold gives; it can be sent to another process.

    Attributes:
        make_model: Makes a new model; see `as_learner`.
        inputs: Arrays of all clips by name.
        labels: `(n,)` int classes of all clips.
        classes: Number of classes.
        seed: Seed from which each fold's own is derived.
        epochs: Number of epochs.
        batch_size: Clips in a step.
        learning_rate: Of Adam.
        mirror: Mirrors arrays of clips, or None.
        preprocess: Computes from the training clips what is applied to all; the same from
            `fit_on`; or None.
    """

    make_model: Callable[[], Any]
    inputs: Inputs
    labels: np.ndarray
    classes: int
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    mirror: Transform | None
    preprocess: Callable[[Inputs], Transform] | Fitted[Transform] | None

    def start(self) -> Callable[[Split], FoldResult]:
        """Return a function that computes folds, one at a time, with a learner of its own."""
        learner = as_learner(
            self.make_model,
            classes=self.classes,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        return partial(self._run, learner)

    def describe(self, splits: Sequence[Split]) -> dict[str, Any]:
        """Return everything that decides the results, fit for JSON."""
        parts = [[s.name, s.train, s.validation, s.test] for s in splits]
        if isinstance(self.preprocess, Fitted):
            preprocess = f"{self.preprocess.name} of clips {digest(self.preprocess.clips)}"
        else:
            preprocess = _name(self.preprocess)
        return {
            "data": digest([self.inputs, self.labels, self.classes]),
            "protocol": sorted({split.protocol for split in splits}),
            "folds": digest(parts),
            "model": describe_model(self.make_model, self.seed),
            **{name: getattr(self, name) for name in ("seed", "epochs", "batch_size")},
            "learning_rate": self.learning_rate,
            "mirror": _name(self.mirror),
            "preprocess": preprocess,
            "versions": {**versions(), "scikit-learn": version("scikit-learn")},
        }

    def _run(self, learner: Learner, split: Split) -> FoldResult:
        transform = self._transform(split)
        inputs, labels = self._training(rows_of(self.inputs, split.train)), self.labels[split.train]
        validation = None
        if len(split.validation):
            apart = transform(rows_of(self.inputs, split.validation))
            validation = apart, self.labels[split.validation]
        history = learner.fit(
            transform(inputs),
            np.tile(labels, 1 if self.mirror is None else 2),
            validation=validation,
            seed=self._seed(split.name),
        )
        probabilities = learner.predict(transform(rows_of(self.inputs, split.test)))
        return FoldResult(split.name, self._checked(probabilities, split), history)

    def _training(self, inputs: Inputs) -> Inputs:
        """Add mirrored copies, if wanted, after the clips themselves."""
        if self.mirror is None:
            return inputs
        mirrored = self.mirror(inputs)
        shapes = [{name: np.shape(x) for name, x in each.items()} for each in (inputs, mirrored)]
        if shapes[0] != shapes[1]:
            raise UserError(
                "mirror must return arrays of the same names and shapes. "
                f"Received: {shapes[1]} for {shapes[0]}."
            )
        return {name: np.concatenate([x, mirrored[name]]) for name, x in inputs.items()}

    def _transform(self, split: Split) -> Transform:
        """Return what is applied to inputs, if nothing but training clips made it."""
        if self.preprocess is None:
            return lambda inputs: inputs
        if isinstance(self.preprocess, Fitted):
            fitted = self.preprocess
        else:
            compute = self.preprocess
            fitted = fit_on(
                lambda inputs: compute(self._training(inputs)),
                split.train,
                self.inputs,
                name=_name(compute),
            )
        return require_training_only(fitted, split)

    def _seed(self, fold: str) -> int:
        """Return a seed of its own for each fold, whatever other folds there are."""
        sequence = np.random.SeedSequence([self.seed, zlib.crc32(fold.encode())])
        return int(sequence.generate_state(1)[0])

    def _checked(self, probabilities: np.ndarray, split: Split) -> np.ndarray:
        probabilities = np.asarray(probabilities)
        wanted = (len(split.test), self.classes)
        if probabilities.shape != wanted:
            raise UserError(
                f"A model must return one probability a clip and class, {wanted} in fold "
                f"{split.name}. Received: shape {probabilities.shape}."
            )
        if (probabilities < 0).any() or not np.allclose(probabilities.sum(1), 1, atol=1e-3):
            raise UserError(
                f"A clip's probabilities must be from 0 to 1 and add up to 1. Received in fold "
                f"{split.name}: rows that add up to {probabilities.sum(1).min():.3g} and more. "
                "End the network in a softmax, and see whether its loss is a number."
            )
        return probabilities


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
