"""Keras functional models from a pair of frames to class probabilities, by name."""

from casme_tf.models.architecture import Architecture, Recipe, split_model
from casme_tf.models.flow_classifier import FLOW, flow_classifier
from casme_tf.models.motion_net import MOTION_NET, motion_classifier
from casme_tf.models.siamese_classifier import SIAMESE, siamese_classifier

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture for architecture in (FLOW, SIAMESE, MOTION_NET)
}
"""Every architecture by its name on the command line."""

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Recipe",
    "flow_classifier",
    "motion_classifier",
    "siamese_classifier",
    "split_model",
]
