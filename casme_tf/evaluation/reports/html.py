"""A run's report: one HTML file that holds all that a reader needs and loads nothing."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import keras
import numpy as np
import pandas as pd
from PIL import Image

from casme_tf import formatting
from casme_tf.clips.images import encode_jpeg
from casme_tf.datasets.pairs import Pairs
from casme_tf.errors import UserError
from casme_tf.evaluation.reports import facts, figures
from casme_tf.evaluation.results import RunResults
from casme_tf.files import atomic_file
from casme_tf.formatting import FEWEST_SUBJECTS
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray
from casme_tf.plotting import image_uri

if TYPE_CHECKING:
    from casme_tf.datasets.pairs import Pairs


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


REPORT = "report.html"

_TEMPLATES = Path(__file__).parent
_TEMPLATE = "report.html.jinja"
_FRAME_SIZE = 224  # px; of runs that do not say at which size they look


def write_report(
    run: Path,
    beside: Sequence[Path] = (),
    *,
    pairs: Pairs | None = None,
    data_dir: Path | None = None,
    frames: bool = True,
) -> Path:
    """Write report.html into the folder of an evaluated run.

    Args:
        run: The run's folder, with config.json, metrics.json, predictions.csv and, where there is
            one, histories.csv or history.csv.
        beside: Folders of other runs on the same clips, to stand beside it.
        pairs: The data set, if it is loaded already. Default: read from `data_dir`.
        data_dir: Folder that `tfds build` wrote to. Default: the one that the run was made from.
        frames: Show frames of the clips that were answered wrong most confidently. Without them
            the file holds no picture of a face. Default True.

    Returns:
        The file.

    Raises:
        UserError: If a folder is no evaluated run, or its files do not belong together.

    Example:
        >>> write_report(Path("saved_models/demo"))  # doctest: +SKIP
    """
    results = RunResults.load(run)
    others = [RunResults.load(other) for other in beside]

    def data_set() -> Pairs:
        return pairs or _load_pairs(results, data_dir)

    try:
        facts = _facts(results, others, data_set if frames else None)
        text = _environment().get_template(_TEMPLATE).render(facts)
    except (jinja2.UndefinedError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"The records of a run must be those that this version writes. Received: {run}, where "
            f"{type(error).__name__}: {error}. Evaluate the run again."
        ) from error
    with atomic_file(run / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run / REPORT


def _facts(
    results: RunResults, others: Sequence[RunResults], data_set: Callable[[], Pairs] | None
) -> dict[str, Any]:
    subjects = facts.subject_rows(results)
    wrong = _wrong(results, data_set)
    corpus = wrong["corpus"] if results.corpus == "unknown" else results.corpus
    return {
        "name": results.name,
        "measured": results.metrics,
        "corpus": corpus,
        "leak": results.metrics["leak"],
        "folds": results.folds,
        "classes": results.classes,
        "about": facts.about(results, corpus),
        "parts": facts.part_rows(results),
        "settings": facts.settings(results),
        "results": facts.result_rows(results),
        "beside": facts.beside_rows(results, others),
        "by_class": _by_class(results),
        "subjects": subjects,
        "spread": facts.spread(subjects),
        "calibration": _calibration(results),
        "training": _training(results),
        "wrong": wrong,
    }


def _by_class(results: RunResults) -> list[dict[str, Any]]:
    rows = facts.class_rows(results)
    for row in rows:
        if row["curve"] is not None:
            point = facts.operating_point(row)
            figure = figures.precision_recall_figure(row["curve"], point)
            row["image"] = image_uri(figure)
    return rows


def _calibration(results: RunResults) -> dict[str, Any]:
    found = facts.calibration_facts(results)
    figure = figures.reliability_figure(found["bins"], found["chance"])
    return found | {"image": image_uri(figure)}


def _training(results: RunResults) -> dict[str, Any] | None:
    histories = facts.read_histories(results.folder)
    if histories is None:
        return None
    validation = results.metrics.get("epoch_chosen_on") or "validation"
    kept = figures.kept_epochs(histories) - histories["epoch"].min() + 1
    lengths = histories.groupby("fold")["epoch"].count()
    return {
        "images": [
            {
                "measure": measure,
                "uri": image_uri(figures.training_figure(histories, measure, validation)),
            }
            for measure in ("loss", "accuracy")
            if measure in histories
        ],
        "folds": len(lengths),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "kept": None if kept.empty else [int(kept.min()), int(kept.median()), int(kept.max())],
        "validated": "val_loss" in histories and bool(histories["val_loss"].notna().any()),
    }


def _wrong(results: RunResults, data_set: Callable[[], Pairs] | None) -> dict[str, Any]:
    """Return the clips most confidently wrong, with pictures or the reason why there are none."""
    # TensorFlow, which the layers of the flow need, takes seconds to import.

    table = wrong_clips(results)
    rows = [
        {
            **{key: clip[key] for key in ("subject", "clip", "y_true", "y_pred", "confidence")},
            "truth": clip[clip["y_true"]],
        }
        for clip in table.to_dict("records")
    ]
    count = int((results.y_true != results.y_pred).sum())
    facts = {"rows": rows, "count": count, "pictures": None, "reason": None, "corpus": "unknown"}
    if not rows:
        return facts
    if data_set is None:
        return facts | {"reason": "They were left out on request."}
    try:
        pairs = data_set()
        if results.corpus not in ("unknown", pairs.corpus):
            return facts | {"reason": f"The data set at hand is another: {pairs.corpus}."}
        pictures = clip_pictures(pairs, table)
    except UserError as error:
        return facts | {"reason": f"The data set is not at hand: {_hide_home(str(error))}"}
    return facts | {"pictures": pictures, "corpus": pairs.corpus}


def _load_pairs(results: RunResults, data_dir: Path | None) -> Pairs:
    from casme_tf.datasets.pairs import load_pairs

    made_from = results.record.train.get("data_dir")
    if data_dir is None and made_from is not None:
        data_dir = Path(made_from)
    return load_pairs(data_dir, int(results.record.train.get("frame_size") or _FRAME_SIZE))


def _hide_home(text: str) -> str:
    """Keep the name of whoever owns the home folder out of a file that is passed on."""
    return text.replace(str(Path.home()), "~")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        finalize=_require_value,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.globals["fewest_subjects"] = FEWEST_SUBJECTS
    environment.filters |= {
        "number": formatting.number,
        "interval": formatting.interval,
        "p_value": formatting.p_value,
        "gain": formatting.gain,
        "count_of": formatting.count,
    }
    return environment


def _require_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value to be printed is {value}")
    return value
