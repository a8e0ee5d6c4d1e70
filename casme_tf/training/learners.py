"""What `train` and each fold do: an architecture's options become a model, fitted on some clips."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import BaseEstimator, clone

from casme_tf.arrays import Inputs, rows_of
from casme_tf.datasets.databases import database_of
from casme_tf.datasets.pairs import SchemeClips
from casme_tf.datasets.splits import Split
from casme_tf.errors import UserError
from casme_tf.models import ARCHITECTURES, Architecture, Fit, Recipe
from casme_tf.models.motion_net import drawn_file
from casme_tf.training.inputs import ClipInputs
from casme_tf.training.keras_learner import KerasLearner, choose_precision, dtype_policy
from casme_tf.training.settings import FitConfig


class Learner(Protocol):
    """What can be fitted on clips and predict others; each fit starts from the beginning."""

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> pd.DataFrame | None:
        """Fit on arrays `(n, ...)` by name and `(n,)` int classes; return one row per epoch."""
        ...

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return the probability of each class, `(m, C)`, for arrays `(m, ...)` by name."""
        ...


def as_learner(
    make_model: Callable[[], Any],
    *,
    classes: int,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
) -> Learner:
    """Wrap the models that a function makes in a common interface."""
    _require_maker(make_model)
    model = make_model()
    if isinstance(model, BaseEstimator):
        return SklearnLearner(make_model, classes=classes)
    if isinstance(model, keras.Model):
        return KerasLearner(
            make_model,
            classes=classes,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
    raise UserError(
        "make_model must return a keras.Model or a scikit-learn classifier. "
        f"Received: {type(model).__name__}."
    )


def _require_maker(make_model: Any) -> None:
    if callable(make_model) and not isinstance(make_model, (BaseEstimator, keras.Model)):
        return
    raise UserError(
        "make_model must be a function that makes a new model for each fold, such as "
        f"lambda: {type(make_model).__name__}(…). Received: a {type(make_model).__name__} itself."
    )


class SklearnLearner:
    """Fits scikit-learn classifiers on the inputs laid out as one row of numbers a clip."""

    def __init__(self, make_model: Callable[[], Any], *, classes: int) -> None:
        self._make_model = make_model
        self._classes = classes

    def fit(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        *,
        validation: tuple[Inputs, np.ndarray] | None,
        seed: int,
    ) -> None:
        """Fit a new classifier; see `Learner`."""
        model = clone(self._make_model())  # what was fitted before is forgotten
        drawn = [
            name
            for name, value in model.get_params().items()
            if name.split("__")[-1] == "random_state" and value is None
        ]
        model.set_params(**dict.fromkeys(drawn, seed))
        self.model = model.fit(_flatten(inputs), labels)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities; see `Learner`."""
        rows = _flatten(inputs)
        probabilities = np.zeros((len(rows), self._classes))
        probabilities[:, self.model.classes_] = _probabilities(self.model, rows)
        return probabilities


def _probabilities(model: Any, rows: np.ndarray) -> np.ndarray:
    """Return `(m, C)` for the classes that a fitted classifier knows."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    if hasattr(model, "decision_function"):
        scores = np.asarray(model.decision_function(rows))
        if scores.ndim == 1:  # two classes
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        return softmax(scores, axis=1)
    return (model.predict(rows)[:, None] == model.classes_).astype(float)


def _flatten(inputs: Inputs) -> np.ndarray:
    """Lay out every clip as one row, `(n, numbers)`."""
    return np.concatenate([np.reshape(array, (len(array), -1)) for array in inputs.values()], 1)


Transform = Callable[[Inputs], Inputs]


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Result of one fold."""

    name: str
    probabilities: np.ndarray
    history: pd.DataFrame | None


def run_fold(
    learner: Learner,
    inputs: Inputs,
    labels: np.ndarray,
    split: Split,
    *,
    classes: int,
    seed: int,
    mirror: Transform | None,
) -> FoldResult:
    """Fit a learner on copies of a fold's training clips, then predict its test clips."""
    validation = None
    if len(split.validation):
        validation = rows_of(inputs, split.validation), labels[split.validation]
    history = learner.fit(
        *training_side(inputs, labels, split.train, mirror),
        validation=validation,
        seed=fold_seed(seed, split.name),
    )
    probabilities = np.asarray(learner.predict(rows_of(inputs, split.test)))
    wanted = (len(split.test), classes)
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
    return FoldResult(split.name, probabilities, history)


def training_side(
    inputs: Inputs, labels: np.ndarray, train: np.ndarray, mirror: Transform | None
) -> tuple[Inputs, np.ndarray]:
    """Return copies of the training clips and their classes, then their mirrored copies if any."""
    rows = rows_of(inputs, train)
    if mirror is None:
        return rows, labels[train]
    mirrored = mirror(rows)
    shapes = [{name: np.shape(x) for name, x in each.items()} for each in (rows, mirrored)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "mirror must return arrays of the same names and shapes. "
            f"Received: {shapes[1]} for {shapes[0]}."
        )
    both = {name: np.concatenate([x, mirrored[name]]) for name, x in rows.items()}
    return both, np.tile(labels[train], 2)


def fold_seed(seed: int, fold: str) -> int:
    """Return a seed for each fold that does not depend on the other folds."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(fold.encode())])
    return int(sequence.generate_state(1)[0])


PUBLISHED = ("imagenet", "drawn", "none")
"""Weights that no clip of a corpus of micro-expressions has trained."""

_COMMON = ("scheme", "frame_size", "seed")


@dataclass(frozen=True, eq=False)
class Fitting:
    """One architecture with all its options; the same in `train` and in each fold."""

    architecture: Architecture
    fit: Fit
    recipe: Recipe | None
    settings: dict[str, Any]
    classes: int

    @property
    def make_model(self) -> Callable[[], Any]:
        """A function that makes an untrained model, and that other processes can be sent."""
        return partial(_make, self.fit.build, self.settings["precision"], self._options)

    @property
    def augments(self) -> bool:
        """Whether mirrored copies of the training clips are added."""
        varied = self.recipe is not None and self.recipe.vary
        return bool(self.settings["augment"] and self.architecture.mirrored and not varied)

    def inputs(self, clips: ClipInputs) -> Inputs:
        """Return what the model is trained on."""
        return getattr(clips, self.fit.inputs)

    def learner(self) -> Learner:
        """Return a new learner for one fold after another."""
        if self.recipe is None:
            return as_learner(self.make_model, classes=self.classes)
        return KerasLearner(
            self.make_model,
            classes=self.classes,
            epochs=self.recipe.epochs,
            batch_size=self.recipe.batch_size,
            learning_rate=self.recipe.learning_rate,
            vary=self.recipe.vary and self.settings["augment"],
        )

    def pair_model(self, learner: Any, clips: ClipInputs) -> Any:
        """Return the classifier of pairs of frames with the weights that a learner has fitted."""
        assert self.architecture.build is not None
        if self.recipe is None:
            size = self.settings["frame_size"]
            build = self.architecture.build
            return build(learner.model, frame_size=size, head_motion=clips.head_motion)
        frozen = self.fit.part is not None
        options = self._options | ({"weights": "none"} if frozen else {})
        model = self.architecture.build(**options, head_motion=clips.head_motion)
        network = model.get_layer("network")
        if frozen:
            network.get_layer("backbone").set_weights(clips.backbone.get_weights())
        fitted = network.get_layer(self.fit.part) if frozen else network
        fitted.set_weights(learner.model.get_weights())
        return model

    @property
    def _options(self) -> dict[str, Any]:
        names = ("frame_size", "network_size", "weights", "dropout")
        return {name: self.settings[name] for name in names} | {"classes": self.classes}

    def record(self, config: FitConfig, run: str, **more: Any) -> dict[str, Any]:
        """Return the settings to record with a run: those that decide its predictions."""
        architecture, names = self.architecture, list(_COMMON)
        names += architecture.settings
        names += ["network_size"] if architecture.network_size else []
        names += ["augment"] if architecture.mirrored else []
        names += ["weights"] if architecture.weights else []
        names += ["precision"] if self.recipe and self.recipe.vary else []
        recipe = self.recipe
        trained = ("epochs", "batch_size", "learning_rate", "dropout") if recipe else ()
        names += [*trained, "choose_epoch"] if recipe else []
        data_dir = config.data_dir and config.data_dir.expanduser().resolve()
        where = {"arch": architecture.name, "run": run, "runs": config.runs, "data_dir": data_dir}
        where["data"] = [database_of(name).name for name in config.data]
        record = {**where, **more, **{name: self.settings[name] for name in names}}
        if record.get("weights") == "drawn":  # another version may bring others
            content = drawn_file().read_bytes()
            record["drawn_weights"] = hashlib.blake2b(content, digest_size=8).hexdigest()
        return record


def resolve(name: str, config: FitConfig, classes: int) -> Fitting:
    """Fill in what the options leave to the architecture."""
    architecture = ARCHITECTURES[name]
    fit = architecture.fit(config.backbone)
    weights = config.weights or architecture.weights
    if weights is not None and architecture.weights is not None:
        _require_weights(architecture, weights)
    size = architecture.network_size or config.network_size or config.frame_size
    settings = asdict(config) | {"network_size": size, "weights": weights}
    recipe = fit.untrained if weights == "none" and fit.untrained else fit.recipe
    if recipe is not None:
        if config.choose_epoch:
            recipe = replace(recipe, epochs=2 * recipe.epochs)
        given = {f.name: getattr(config, f.name, None) for f in fields(Recipe)}
        recipe = replace(recipe, **{key: x for key, x in given.items() if x is not None})
        settings |= asdict(recipe)
    if recipe is None or not recipe.vary:
        settings["precision"] = "float32"
    elif config.precision == "auto":
        settings["precision"] = choose_precision(size)
    return Fitting(architecture, fit, recipe, settings, classes)


def clip_inputs(config: FitConfig, clips: SchemeClips, *, workers: int = 1) -> ClipInputs:
    """Return what networks are trained on, to be computed once per command."""
    return ClipInputs(
        clips.frames,
        network_size=config.network_size or config.frame_size,
        weights=config.weights or "imagenet",
        head_motion=None if config.head_motion == "none" else config.head_motion,
        mirrored=config.augment,
        seed=config.seed,
        workers=workers,
    )


def _make(build: Callable[..., Any], precision: str, options: dict[str, Any]) -> Any:
    with dtype_policy(precision):
        return build(**options)


def _require_weights(architecture: Architecture, weights: str) -> None:
    known = {architecture.weights, "none"}
    if weights not in known and (weights in PUBLISHED or not Path(weights).is_file()):
        raise UserError(
            f"Weights of {architecture.name} must be '{architecture.weights}', 'none' or the path "
            f"of a weights file. Received: {weights}"
            + ("." if weights in PUBLISHED else ", which does not exist.")
        )
