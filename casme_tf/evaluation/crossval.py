"""Cross-validating architectures side by side, each a run of its own."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.arrays import Inputs
from casme_tf.datasets.pairs import SchemeClips, load_pairs, select_clips
from casme_tf.evaluation.cross_validation import cross_validate
from casme_tf.evaluation.crossval_inputs import CrossvalInputs
from casme_tf.evaluation.crossval_plan import (
    Plan,
    check_settings,
    plan_runs,
    run_folders,
    unfinished,
)
from casme_tf.evaluation.crossval_record import (
    comparable_runs,
    figures_of,
    measure,
    tabulate_runs,
    write_beside,
)
from casme_tf.evaluation.engines import cores
from casme_tf.evaluation.fold_files import HISTORIES
from casme_tf.evaluation.reports.html import write_report
from casme_tf.evaluation.settings import CrossvalConfig
from casme_tf.files import atomic_file, atomic_folder, explain_write_errors, locked
from casme_tf.progress import progress
from casme_tf.runs import CONFIG, FOLDS, LABELS, METRICS, PREDICTIONS

_FINISHED = "folds"
_INPUTS = "inputs.npz"


@dataclass(frozen=True)
class Crossval:
    """What was cross-validated.

    Attributes:
        runs: Folders of the runs, those of baselines first.
        rows: By name of the run, its figures with their intervals.
        title: On whom, in which classes and how.
        leak: Why the figures are too good, or None.
    """

    runs: list[Path]
    rows: dict[str, dict[str, Any]]
    title: str
    leak: str | None

    def describe(self) -> str:
        """Return the table of all runs, for the terminal."""
        rows = {f"{name} (LEAKS)" if self.leak else name: row for name, row in self.rows.items()}
        warning = [f"LEAKS: {self.leak}"] if self.leak else []
        return "\n".join([self.title, *warning, tabulate_runs(rows)])


def crossval(config: CrossvalConfig) -> Crossval:
    """Cross-validate architectures on the same clips and folds, and make a run of each.

    Folds are guarded before anything is fitted; motion and features are computed once for all of
    them. If it is interrupted, the same command goes on with the folds that are missing, and keeps
    the runs that it has finished.

    Args:
        config: What to cross-validate; see `CrossvalConfig`.

    Returns:
        The runs and their figures.

    Raises:
        LeakError: If something of a test clip would reach the training side.
        UserError: If the data set is not built, a run exists, or the weights do not fit.

    Example:
        >>> config = CrossvalConfig(arch=("majority", "svm"))
        >>> print(crossval(config).describe())  # doctest: +SKIP
    """
    check_settings(config)
    run_folders(config)  # complains before the data set is read
    pairs = load_pairs(config.data_dir, config.frame_size)
    clips = select_clips(pairs, config.scheme)
    plans = plan_runs(config, clips)
    missing = unfinished(plans, overwrite=config.overwrite)
    shared = CrossvalInputs(
        clips.frames,
        network_size=config.network_size or config.frame_size,
        weights=config.weights or "imagenet",
        head_motion=None if config.head_motion == "none" else config.head_motion,
        mirrored=config.mirror,
        seed=config.seed,
        workers=config.workers or cores(),
    )
    if any(plan.entry.weights == "imagenet" and not _has_inputs(plan) for plan in missing):
        _ = shared.backbone  # complains before anything is fitted
    for plan in plans:
        if plan not in missing:
            progress.write(f"{plan.folder.name}: kept, with the same settings", file=sys.stderr)
            continue
        progress.write(f"{plan.folder.name}:", file=sys.stderr)
        _make_run(plan, clips, shared, config)
    if not missing:
        progress.write("nothing was missing; --overwrite computes all of it again", file=sys.stderr)
    for plan in plans:
        others = comparable_runs(plan.folder)
        write_beside(plan.folder, others)
        write_report(
            plan.folder,
            [other.folder for other in others],
            pairs=pairs,
            frames=config.frames,
        )
    rows = {plan.folder.name: _figures(plan.folder) for plan in plans}
    leaks = [plan.leak for plan in plans if plan.leak]
    leak = max(leaks, key=len, default=None)  # where the epoch was chosen on test clips, it says so
    return Crossval([plan.folder for plan in plans], rows, _title(plans, clips), leak)


def _make_run(
    plan: Plan, clips: SchemeClips, shared: CrossvalInputs, config: CrossvalConfig
) -> None:
    """Compute the folds in the work folder, and the run from them."""
    with locked(plan.folder):
        _make_locked_run(plan, clips, shared, config)


def _make_locked_run(
    plan: Plan, clips: SchemeClips, shared: CrossvalInputs, config: CrossvalConfig
) -> None:
    with explain_write_errors(plan.work):
        plan.work.mkdir(parents=True, exist_ok=True)
        plan.record.save(plan.work / CONFIG)
        inputs = _inputs(plan, shared)
    predictions = _predict(plan, clips, inputs, config)
    measured = {
        "model": plan.entry.name,
        "arch": plan.entry.name,
        "part": "test",
        "protocol": config.protocol,
        "scheme": config.scheme,
        "leak": plan.leak,
        "epoch_chosen_on": plan.epoch_chosen_on,
        "epochs": plan.recipe and plan.recipe.epochs,
        "seed": config.seed,
        "versions": plan.record.versions,
        **measure(predictions, clips.classes, resamples=config.resamples),
    }
    with atomic_folder(plan.folder, overwrite=config.overwrite) as folder:
        plan.record.save(folder / CONFIG)
        (folder / LABELS).write_text("\n".join(clips.classes) + "\n")
        plan.parts(clips).to_csv(folder / FOLDS, index=False)
        predictions.to_csv(folder / PREDICTIONS, index=False, float_format="%.6f")
        (folder / METRICS).write_text(json.dumps(measured, indent=2) + "\n")
        histories = plan.work / _FINISHED / HISTORIES
        if histories.is_file():
            shutil.copy(histories, folder / HISTORIES)
    shutil.rmtree(plan.work)


def _predict(
    plan: Plan,
    clips: SchemeClips,
    inputs: Inputs,
    config: CrossvalConfig,
) -> pd.DataFrame:
    recipe = asdict(plan.recipe) if plan.recipe else {}
    dropout = recipe.pop("dropout", None)
    return cross_validate(
        plan.entry.make_model(
            classes=len(clips.classes),
            frame_size=config.frame_size,
            dropout=dropout,
            weights=plan.weights,
        ),
        inputs,
        clips.labels,
        clips.subjects,
        protocol=plan.splits,
        seed=config.seed,
        clips=clips.names,
        class_names=clips.classes,
        mirror=plan.entry.mirror if config.mirror else None,
        frames=clips.frames,
        folder=plan.work / _FINISHED,
        engine=config.engine,
        workers=config.workers or cores(),
        **recipe,
    )


def _has_inputs(plan: Plan) -> bool:
    return (plan.work / _INPUTS).is_file()


def _inputs(plan: Plan, shared: CrossvalInputs) -> Inputs:
    """Return what the models are given: that of the interrupted call, bit for bit, if there is."""
    path = plan.work / _INPUTS
    if not path.is_file():
        with atomic_file(path) as temporary:
            np.savez(temporary, allow_pickle=False, **plan.entry.inputs(shared))
    with np.load(path, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def _figures(run: Path) -> dict[str, Any]:
    return figures_of(json.loads((run / METRICS).read_text()))


def _title(plans: list[Plan], clips: SchemeClips) -> str:
    about = plans[0].record.split
    tested = np.unique(np.concatenate([split.test for split in plans[0].splits]))
    people = len(np.unique(clips.subjects[tested]))
    return (
        f"{len(tested)} test clips of {people} subjects, protocol {about['protocol']} "
        f"({formatting.count(about['folds'], 'fold')}), classes {', '.join(clips.classes)}; "
        "95% intervals by resampling subjects"
    )
