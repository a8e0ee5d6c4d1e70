"""The base of the motion layers: float32 whatever the precision of the network after them."""

from __future__ import annotations

from typing import Any

import keras


class Float32Layer(keras.layers.Layer):
    """A weightless layer that computes in float32 under every global dtype policy.

    Half precision would cost the flow about 0.01 px, and training and serving would differ.
    Inputs are not cast: a frame of the wrong dtype is a mistake and is reported as one.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`; `dtype`, if given, must be float32.

    Raises:
        ValueError: If `dtype` is not float32.

    Example:
        >>> keras.config.set_dtype_policy("mixed_float16")
        >>> Float32Layer().compute_dtype
        'float32'
        >>> keras.config.set_dtype_policy("float32")
    """

    def __init__(self, **kwargs: Any) -> None:
        policy = keras.dtype_policies.get(kwargs.pop("dtype", None) or "float32")
        if policy.name != "float32":
            raise ValueError(f"{type(self).__name__} computes in float32. Received: {policy.name}.")
        kwargs |= {"dtype": "float32", "trainable": False, "autocast": False}
        super().__init__(**kwargs)
