"""What can be cross-validated, by name: baselines, small networks and frozen backbones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sklearn.dummy import DummyClassifier

from casme_tf.arrays import Inputs
from casme_tf.evaluation.crossval_inputs import CrossvalInputs, mirror_motion, swap_copies
from casme_tf.models.baselines import MotionSVM, ZeroShot
from casme_tf.models.heads import flow_head, siamese_head
from casme_tf.models.motion_net import motion_model
from casme_tf.models.ststnet import ststnet


@dataclass(frozen=True)
class FoldRecipe:
    """How a network is trained in each fold unless told otherwise.

    Attributes:
        epochs: Number of epochs, fixed beforehand.
        batch_size: Clips in a step.
        learning_rate: Step size of Adam.
        dropout: Share dropped in training.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float


@dataclass(frozen=True)
class CrossValidated:
    """One entry behind `--arch`.

    Attributes:
        name: Name on the command line.
        inputs: What it is given, of what is computed once for all folds.
        build: Makes an untrained model; takes `classes`, `frame_size` and `dropout` by name.
        mirror: Mirrors its inputs left and right; None if that would change nothing.
        recipe: How it is trained; None for what has no epochs.
        settings: Settings of the command that decide its result, besides weights, those of its
            recipe and those that all have.
        weights: What it begins with unless told otherwise; None for what has no such weights.
        untrained_recipe: How it is trained from random weights, where that takes another recipe.
    """

    name: str
    inputs: Callable[[CrossvalInputs], Inputs]
    build: Callable[..., Any]
    mirror: Callable[[Inputs], Inputs] | None
    recipe: FoldRecipe | None
    settings: tuple[str, ...]
    weights: str | None = None
    untrained_recipe: FoldRecipe | None = None

    def make_model(
        self, *, classes: int, frame_size: int, dropout: float | None, weights: str | None = None
    ) -> Callable[[], Any]:
        """Return a function that makes an untrained model, and that other processes can be sent."""
        make = partial(self.build, classes=classes, frame_size=frame_size, dropout=dropout)
        # A frozen backbone's weights are in its features already.
        return partial(make, weights=weights or "drawn") if self.weights == "drawn" else make


def _majority(**_: Any) -> DummyClassifier:
    return DummyClassifier(strategy="prior")


def _svm(**_: Any) -> MotionSVM:
    return MotionSVM()


def _zero_shot(*, classes: int, weights: str, **_: Any) -> ZeroShot:
    return ZeroShot(classes, weights)


def _motion_net(*, classes: int, dropout: float, weights: str, **_: Any) -> Any:
    return motion_model(classes=classes, dropout=dropout, weights=weights)


def _flow(*, classes: int, dropout: float, **_: Any) -> Any:
    return flow_head(classes=classes, dropout=dropout)


def _siamese(*, classes: int, dropout: float, **_: Any) -> Any:
    return siamese_head(classes=classes, dropout=dropout)


# Recipes were chosen on a stand-in corpus that no figure is reported for, by the loss and the UF1
# of the validation subjects of its leave-one-subject-out folds, the backbone's weights random.
CROSS_VALIDATED: dict[str, CrossValidated] = {
    entry.name: entry
    for entry in (
        CrossValidated("majority", lambda clips: clips.numbers, _majority, None, None, ()),
        CrossValidated(
            "zero_shot",
            lambda clips: clips.uv_strain,
            _zero_shot,
            None,
            None,
            ("head_motion",),
            weights="drawn",
        ),
        CrossValidated(
            "svm", lambda clips: clips.uv_strain, _svm, mirror_motion, None, ("head_motion",)
        ),
        CrossValidated(
            "ststnet",
            lambda clips: clips.uv_strain,
            ststnet,
            mirror_motion,
            FoldRecipe(epochs=40, batch_size=32, learning_rate=1e-3, dropout=0.5),
            ("head_motion",),
        ),
        CrossValidated(
            "motion_net",
            lambda clips: clips.uv_strain,
            _motion_net,
            None,  # it answers the same for a mirrored clip
            FoldRecipe(epochs=20, batch_size=32, learning_rate=1e-4, dropout=0.1),
            ("head_motion",),
            weights="drawn",
            untrained_recipe=FoldRecipe(epochs=60, batch_size=32, learning_rate=1e-3, dropout=0.5),
        ),
        CrossValidated(
            "flow",
            lambda clips: clips.flow_features,
            _flow,
            swap_copies,
            FoldRecipe(epochs=60, batch_size=32, learning_rate=3e-4, dropout=0.5),
            ("network_size",),
            weights="imagenet",
        ),
        CrossValidated(
            "siamese",
            lambda clips: clips.frame_features,
            _siamese,
            swap_copies,
            FoldRecipe(epochs=30, batch_size=32, learning_rate=3e-4, dropout=0.25),
            ("network_size",),
            weights="imagenet",
        ),
    )
}
"""Every entry by its name: the class that most clips have; motion_net as it comes, on 28 × 28
images of motion and strain; an RBF support vector machine on the same; STSTNet; motion_net, trained
further; a frozen ResNet50 on the flow drawn in colour; the same on both frames, subtracted."""
