"""Fitting one Keras or scikit-learn model."""
