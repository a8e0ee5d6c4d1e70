"""Facial micro-expressions in TensorFlow: two frames in, four class probabilities out."""

__version__ = "0.1.0"
