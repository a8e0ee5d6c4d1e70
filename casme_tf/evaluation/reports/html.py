"""A run's report: one HTML file that holds all that a reader needs and loads nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from casme_tf import formatting as figure_text
from casme_tf.errors import UserError
from casme_tf.evaluation.reports import facts as report_facts
from casme_tf.evaluation.reports import figures as report_figures
from casme_tf.evaluation.results import RunResults
from casme_tf.files import atomic_file
from casme_tf.formatting import FEWEST_SUBJECTS
from casme_tf.plotting import image_uri

if TYPE_CHECKING:
    from casme_tf.datasets.pairs import Pairs

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
    subjects = report_facts.subject_rows(results)
    wrong = _wrong(results, data_set)
    corpus = wrong["corpus"] if results.corpus == "unknown" else results.corpus
    return {
        "name": results.name,
        "measured": results.metrics,
        "corpus": corpus,
        "leak": results.metrics["leak"],
        "folds": results.folds,
        "classes": results.classes,
        "about": report_facts.about(results, corpus),
        "parts": report_facts.part_rows(results),
        "settings": report_facts.settings(results),
        "results": report_facts.result_rows(results),
        "beside": report_facts.beside_rows(results, others),
        "by_class": _by_class(results),
        "subjects": subjects,
        "spread": report_facts.spread(subjects),
        "calibration": _calibration(results),
        "training": _training(results),
        "wrong": wrong,
    }


def _by_class(results: RunResults) -> list[dict[str, Any]]:
    rows = report_facts.class_rows(results)
    for row in rows:
        if row["curve"] is not None:
            point = report_facts.operating_point(row)
            figure = report_figures.precision_recall_figure(row["curve"], point)
            row["image"] = image_uri(figure)
    return rows


def _calibration(results: RunResults) -> dict[str, Any]:
    facts = report_facts.calibration_facts(results)
    figure = report_figures.reliability_figure(facts["bins"], facts["chance"])
    return facts | {"image": image_uri(figure)}


def _training(results: RunResults) -> dict[str, Any] | None:
    histories = report_facts.read_histories(results.folder)
    if histories is None:
        return None
    validation = results.metrics.get("epoch_chosen_on") or "validation"
    kept = report_figures.kept_epochs(histories) - histories["epoch"].min() + 1
    lengths = histories.groupby("fold")["epoch"].count()
    return {
        "images": [
            {
                "measure": measure,
                "uri": image_uri(report_figures.training_figure(histories, measure, validation)),
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
    from casme_tf.evaluation.reports.wrong_clips import clip_pictures, wrong_clips

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
        "number": figure_text.number,
        "interval": figure_text.interval,
        "p_value": figure_text.p_value,
        "gain": figure_text.gain,
        "count_of": figure_text.count,
    }
    return environment


def _require_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value to be printed is {value}")
    return value
