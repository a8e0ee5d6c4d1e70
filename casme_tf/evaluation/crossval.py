"""Cross-validating architectures on the same folds, each a run."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.arrays import Inputs
from casme_tf.datasets.databases import database_of
from casme_tf.datasets.motion_images import read_motion_images
from casme_tf.datasets.pairs import Pairs, SchemeClips, announce, load_pairs, select_clips
from casme_tf.datasets.splits import PROTOCOLS, Split
from casme_tf.errors import UserError
from casme_tf.evaluation.cross_validation import FoldTask, cores, run_folds, tabulate
from casme_tf.evaluation.leaks import guard_folds, require_unseen
from casme_tf.evaluation.reports.html import write_report
from casme_tf.evaluation.results import comparable_runs, write_results
from casme_tf.evaluation.settings import BASELINES, CrossvalConfig
from casme_tf.files import atomic_file
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.labels import MEGC3
from casme_tf.models.estimators import require_drawn
from casme_tf.progress import progress
from casme_tf.runs import (
    FOLDS,
    HISTORIES,
    LABELS,
    METRICS,
    RunRecord,
    finished,
    resumable_run,
    run_folder,
    versions,
)
from casme_tf.training.inputs import ClipInputs
from casme_tf.training.learners import Fitting, clip_inputs, resolve

__all__ = ["Crossval", "crossval"]

WHY_RANDOM_SCORES_HIGHER = (
    "a model that recognizes subjects classifies these clips from their other clips, so that it "
    "scores higher than on subjects that it has never seen"
)
_FINISHED = "folds"
_INPUTS = "inputs.npz"


@dataclass(frozen=True)
class Crossval:
    """What was cross-validated.

    Attributes:
        runs: Folders of the runs, those of baselines first.
        rows: By name of the run, and of its databases if it has several, figures with intervals.
        title: On which subjects, in which classes and how.
        leak: Why the figures are too good, or None.
    """

    runs: list[Path]
    rows: dict[str, dict[str, Any]]
    title: str
    leak: str | None

    def describe(self) -> str:
        """Return the table of all runs, for the terminal."""
        table = {
            f"{name} (LEAKS)" if self.leak else name: {
                FIGURE_NAMES.get(key, key): f"{formatting.number(figure['value'])} "
                f"({formatting.interval(figure['interval'])})"
                for key, figure in figures.items()
            }
            for name, figures in self.rows.items()
        }
        warning = [f"LEAKS: {self.leak}"] if self.leak else []
        text = pd.DataFrame.from_dict(table, orient="index").to_string()
        return "\n".join([self.title, *warning, text])


@dataclass(frozen=True, eq=False)
class _Plan:
    """One architecture's run: its folder, how it is fitted, on which folds, and its record."""

    folder: Path
    fitting: Fitting
    splits: list[Split]
    record: RunRecord

    @property
    def epoch_chosen_on(self) -> str | None:
        if not any(len(split.validation) for split in self.splits):
            return None
        same = any(np.intersect1d(s.validation, s.test).size for s in self.splits)
        return "the test clips" if same else "validation subjects"


def crossval(config: CrossvalConfig) -> Crossval:
    """Cross-validate architectures on the same clips and folds, and make a run of each.

    Folds are guarded before anything is fitted; motion and features are computed once for all of
    them. If it is interrupted, the same command continues with the folds that are missing, and
    keeps the runs that are finished.

    Args:
        config: What to cross-validate; see `CrossvalConfig`.

    Returns:
        The runs and their figures.

    Raises:
        LeakError: If something of a test clip would reach the training side.
        UserError: If the data set is not built, a run exists with other settings, or the weights do
            not fit.
    """
    config.check()
    pairs, clips = _clips(config)
    if pairs is None:
        config = replace(config, scheme="megc3")
    folders = _run_folders(config, clips)
    choices = {False, config.choose_epoch}
    splits = {each: _splits(config, clips, validation=each) for each in choices}
    for folds in splits.values():
        guard_folds(folds, clips.subjects, clips=clips.names, frames=clips.frames)
    plans = [_plan(arch, folder, config, clips, splits) for arch, folder in folders.items()]
    missing = [
        plan for plan in plans if not finished(plan.folder, plan.record, overwrite=config.overwrite)
    ]
    inputs = clip_inputs(config, clips, workers=config.workers or cores())
    if any("features" in plan.fitting.fit.inputs for plan in missing):
        _ = inputs.backbone  # complains before anything is fitted
    for plan in plans:
        if plan in missing:
            progress.write(f"{plan.folder.name}:", file=sys.stderr)
            _make_run(plan, clips, inputs, config)
        else:
            progress.write(f"{plan.folder.name}: kept, with the same settings", file=sys.stderr)
    if not missing:
        progress.write("nothing was missing; --overwrite computes all of it again", file=sys.stderr)
    for plan in plans:
        others = [other.folder for other in comparable_runs(plan.folder)]
        write_report(plan.folder, others, pairs=pairs, frames=config.frames and pairs is not None)
    leaks = [plan.record.split["leak"] for plan in plans if plan.record.split["leak"]]
    leak = max(leaks, key=len, default=None)  # where the epoch was chosen on test clips, it says so
    rows = {name: row for plan in plans for name, row in _rows(plan.folder).items()}
    return Crossval([plan.folder for plan in plans], rows, _title(plans, clips), leak)


def _clips(config: CrossvalConfig) -> tuple[Pairs | None, SchemeClips]:
    """Return the built data set, or None if motion images are tested, and the clips to test on."""
    if config.motion_images is None:
        pairs = load_pairs(config.data_dir, config.frame_size, config.data)
        return pairs, announce(select_clips(pairs, config.scheme))
    for arch in config.arch:
        needed = resolve(arch, config, len(MEGC3.classes)).fit.inputs
        if needed not in ("numbers", "uv_strain"):
            raise UserError(
                f"--motion-images hold no frames, and {arch} needs them. Received: --arch {arch}. "
                "Choose others."
            )
    return None, read_motion_images(config.motion_images, config.databases)


def _run_folders(config: CrossvalConfig, clips: SchemeClips) -> dict[str, Path]:
    """Return the folder of the run of each baseline and each architecture."""
    named = list(dict.fromkeys(config.arch))
    baselines = BASELINES if config.baselines else BASELINES[:1]
    data = clips.databases or tuple(database_of(name).name for name in config.data)
    named_data = [name.replace("/", "") for name in data if data != ("casme2",)]
    folders = {}
    for arch in dict.fromkeys([*baselines, *named]):
        name = "-".join([arch, config.protocol, config.scheme, *named_data])
        if config.run is not None:
            name = config.run if named == [arch] else f"{config.run}-{arch}"
        folders[arch] = run_folder(config.runs, name)
    return folders


def _splits(config: CrossvalConfig, clips: SchemeClips, *, validation: bool) -> list[Split]:
    options = {"k": config.folds} if config.protocol == "kfold" else {}
    return PROTOCOLS[config.protocol](
        clips.subjects, clips.class_names, seed=config.seed, validation=validation, **options
    )


def _plan(
    arch: str,
    folder: Path,
    config: CrossvalConfig,
    clips: SchemeClips,
    splits: dict[bool, list[Split]],
) -> _Plan:
    fitting = resolve(arch, config, len(clips.classes))
    folds = splits[config.choose_epoch and fitting.recipe is not None]
    if fitting.architecture.weights is not None:
        weights = str(fitting.settings["weights"])
        if fitting.architecture.build is None:  # it learns nothing
            require_drawn(len(clips.classes), weights)
        tested = np.concatenate([split.test_subjects for split in folds])
        require_unseen(weights, tested, clips.corpus, database_of(config.data[0]).name)
    leak = folds[0].leak and f"{folds[0].leak}; {WHY_RANDOM_SCORES_HIGHER}"
    about = {**clips.describe(), "protocol": config.protocol, "leak": leak, "folds": len(folds)}
    more: dict[str, Any] = {"protocol": config.protocol}
    if config.motion_images is not None:
        more["motion_images"] = config.motion_images.expanduser().resolve()
        more |= {"databases": list(clips.databases), "data": []}
    more |= {"folds": config.folds} if config.protocol == "kfold" else {}
    settings = fitting.record(config, folder.name, **more)
    return _Plan(
        folder, fitting, folds, RunRecord(settings, list(clips.classes), about, versions())
    )


def _make_run(plan: _Plan, clips: SchemeClips, shared: ClipInputs, config: CrossvalConfig) -> None:
    """Compute the folds in the working folder, and the run from them."""
    with resumable_run(plan.folder, plan.record, overwrite=config.overwrite) as work:
        inputs = _inputs(work / _INPUTS, plan, shared)
        mirror = shared.mirror(plan.fitting.fit.inputs) if plan.fitting.augments else None
        task = FoldTask(
            plan.fitting.learner, inputs, clips.labels, len(clips.classes), config.seed, mirror
        )
        results = run_folds(
            task,
            plan.splits,
            folder=work / _FINISHED,
            engine=config.engine,
            workers=config.workers or cores(),
        )
        (work / LABELS).write_text("\n".join(clips.classes) + "\n")
        _parts(plan.splits, clips).to_csv(work / FOLDS, index=False)
        write_results(
            work,
            tabulate(
                plan.splits, results, clips.labels, clips.subjects, clips.names, clips.classes
            ),
            plan.record,
            model=plan.fitting.architecture.name,
            epoch_chosen_on=plan.epoch_chosen_on,
            resamples=config.resamples,
        )
        if (work / _FINISHED / HISTORIES).is_file():
            (work / _FINISHED / HISTORIES).replace(work / HISTORIES)
        shutil.rmtree(work / _FINISHED)
        (work / _INPUTS).unlink()


def _inputs(path: Path, plan: _Plan, shared: ClipInputs) -> Inputs:
    """Return the inputs of the models; those of an interrupted call, bit for bit, if any."""
    if not path.is_file():
        with atomic_file(path) as temporary:
            np.savez(temporary, allow_pickle=False, **plan.fitting.inputs(shared))
    with np.load(path, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def _parts(splits: list[Split], clips: SchemeClips) -> pd.DataFrame:
    """Return which clip is in which part of which fold: fold, subject, clip, part."""
    count = len(clips.labels)
    table = {"subject": clips.subjects, "clip": clips.names}
    return pd.concat(
        [pd.DataFrame({"fold": s.name, **table, "part": s.parts(count)}) for s in splits],
        ignore_index=True,
    )


def _rows(run: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a run's figures by name, then those of each database if there are several."""
    measured = json.loads((run / METRICS).read_text())
    parts = {run.name: measured}
    if len(databases := measured.get("by_database", {})) > 1:
        parts |= {f"{run.name}, {name}": part for name, part in databases.items()}
    return {
        title: {
            name: {"value": figure["model"], "interval": figure["interval"]}
            for name, figure in part["figures"].items()
        }
        for title, part in parts.items()
    }


def _title(plans: list[_Plan], clips: SchemeClips) -> str:
    about = plans[0].record.split
    tested = np.unique(np.concatenate([split.test for split in plans[0].splits]))
    subjects = len(np.unique(clips.subjects[tested]))
    return (
        f"{len(tested)} test clips of {subjects} subjects, protocol {about['protocol']} "
        f"({formatting.count(about['folds'], 'fold')}), classes {', '.join(clips.classes)}; "
        "95% intervals by resampling subjects"
    )
