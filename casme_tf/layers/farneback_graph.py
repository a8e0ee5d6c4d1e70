"""The steps of Farneback's flow as TensorFlow operators that TensorFlow Lite has too.

A *plane* is one number for each pixel, `(B, h, w)` float32. Keeping planes apart, rather than in a
last axis of two to five channels, is what makes the operators fast: each runs over long rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from casme_tf.layers import farneback_constants as constants
from casme_tf.layers.farneback_constants import Level, PolynomialFilters

Planes = list[tf.Tensor]

# Shares in the mean of both frames, with the half of the mixed term; order y, x, yy, xx, xy.
SHARES = (0.5, 0.5, 0.5, 0.5, 0.25)
# The second frame's slopes are subtracted from the first's, its curvatures are added.
SIGNS = (-1.0, -1.0, 1.0, 1.0, 1.0)
REGULARISER = 1e-3


def expand(frames: tf.Tensor, level: Level, filters: PolynomialFilters) -> tf.Tensor:
    """Fit a quadratic around each pixel of one level of frames.

    Args:
        frames: `(B, H, W)` float32, grey, at full size.
        level: The level to make from them.
        filters: The filters of the fit.

    Returns:
        The five coefficients r_y, r_x, r_yy, r_xx, r_xy, each times its share, `(B, 5, h, w)`.
    """
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
    """Carry the flow of the next coarser level over to `level`.

    Args:
        flow: dx and dy at the coarser level, px there.
        level: The level to carry it to.
        pyr_scale: Size of the coarser level relative to this one.

    Returns:
        dx and dy, `(B, h, w)`, px at this level.
    """
    _, height, width = flow[0].shape
    planes = tf.reshape(_stack(flow), [-1, height, width, 1])
    larger = tf.image.resize(planes, (level.height, level.width)) * np.float32(1 / pyr_scale)
    return _unstack(tf.reshape(larger, [-1, 2, level.height, level.width]))


class Refiner:
    """Improves the flow at one level, step by step.

    Args:
        onset: Expansion of the first frames, `(B, 5, h, w)`.
        apex: Expansion of the second frames, `(B, 5, h, w)`.
        level: The level they belong to.
        winsize: Side of the averaging window, px.
    """

    def __init__(self, onset: tf.Tensor, apex: tf.Tensor, level: Level, winsize: int) -> None:
        self.height, self.width = level.height, level.width
        self.weight = constants.border_weights(level.height, level.width)
        self.onset = _unstack(onset * self.weight)
        self.neighbours = self._tabulate(apex)
        self.radius = winsize // 2
        # OpenCV divides the sums by winsize², also where an even winsize sums (winsize + 1)²
        # pixels; here they are divided by the length of the window only.
        scale = winsize**2 / (2 * self.radius + 1)
        self.regulariser = np.float32(REGULARISER * scale**2)

    def still(self) -> Planes:
        """Give a flow of zeros, to start with."""
        return [tf.zeros_like(self.onset[0])] * 2

    def refine(self, flow: Planes) -> Planes:
        """Improve the flow by one step.

        Args:
            flow: dx and dy, `(B, h, w)`, px.

        Returns:
            dx and dy, better ones.
        """
        products = _stack(self._products(flow, self._look_up(flow)))  # (B, 5, h, w)
        # The windows of all five at once: few large operators share out better over threads.
        planes = tf.reshape(products, [-1, self.height, self.width])
        sums = self._sum_columns(_transpose(self._average_columns(planes)))
        sums = tf.reshape(sums, [-1, 5, self.width, self.height])
        g11, g12, g22, h1, h2 = _unstack(sums)
        # The determinant of a sum of squares is never negative; rounding could make it so.
        determinant = tf.nn.relu(g11 * g22 - g12 * g12) + self.regulariser
        dx = (g11 * h2 - g12 * h1) / determinant
        dy = (g22 * h1 - g12 * h2) / determinant
        return [_transpose(dx), _transpose(dy)]

    def _tabulate(self, apex: tf.Tensor) -> tf.Tensor:
        """Put the four pixels that a lookup needs side by side: `((h + 2) · w, 20)` for each pair.

        The last row of the picture, and with it the table's, is zero: for looks out of the image.
        """
        signed = apex * np.array(SIGNS, np.float32)[:, None, None]
        pixels = tf.reshape(signed, [-1, 5, self.height * self.width])
        pixels = tf.pad(pixels, [[0, 0], [0, 0], [0, 3 * self.width + 1]])
        count = (self.height + 2) * self.width
        corners = (0, 1, self.width, self.width + 1)  # steps along the row of all pixels
        table = tf.concat([pixels[:, :, step : step + count] for step in corners], axis=1)
        return tf.transpose(table, [0, 2, 1])

    def _look_up(self, flow: Planes) -> Planes:
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
        corners = tf.gather(self.neighbours, cell, batch_dims=1)  # (B, h·w, 20)
        corners = tf.reshape(tf.transpose(corners, [0, 2, 1]), [-1, 4, 5, self.height, self.width])
        corner_weights = _stack(self._corner_weights(x - left, y - top))
        found = tf.reduce_sum(corners * corner_weights[:, :, None], axis=1)  # (B, 5, h, w)
        apex = _unstack(found)
        onset = [*self.onset[:2], *(plane * once_or_twice for plane in self.onset[2:])]
        return [first + second for first, second in zip(onset, apex, strict=True)]

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
        return [
            yy * yy + cross,
            (yy + xx) * xy,
            xx * xx + cross,
            yy * y + xy * x,
            xy * y + xx * x,
        ]

    # Running sums would be faster still, but lose 0.01 px and more in float32.

    def _average_columns(self, plane: tf.Tensor) -> tf.Tensor:
        """Average over the window down the columns."""
        length = 2 * self.radius + 1
        return _average_rows(_replicate_ends(plane, self.radius), length)

    def _sum_columns(self, plane: tf.Tensor) -> tf.Tensor:
        """Sum over the window down the columns, by sums of four, sixteen and so on.

        This rounds half as much as adding pixel by pixel does. The last sums need it: along
        straight edges the determinant is a small difference of their products.
        """
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


def _turned_level(frames: tf.Tensor, level: Level, margin: int) -> tf.Tensor:
    """Make a level of frames, turned on its side, its edges replicated `margin` times.

    Returns:
        `(B, w + 2 margin, h + 2 margin)`.
    """
    _, height, width = frames.shape
    if level.scale == 1:  # Three taps would be wasted on matrices of the frame's size.
        upright = _replicate_ends(_blur_columns(frames), margin)
        return _replicate_ends(_blur_columns(_transpose(upright)), margin)
    across = constants.padded_level_matrix(width, level.width, level.scale, margin)
    down = constants.padded_level_matrix(height, level.height, level.scale, margin)
    return _transpose(frames @ across.T) @ down.T


def _blur_columns(plane: tf.Tensor) -> tf.Tensor:
    """Blur the columns as OpenCV does at full size; the edge pixel is the mirror."""
    reflected = tf.concat([plane[:, 1:2], plane, plane[:, -2:-1]], axis=1)
    return _filter_columns(reflected, constants.blur_kernel(scale=1))


def _replicate_ends(plane: tf.Tensor, count: int, surplus: int = 0) -> tf.Tensor:
    """Add `count` copies of the first row in front, `count + surplus` of the last behind."""
    before, behind = (np.ones((n, 1), np.float32) for n in (count, count + surplus))
    return tf.concat([plane[:, :1] * before, plane, plane[:, -1:] * behind], axis=1)


def _average_rows(plane: tf.Tensor, count: int) -> tf.Tensor:
    """Average `count` neighbouring rows: `(B, h, w)` → `(B, h − count + 1, w)`."""
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
