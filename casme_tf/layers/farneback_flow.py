"""Farneback's optical flow inside the graph, equal to OpenCV's, of operators that LiteRT has too.

A *plane* is one number for each pixel, `(B, h, w)` float32. Keeping planes apart, rather than in a
last axis of two to five channels, is what makes the operators fast: each runs over long rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from casme_tf.layers.colors import Float32Layer

SMALLEST_LEVEL = 32  # px; coarser levels are left out
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)


@dataclass(frozen=True)
class Level:
    """One scale of the pyramid: its share of the frame's size, and its own size in px."""

    scale: float
    height: int
    width: int


def pyramid(height: int, width: int, pyr_scale: float, levels: int) -> tuple[Level, ...]:
    """List the levels for frames of `height` × `width` px, coarsest first."""
    found = [Level(1.0, height, width)]
    scale = 1.0
    for _ in range(levels):
        scale *= pyr_scale
        if min(height, width) * scale < SMALLEST_LEVEL:
            break
        # round() and OpenCV's cvRound both round half to even.
        found.append(Level(scale, round(height * scale), round(width * scale)))
    return tuple(reversed(found))


def blur_kernel(scale: float) -> np.ndarray:
    """Make the Gaussian that a frame is blurred with before it is shrunk."""
    sigma = (1 / scale - 1) / 2
    radius = max(round(sigma * 5) | 1, 3) // 2
    offsets = np.arange(-radius, radius + 1)
    # Without a sigma OpenCV takes its fixed kernel of three taps.
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma > 0 else np.array([1.0, 2.0, 1.0])
    return (kernel / kernel.sum()).astype(np.float32)


def level_matrix(size: int, level_size: int, scale: float) -> np.ndarray:
    """Blur and shrink one axis of the frame to that of a level."""
    kernel = blur_kernel(scale)
    radius = len(kernel) // 2
    rows = np.arange(size)
    blur = np.zeros((size, size))
    for offset, weight in enumerate(kernel, start=-radius):
        reflected = np.abs(rows + offset)  # the edge pixel is the mirror
        reflected = np.where(reflected >= size, 2 * (size - 1) - reflected, reflected)
        np.add.at(blur, (rows, reflected), weight)
    return resize_matrix(size, level_size) @ blur


def padded_level_matrix(size: int, level_size: int, scale: float, margin: int) -> np.ndarray:
    """Blur and shrink one axis of the frame, then replicate its ends `margin` times."""
    rows = np.arange(-margin, level_size + margin).clip(0, level_size - 1)
    return level_matrix(size, level_size, scale)[rows].astype(np.float32)


def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Resize one axis bilinearly, with pixel centers at halves and no antialiasing."""
    rows = np.arange(new_size)
    position = ((rows + 0.5) * (size / new_size) - 0.5).astype(np.float32).clip(0, size - 1)
    left = np.floor(position).astype(int).clip(max=size - 2)
    right_weight = position - left
    matrix = np.zeros((new_size, size))
    matrix[rows, left] = 1 - right_weight
    matrix[rows, left + 1] = right_weight
    return matrix


@dataclass(frozen=True)
class PolynomialFilters:
    """Filters along one axis, `(2 poly_n + 1,)` float64, whose products fit a quadratic."""

    smooth: np.ndarray
    slope: np.ndarray
    curve: np.ndarray
    slope_gain: float
    cross_gain: float


def polynomial_filters(poly_n: int, poly_sigma: float) -> PolynomialFilters:
    """Make the filters of the polynomial expansion."""
    x = np.arange(-poly_n, poly_n + 1)
    weights = np.exp(-(x**2) / (2 * poly_sigma**2)).astype(np.float32).astype(np.float64)
    smooth = (weights / weights.sum()).astype(np.float32).astype(np.float64)
    slope = (x * smooth).astype(np.float32).astype(np.float64)
    square = (x**2 * smooth).astype(np.float32).astype(np.float64)

    # The normal equations of the fit, for the terms 1, x, y, x², y², xy.
    terms = np.stack(np.broadcast_arrays(1, x, x[:, None], x**2, x[:, None] ** 2, np.outer(x, x)))
    gram = np.einsum("iyx,jyx,y,x->ij", terms, terms, smooth, smooth)
    gram[0, 0] = smooth.sum() ** 2
    inverse = np.linalg.inv(gram)
    return PolynomialFilters(
        smooth=smooth,
        slope=slope,
        curve=inverse[0, 3] * smooth + inverse[3, 3] * square,
        slope_gain=float(inverse[1, 1]),
        cross_gain=float(inverse[5, 5]),
    )


def border_weights(height: int, width: int) -> np.ndarray:
    """Weigh the pixels near the edge down, where the fit leans on replicated ones."""

    def ramp(size: int) -> np.ndarray:
        weights = np.ones(size, np.float32)
        weights[: len(BORDER_WEIGHTS)] *= BORDER_WEIGHTS
        weights[-len(BORDER_WEIGHTS) :] *= BORDER_WEIGHTS[::-1]
        return weights

    return np.outer(ramp(height), ramp(width))


Planes = list[tf.Tensor]

# Shares in the mean of both frames, with the half of the mixed term; order y, x, yy, xx, xy.
SHARES = (0.5, 0.5, 0.5, 0.5, 0.25)
# The second frame's slopes are subtracted from the first's, its curvatures are added.
SIGNS = (-1.0, -1.0, 1.0, 1.0, 1.0)
REGULARIZER = 1e-3


def expand(frames: tf.Tensor, level: Level, filters: PolynomialFilters) -> tf.Tensor:
    """Fit a quadratic around each pixel of one level of frames."""
    turned = _turned_level(frames, level, margin=len(filters.smooth) // 2)
    smooth, slope, curve = (
        _transpose(_filter_columns(turned, kernel))  # (B, h + 2 margin, w)
        for kernel in (filters.smooth, filters.slope, filters.curve)
    )
    y, x, yy, xx, xy = SHARES
    return _stack(
        [
            _filter_columns(smooth, y * filters.slope_gain * filters.slope),
            _filter_columns(slope, x * filters.slope_gain * filters.smooth),
            _filter_columns(smooth, yy * filters.curve),
            _filter_columns(curve, xx * filters.smooth),
            _filter_columns(slope, xy * filters.cross_gain * filters.slope),
        ]
    )


def enlarge(flow: Planes, level: Level, pyr_scale: float) -> Planes:
    """Carry the flow of the next coarser level over to `level`."""
    _, height, width = flow[0].shape
    planes = tf.reshape(_stack(flow), [-1, height, width, 1])
    larger = tf.image.resize(planes, (level.height, level.width)) * np.float32(1 / pyr_scale)
    return _unstack(tf.reshape(larger, [-1, 2, level.height, level.width]))


class Refiner:
    """Improves the flow at one level, step by step; see `refiner_of`."""

    def __init__(self, level: Level, winsize: int) -> None:
        self.height, self.width = level.height, level.width
        self.weight = border_weights(level.height, level.width)
        self.radius = winsize // 2
        # OpenCV divides the sums by winsize², also where an even winsize sums (winsize + 1)²
        # pixels; here they are divided by the length of the window only.
        scale = winsize**2 / (2 * self.radius + 1)
        self.regularizer = np.float32(REGULARIZER * scale**2)
        # A function of its own, so that a graph with many steps has them traced once.
        self.refine = tf.function(self._refine, autograph=False)

    def tabulate(self, onset: tf.Tensor, apex: tf.Tensor) -> tuple[Planes, tf.Tensor]:
        """Arrange both frames' coefficients for `refine`."""
        return _unstack(onset * self.weight), self._tabulate(apex)

    def _refine(self, flow: Planes, onset: Planes, neighbors: tf.Tensor) -> Planes:
        """Improve the flow by one step."""
        mean = self._look_up(flow, onset, neighbors)
        products = _stack(self._products(flow, mean))  # (B, 5, h, w)
        # The windows of all five at once: few large operators share out better over threads.
        planes = tf.reshape(products, [-1, self.height, self.width])
        sums = self._sum_columns(_transpose(self._average_columns(planes)))
        sums = tf.reshape(sums, [-1, 5, self.width, self.height])
        g11, g12, g22, h1, h2 = _unstack(sums)
        # The determinant of a sum of squares is never negative; rounding could make it so.
        determinant = tf.nn.relu(g11 * g22 - g12 * g12) + self.regularizer
        dx = (g11 * h2 - g12 * h1) / determinant
        dy = (g22 * h1 - g12 * h2) / determinant
        return [_transpose(dx), _transpose(dy)]

    def _tabulate(self, apex: tf.Tensor) -> tf.Tensor:
        """Place the four pixels of a lookup side by side: `((h + 2) · w, 20)` for each pair."""
        signed = apex * np.array(SIGNS, np.float32)[:, None, None]
        pixels = tf.reshape(signed, [-1, 5, self.height * self.width])
        pixels = tf.pad(pixels, [[0, 0], [0, 0], [0, 3 * self.width + 1]])
        count = (self.height + 2) * self.width
        corners = (0, 1, self.width, self.width + 1)  # steps along the row of all pixels
        table = tf.concat([pixels[:, :, step : step + count] for step in corners], axis=1)
        return tf.transpose(table, [0, 2, 1])

    def _look_up(self, flow: Planes, onset: Planes, neighbors: tf.Tensor) -> Planes:
        """Mean of both frames' coefficients where the flow points, weighted down at the border."""
        x = flow[0] + np.arange(self.width, dtype=np.float32)
        y = flow[1] + np.arange(self.height, dtype=np.float32)[:, None]
        left, top = tf.floor(x), tf.floor(y)
        outside = tf.maximum(_excess(left, self.width - 2), _excess(top, self.height - 2))
        # 1 in the image; 2 out of it, where the first frame's coefficients stand alone.
        once_or_twice = tf.clip_by_value(outside, 1.0, 2.0)
        nowhere = np.float32((self.height + 1) * self.width)
        cell = (top * np.float32(self.width) + left - nowhere) * (2.0 - once_or_twice) + nowhere
        cell = tf.reshape(tf.cast(cell, tf.int32), [-1, self.height * self.width])
        corners = tf.gather(neighbors, cell, batch_dims=1)  # (B, h·w, 20)
        corners = tf.reshape(tf.transpose(corners, [0, 2, 1]), [-1, 4, 5, self.height, self.width])
        corner_weights = _stack(self._corner_weights(x - left, y - top))
        found = tf.reduce_sum(corners * corner_weights[:, :, None], axis=1)  # (B, 5, h, w)
        apex = _unstack(found)
        scaled = [*onset[:2], *(plane * once_or_twice for plane in onset[2:])]
        return [first + second for first, second in zip(scaled, apex, strict=True)]

    def _corner_weights(self, right: tf.Tensor, down: tf.Tensor) -> Planes:
        """Bilinear weights of the four pixels around a point, times the border's weight."""
        right = right * self.weight
        down_right = right * down
        up_right = right - down_right
        down_left = down * self.weight - down_right
        return [self.weight - right - down_left, up_right, down_left, down_right]

    def _products(self, flow: Planes, mean: Planes) -> Planes:
        """The five different entries of the equations `G · flow = h` of each pixel."""
        dx, dy = flow
        y, x, yy, xx, xy = mean
        y = y + yy * dy + xy * dx
        x = x + xy * dy + xx * dx
        cross = xy * xy
        return [yy * yy + cross, (yy + xx) * xy, xx * xx + cross, yy * y + xy * x, xy * y + xx * x]

    # Running sums would be faster still, but lose 0.01 px and more in float32.

    def _average_columns(self, plane: tf.Tensor) -> tf.Tensor:
        """Average over the window down the columns."""
        length = 2 * self.radius + 1
        return _average_rows(_replicate_ends(plane, self.radius), length)

    def _sum_columns(self, plane: tf.Tensor) -> tf.Tensor:
        """Sum over the window down the columns, by sums of four, sixteen and so on."""
        height = plane.shape[1]
        length = 2 * self.radius + 1
        lengths = [4**n for n in range(length) if 4**n <= length]
        rows = -(-height // lengths[-1]) * lengths[-1]  # so that every length divides them
        run = _replicate_ends(plane, self.radius, surplus=rows - height)
        sums = []
        for each in lengths:
            longer = length // (4 * each) * (4 * each)  # what is left to longer runs, in front
            count = (length - longer) // each
            if count:
                last = run[:, longer : longer + rows + (count - 1) * each]
                sums.append(_average_every(last, count, each) * np.float32(count * each))
            if longer:
                run = _average_every(run[:, : rows + longer - each], 4, each)
        return sum(sums[1:], start=sums[0])[:, :height]


@lru_cache(maxsize=64)
def refiner_of(level: Level, winsize: int) -> Refiner:
    """Return the refiner of a level, one for all models of the process."""
    return Refiner(level, winsize)


def _turned_level(frames: tf.Tensor, level: Level, margin: int) -> tf.Tensor:
    """Make a level of frames, turned on its side, its edges replicated `margin` times."""
    _, height, width = frames.shape
    if level.scale == 1:  # Three taps would be wasted on matrices of the frame's size.
        upright = _replicate_ends(_blur_columns(frames), margin)
        return _replicate_ends(_blur_columns(_transpose(upright)), margin)
    across = padded_level_matrix(width, level.width, level.scale, margin)
    down = padded_level_matrix(height, level.height, level.scale, margin)
    return _transpose(frames @ across.T) @ down.T


def _blur_columns(plane: tf.Tensor) -> tf.Tensor:
    """Blur the columns as OpenCV does at full size; the edge pixel is the mirror."""
    reflected = tf.concat([plane[:, 1:2], plane, plane[:, -2:-1]], axis=1)
    return _filter_columns(reflected, blur_kernel(scale=1))


def _replicate_ends(plane: tf.Tensor, count: int, surplus: int = 0) -> tf.Tensor:
    """Add `count` copies of the first row in front, `count + surplus` of the last behind."""
    before, behind = (np.ones((n, 1), np.float32) for n in (count, count + surplus))
    return tf.concat([plane[:, :1] * before, plane, plane[:, -1:] * behind], axis=1)


def _average_rows(plane: tf.Tensor, count: int) -> tf.Tensor:
    """Average `count` neighboring rows: `(B, h, w)` → `(B, h − count + 1, w)`."""
    _, height, width = plane.shape
    # The columns as channels, so that the pooling runs along contiguous rows.
    rows = tf.reshape(plane, [-1, height, 1, width])
    average = tf.nn.avg_pool2d(rows, [count, 1], strides=1, padding="VALID")
    return tf.reshape(average, [-1, height - count + 1, width])


def _average_every(plane: tf.Tensor, count: int, step: int) -> tf.Tensor:
    """Average `count` rows that are `step` apart; the number of rows is a multiple of `step`."""
    _, height, width = plane.shape
    average = _average_rows(tf.reshape(plane, [-1, height // step, step * width]), count)
    return tf.reshape(average, [-1, height - (count - 1) * step, width])


def _excess(position: tf.Tensor, last: int) -> tf.Tensor:
    """At most 1 for whole positions from 0 to `last`, 2 and more for those beyond."""
    middle = np.float32(last / 2)
    return tf.abs(position - middle) - (middle - 1)


def _filter_columns(plane: tf.Tensor, kernel: Sequence[float] | np.ndarray) -> tf.Tensor:
    """Correlate the columns with `kernel` where it fits: `(B, h, w)` → `(B, h − len + 1, w)`."""
    _, height, width = plane.shape
    # The columns as channels, so that the filter runs along contiguous rows.
    kernels = np.tile(np.asarray(kernel, np.float32)[:, None, None, None], (1, 1, width, 1))
    rows = tf.reshape(plane, [-1, height, 1, width])
    filtered = tf.nn.depthwise_conv2d(rows, kernels, [1, 1, 1, 1], "VALID")
    return tf.reshape(filtered, [-1, height - len(kernel) + 1, width])


def _transpose(plane: tf.Tensor) -> tf.Tensor:
    return tf.transpose(plane, [0, 2, 1])


# tf.stack and tf.unstack become operators that XNNPACK leaves to TensorFlow Lite's single thread.


def _stack(planes: Planes) -> tf.Tensor:
    """Planes to one `(B, planes, h, w)` tensor."""
    _, height, width = planes[0].shape
    return tf.concat([tf.reshape(plane, [-1, 1, height, width]) for plane in planes], axis=1)


def _unstack(stacked: tf.Tensor) -> Planes:
    """One `(B, planes, h, w)` tensor to planes."""
    _, count, height, width = stacked.shape
    return [tf.reshape(stacked[:, i : i + 1], [-1, height, width]) for i in range(count)]


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
