"""Farneback's optical flow inside the graph, equal to OpenCV's."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from casme_tf.layers.colors import Float32Layer
from casme_tf.layers.farneback_graph import enlarge, expand, polynomial_filters, pyramid, refiner_of

MIN_SIDE, MAX_SIDE = 64, 512  # px
MID_GRAY = 128.0


@keras.saving.register_keras_serializable(package="casme_tf")
class FarnebackFlow(Float32Layer):
    """Dense optical flow, as `cv2.calcOpticalFlowFarneback(onset, apex, None, …, flags=0)` gives.

    Args:
        pyr_scale: Size of a pyramid level relative to the next finer one, 0…1. Default 0.5.
        levels: Levels below the full-size one; those under 32 px are left out. Default 3.
        winsize: Side of the averaging window, px. Default 19.
        iterations: Refinements at each level. Default 5.
        poly_n: Radius of the neighborhood that a quadratic is fitted to, px. Default 7.
        poly_sigma: Standard deviation of the Gaussian weights of that fit, px. Default 1.2.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Input shape:
        `{"onset": …, "apex": …}` or `[onset, apex]`, each `(B, H, W, 1)` float32, gray, 0…255,
        whole numbers for parity with OpenCV; H and W known, each from 64 to 512.

    Output shape:
        `(B, H, W, 2)` float32, px from onset to apex, dx right, dy down.

    Raises:
        ValueError: If an argument is out of range or the inputs are not such frames.

    Example:
        >>> import numpy as np
        >>> onset = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 1)).astype("float32")
        >>> apex = np.roll(onset, 1, axis=2)  # everything moves right by one pixel
        >>> flow = FarnebackFlow()({"onset": onset, "apex": apex})
        >>> flow.shape
        TensorShape([1, 64, 64, 2])

    Reference:
        G. Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003; the
        borders, the pyramid and the regularizer are those of OpenCV 5.0, `optflowgf.cpp`.
    """

    def __init__(
        self,
        pyr_scale: float = 0.5,
        levels: int = 3,
        winsize: int = 19,
        iterations: int = 5,
        poly_n: int = 7,
        poly_sigma: float = 1.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < pyr_scale < 1:
            raise ValueError(f"pyr_scale must lie between 0 and 1. Received: {pyr_scale}.")
        if not poly_sigma > 0:
            raise ValueError(f"poly_sigma must be above 0 px. Received: {poly_sigma}.")
        counts = (
            ("levels", levels, 0),
            ("winsize", winsize, 2),
            ("iterations", iterations, 1),
            ("poly_n", poly_n, 1),
        )
        for name, value, least in counts:
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number, at least {least}. Received: {value}."
                )
        self.pyr_scale = pyr_scale
        self.levels = levels
        self.winsize = winsize
        self.iterations = iterations
        self.poly_n = poly_n
        self.poly_sigma = poly_sigma

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pyr_scale": self.pyr_scale,
            "levels": self.levels,
            "winsize": self.winsize,
            "iterations": self.iterations,
            "poly_n": self.poly_n,
            "poly_sigma": self.poly_sigma,
        }

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        onset, apex = (tuple(shape) for shape in _onset_and_apex(input_shape))
        for shape in (onset, apex):
            if len(shape) != 4 or shape[-1] != 1:
                raise ValueError(
                    f"FarnebackFlow takes gray frames of shape (B, H, W, 1). Received: {shape}."
                )
            if None in shape[1:] or not MIN_SIDE <= min(shape[1:3]) <= max(shape[1:3]) <= MAX_SIDE:
                raise ValueError(
                    "FarnebackFlow needs to know the height and the width of the frames, each "
                    f"from {MIN_SIDE} to {MAX_SIDE} px. Received: shape {shape}."
                )
        if onset[1:] != apex[1:] or (None not in (onset[0], apex[0]) and onset[0] != apex[0]):
            raise ValueError(
                "FarnebackFlow takes an apex frame of the same size for each onset frame. "
                f"Received: onset {onset}, apex {apex}."
            )
        return (onset[0], onset[1], onset[2], 2)

    def call(self, inputs: Any) -> tf.Tensor:
        onset, apex = _onset_and_apex(inputs)
        self.compute_output_shape([onset.shape, apex.shape])
        _, height, width, _ = onset.shape
        for frames in (onset, apex):
            if frames.dtype != tf.float32:
                raise ValueError(
                    "FarnebackFlow takes float32 frames. "
                    f"Received: dtype {tf.as_dtype(frames.dtype).name}."
                )
        # A constant does not change the fit, and small numbers lose fewer digits in its sums.
        frames = tf.reshape(tf.concat([onset, apex], axis=0), [-1, height, width]) - MID_GRAY
        filters = polynomial_filters(self.poly_n, self.poly_sigma)
        flow = None
        for level in pyramid(height, width, self.pyr_scale, self.levels):
            # Both frames at once: few large operators share out better over threads.
            onset, apex = tf.split(expand(frames, level, filters), 2)
            refiner = refiner_of(level, self.winsize)
            coefficients, neighbors = refiner.tabulate(onset, apex)
            if flow is None:
                flow = [tf.zeros_like(coefficients[0])] * 2
            else:
                flow = enlarge(flow, level, self.pyr_scale)
            for _ in range(self.iterations):
                flow = refiner.refine(flow, coefficients, neighbors)
        return tf.stack(flow, axis=-1)


def _onset_and_apex(pair: Any) -> tuple[Any, Any]:
    if isinstance(pair, dict) and pair.keys() == {"onset", "apex"}:
        return pair["onset"], pair["apex"]
    if isinstance(pair, (list, tuple)) and len(pair) == 2:
        return pair[0], pair[1]
    received = sorted(pair) if isinstance(pair, dict) else type(pair).__name__
    raise ValueError(
        f'FarnebackFlow takes {{"onset": …, "apex": …}} or [onset, apex]. Received: {received}.'
    )
