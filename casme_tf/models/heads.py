"""The layers between the backbone and the answer, in the sizes of the original system."""

from __future__ import annotations

import keras


def embed(features: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Reduce the backbone's features `(B, 2048)` to an embedding `(B, 128)`."""
    x = keras.layers.Dense(256, activation="relu", name="embedding_256")(features)
    x = keras.layers.Dropout(dropout, name="dropout_256")(x)
    x = keras.layers.Dense(128, activation="relu", name="embedding_128")(x)
    return keras.layers.Dropout(dropout, name="dropout_128")(x)


def classify(embedding: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Turn an embedding `(B, 128)` into probabilities `(B, classes)`."""
    x = keras.layers.Dense(64, activation="relu", name="hidden_64")(embedding)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(
        x
    )
