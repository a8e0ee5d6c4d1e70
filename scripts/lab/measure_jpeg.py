"""How much motion JPEG coding makes, by quality and chroma sampling."""

from __future__ import annotations

import io
from typing import get_args

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from casme_tf.clips.frames import Subsampling, encode_jpeg
from casme_tf.errors import UserError

QUALITIES = (90, 95, 98, 100)

_FACE = (slice(11, 191), slice(166, 283))  # rows and columns that crop_box gives for the photograph
_CROP_SIZE = (280, 340)  # width and height of a face crop of CASME II, px
_NOISE = 2.0  # standard deviation of a camera's noise, gray levels
_BORDER = 20  # px; nearer to the border OpenCV's flow answers to the border


def measure_jpeg_fidelity() -> pd.DataFrame:
    """Measure the optical flow between a face and its JPEG copy, which should be none.

    The face is the photograph that scikit-image carries, enlarged to the size of a crop of
    CASME II ("smooth"), and the same with camera noise ("grainy"). The flow is OpenCV's
    Farneback with the parameters of the source system, without the outer 20 px.

    Returns:
        One row for each texture, quality and chroma sampling: `texture`, `quality`, `chroma`;
        `mean_px`, `p99_px`, `max_px`, the length of the flow; `color`, the mean absolute
        difference of the color channels in gray levels; `kilobytes`, the size of the file.

    Raises:
        UserError: If scikit-image is not installed.

    Example:
        python -c "from scripts.lab.measure_jpeg import *; print(measure_jpeg_fidelity())" printed,
        rounded:

        | texture | quality | chroma | mean_px | p99_px | max_px | color | kilobytes |
        | ------- | ------- | ------ | ------- | ------ | ------ | ------ | --------- |
        | smooth  |      90 | 4:4:4  |  0.0160 |  0.070 |   0.13 |   1.25 |        28 |
        | smooth  |      90 | 4:2:0  |  0.0161 |  0.070 |   0.13 |   1.57 |        22 |
        | smooth  |      95 | 4:4:4  |  0.0096 |  0.045 |   0.10 |   0.97 |        40 |
        | smooth  |      95 | 4:2:0  |  0.0096 |  0.045 |   0.15 |   1.31 |        31 |
        | smooth  |      98 | 4:4:4  |  0.0072 |  0.031 |   0.09 |   0.70 |        58 |
        | smooth  |      98 | 4:2:0  |  0.0072 |  0.031 |   0.09 |   1.00 |        43 |
        | smooth  |     100 | 4:4:4  |  0.0055 |  0.022 |   0.07 |   0.47 |       100 |
        | smooth  |     100 | 4:2:0  |  0.0055 |  0.022 |   0.07 |   0.76 |        64 |
        | grainy  |      90 | 4:4:4  |  0.0150 |  0.058 |   0.21 |   1.92 |        29 |
        | grainy  |      90 | 4:2:0  |  0.0152 |  0.058 |   0.22 |   2.20 |        23 |
        | grainy  |      95 | 4:4:4  |  0.0087 |  0.032 |   0.11 |   1.71 |        43 |
        | grainy  |      95 | 4:2:0  |  0.0088 |  0.033 |   0.15 |   2.00 |        33 |
        | grainy  |      98 | 4:4:4  |  0.0075 |  0.027 |   0.09 |   1.29 |        87 |
        | grainy  |      98 | 4:2:0  |  0.0074 |  0.027 |   0.07 |   1.70 |        53 |
        | grainy  |     100 | 4:4:4  |  0.0055 |  0.024 |   0.05 |   0.48 |       144 |
        | grainy  |     100 | 4:2:0  |  0.0056 |  0.025 |   0.05 |   1.45 |        76 |
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        raise UserError(
            "Measuring JPEG needs the photograph that scikit-image carries. Received: an "
            "installation without it. Run: pip install 'casme-tf[dev]'"
        ) from None
    smooth = cv2.resize(astronaut()[_FACE], _CROP_SIZE, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, _NOISE, smooth.shape)
    grainy = np.clip(np.rint(smooth + noise), 0, 255).astype(np.uint8)
    return pd.DataFrame(
        [
            {"texture": texture, "quality": quality, "chroma": chroma}
            | _compare(frame, encode_jpeg(frame, quality=quality, subsampling=chroma))
            for texture, frame in (("smooth", smooth), ("grainy", grainy))
            for quality in QUALITIES
            for chroma in get_args(Subsampling)
        ]
    )


def _compare(frame: np.ndarray, content: bytes) -> dict[str, float]:
    copy = np.asarray(Image.open(io.BytesIO(content)))
    gray, gray_copy = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (frame, copy))
    flow = cv2.calcOpticalFlowFarneback(gray, gray_copy, None, 0.5, 3, 19, 5, 7, 1.2, 0)
    length = np.linalg.norm(flow, axis=-1)[_BORDER:-_BORDER, _BORDER:-_BORDER]
    return {
        "mean_px": float(length.mean()),
        "p99_px": float(np.percentile(length, 99)),
        "max_px": float(length.max()),
        "color": float(np.abs(copy.astype(np.int16) - frame).mean()),
        "kilobytes": len(content) / 1000,
    }


def main() -> None:
    """Print how much motion JPEG coding makes."""
    print(measure_jpeg_fidelity().to_string(index=False, float_format="%.4f"))


if __name__ == "__main__":
    main()
