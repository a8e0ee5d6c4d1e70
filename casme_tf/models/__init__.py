"""Keras functional models from a pair of frames to class probabilities, and baselines, by name."""

from typing import Any

from sklearn.dummy import DummyClassifier

from casme_tf.models.architecture import Architecture, Fit, Recipe, split_model
from casme_tf.models.estimators import MotionKernel, MotionSVM, ZeroShot, kernel_classifier
from casme_tf.models.motion_net import SIZE, motion_classifier, motion_model
from casme_tf.models.resnet50 import (
    flow_classifier,
    flow_head,
    flow_network,
    of_copies,
    siamese_classifier,
    siamese_head,
    siamese_network,
)
from casme_tf.models.ststnet import ststnet, ststnet_classifier


def _majority(**_: Any) -> DummyClassifier:
    return DummyClassifier(strategy="prior")


def _svm(**_: Any) -> MotionSVM:
    return MotionSVM()


def _zero_shot(*, classes: int, weights: str, **_: Any) -> ZeroShot:
    return ZeroShot(classes, weights)


def _kernel(*, classes: int, weights: str, **_: Any) -> MotionKernel:
    return MotionKernel(classes, weights)


def _flow_head(*, classes: int, dropout: float, **_: Any) -> Any:
    return of_copies(flow_head(classes=classes, dropout=dropout))


def _siamese_head(*, classes: int, dropout: float, **_: Any) -> Any:
    return of_copies(siamese_head(classes=classes, dropout=dropout))


# Recipes were chosen on a stand-in corpus that no figure is reported for, by the loss and the UF1
# of the validation subjects of its leave-one-subject-out folds, the backbone's weights random.
ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "majority",
            "The class that most training clips have.",
            {"": Fit("numbers", _majority)},
            mirrored=False,
        ),
        Architecture(
            "zero_shot",
            "motion_net as the package brings it, trained on none of the clips.",
            {"": Fit("uv_strain", _zero_shot)},
            weights="drawn",
            settings=("head_motion",),
            mirrored=False,
        ),
        Architecture(
            "svm",
            "RBF support vector machine on motion and strain, 28 × 28 cells.",
            {"": Fit("uv_strain", _svm)},
            settings=("head_motion",),
        ),
        Architecture(
            "ststnet",
            "STSTNet: three shallow streams over flow and strain, averaged and classified.",
            {"": Fit("uv_strain", ststnet, Recipe(40, 32, 1e-3, 0.5))},
            build=ststnet_classifier,
            settings=("head_motion",),
            network_size=SIZE,
        ),
        Architecture(
            "motion_net",
            "Optical flow and strain on 28 × 28 cells, through a small network.",
            {
                "": Fit(
                    "uv_strain",
                    motion_model,
                    Recipe(20, 32, 1e-4, 0.1),
                    untrained=Recipe(60, 32, 1e-3, 0.5),
                )
            },
            build=motion_classifier,
            weights="drawn",
            settings=("head_motion",),
            mirrored=False,  # its predictions for a mirrored clip are the same
            network_size=SIZE,
        ),
        Architecture(
            "kernel",
            "Gaussian-process regression on motion, region by region, which corrects what "
            "motion_net's drawn weights predict.",
            {"": Fit("uv_strain", _kernel)},
            build=kernel_classifier,
            weights="drawn",
            settings=("head_motion",),
            mirrored=False,
            network_size=SIZE,
        ),
        Architecture(
            "flow",
            "Optical flow, drawn in color, through one ResNet50.",
            {
                "frozen": Fit("flow_features", _flow_head, Recipe(60, 32, 3e-4, 0.5), part="head"),
                "trained": Fit("flow_images", flow_network, Recipe(25, 10, 1e-4, 0.5, vary=True)),
            },
            build=flow_classifier,
            weights="imagenet",
            settings=("network_size", "backbone"),
        ),
        Architecture(
            "siamese",
            "Both frames through one shared ResNet50, the difference of embeddings classified.",
            {
                "frozen": Fit(
                    "frame_features", _siamese_head, Recipe(30, 32, 3e-4, 0.25), part="head"
                ),
                "trained": Fit(
                    "frame_images", siamese_network, Recipe(60, 32, 1e-4, 0.25, vary=True)
                ),
            },
            build=siamese_classifier,
            weights="imagenet",
            settings=("network_size", "backbone"),
        ),
    )
}
"""All architectures by their name on the command line; those with `build` can be trained for use,
the others are tested only."""

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Fit",
    "Recipe",
    "flow_classifier",
    "kernel_classifier",
    "motion_classifier",
    "siamese_classifier",
    "split_model",
    "ststnet_classifier",
]
