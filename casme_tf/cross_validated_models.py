"""What can be cross-validated, by name: two baselines, one small network, two frozen backbones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sklearn.dummy import DummyClassifier

from casme_tf.crossval_inputs import CrossvalInputs, mirror_motion, swap_copies
from casme_tf.learners import Inputs
from casme_tf.models.frozen_heads import flow_head, siamese_head
from casme_tf.models.ststnet import ststnet
from casme_tf.motion_svm import MotionSVM


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
        settings: Settings of the command that decide its result, besides those of its recipe and
            those that all have.
    """

    name: str
    inputs: Callable[[CrossvalInputs], Inputs]
    build: Callable[..., Any]
    mirror: Callable[[Inputs], Inputs] | None
    recipe: FoldRecipe | None
    settings: tuple[str, ...]

    def make_model(
        self, *, classes: int, frame_size: int, dropout: float | None
    ) -> Callable[[], Any]:
        """Return a function that makes an untrained model, and that other processes can be sent."""
        return partial(self.build, classes=classes, frame_size=frame_size, dropout=dropout)


def _majority(**_: Any) -> DummyClassifier:
    return DummyClassifier(strategy="prior")


def _svm(**_: Any) -> MotionSVM:
    return MotionSVM()


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
            "flow",
            lambda clips: clips.flow_features,
            _flow,
            swap_copies,
            FoldRecipe(epochs=60, batch_size=32, learning_rate=3e-4, dropout=0.5),
            ("weights", "network_size"),
        ),
        CrossValidated(
            "siamese",
            lambda clips: clips.frame_features,
            _siamese,
            swap_copies,
            FoldRecipe(epochs=30, batch_size=32, learning_rate=3e-4, dropout=0.25),
            ("weights", "network_size"),
        ),
    )
}
"""Every entry by its name: the class that most clips have; an RBF support vector machine on 28 × 28
images of motion and strain; STSTNet on the same; a frozen ResNet50 on the flow drawn in colour;
the same on both frames, subtracted."""
