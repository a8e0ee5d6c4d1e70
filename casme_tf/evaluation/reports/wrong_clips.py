"""The clips that a run answered wrong most confidently, and what it was shown of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from PIL import Image

from casme_tf.clips.images import encode_jpeg
from casme_tf.datasets.pairs import Pairs
from casme_tf.errors import UserError
from casme_tf.evaluation.results import RunResults
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray

_KEY = ["subject", "clip"]
_QUALITY = 88  # to be looked at, not to be measured


@dataclass(frozen=True)
class ClipPictures:
    """Pictures of some clips, as `data:` addresses.

    Attributes:
        clips: `onset`, `apex` and `flow` of each clip, JPEG.
        longest: 99th percentile of each clip's motion, px.
        brightest: Motion that the flow pictures draw at full brightness, px; the same for all.
        key: Which colour is which direction, a PNG of a disc.
    """

    clips: list[dict[str, str]]
    longest: list[float]
    brightest: float
    key: str


def wrong_clips(results: RunResults, most: int = 6) -> pd.DataFrame:
    """Return the clips answered wrong, the most confident first.

    Args:
        results: Results of a run.
        most: Largest number of clips. Default 6.

    Returns:
        Rows of `results.predictions` with `confidence`, the probability of the class answered.
    """
    answer = results.y_pred
    confidence = results.probabilities[np.arange(len(answer)), answer]
    table = results.predictions.assign(confidence=confidence)
    wrong = table[results.y_true != answer]
    ranked = wrong.sort_values(["confidence", *_KEY], ascending=[False, True, True])
    return ranked.head(most).reset_index(drop=True)


def clip_pictures(pairs: Pairs, clips: pd.DataFrame) -> ClipPictures:
    """Make the pictures of some clips.

    Args:
        pairs: The data set that the clips are of.
        clips: Their columns subject and clip; one row at least.

    Returns:
        The pictures, in the order of the rows.

    Raises:
        UserError: If the data set lacks one of them.
    """
    index = pd.MultiIndex.from_frame(pairs.clips[_KEY])
    places = index.get_indexer(pd.MultiIndex.from_frame(clips[_KEY]))
    if (places < 0).any():
        lost = clips[places < 0].iloc[0]
        raise UserError(
            "The data set must hold the clips of the run. Received: one without "
            f"{lost['subject']}/{lost['clip']}. Give the one that the run was made from."
        )
    frames = {name: pairs.frames[name][places] for name in ("onset", "apex")}
    gray = RGBToGray()
    onset, apex = (gray(keras.ops.convert_to_tensor(frames[n])) for n in ("onset", "apex"))
    flow = np.asarray(FarnebackFlow()([onset, apex]))
    lengths = np.linalg.norm(flow, axis=-1)
    longest = np.percentile(lengths, 99, axis=(1, 2))
    # One scale for all, so that a faint motion looks fainter than a strong one.
    brightest = max(float(longest.max()), 0.1)
    color = np.asarray(FlowToColor(max_magnitude=brightest, whole_numbers=False)(flow))
    shown = {**frames, "flow": np.clip(color.round(), 0, 255).astype(np.uint8)}
    encoded = [
        {
            name: _uri("jpeg", encode_jpeg(array[i], quality=_QUALITY))
            for name, array in shown.items()
        }
        for i in range(len(clips))
    ]
    return ClipPictures(encoded, longest.tolist(), brightest, _direction_key())


def _direction_key(side: int = 96) -> str:
    """Draw a disc in which each point has the colour of the direction in which it lies."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)[None]
    color = np.asarray(FlowToColor(max_magnitude=1.0, whole_numbers=False)(flow))[0]
    inside = np.linalg.norm(flow[0], axis=-1) <= 1
    rgba = np.dstack([np.clip(color.round(), 0, 255), 255 * inside]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return _uri("png", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
