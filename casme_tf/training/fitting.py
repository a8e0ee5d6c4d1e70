"""What `train` and `crossval` share: how an architecture's options become a model to fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from casme_tf.arrays import Inputs
from casme_tf.datasets.databases import database_of
from casme_tf.datasets.pairs import SchemeClips
from casme_tf.errors import UserError
from casme_tf.models import ARCHITECTURES, Architecture, Fit, Recipe
from casme_tf.models.motion_net import drawn_file
from casme_tf.training.inputs import ClipInputs
from casme_tf.training.keras_learner import choose_precision, dtype_policy
from casme_tf.training.learners import Learner, as_learner
from casme_tf.training.settings import FitConfig

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
        from casme_tf.training.keras_learner import KerasLearner

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
